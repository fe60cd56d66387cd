//! The world as one group sees it.

use crate::world::{Group, Mesh, Service, ServicePort, World};
use fsm_api::resources::{Kind, ObjectKey};

/// The world as one group sees it.
pub(super) struct View<'a> {
    pub(super) world: &'a World,
    pub(super) group: &'a Group,
    pub(super) mesh: &'a Mesh,
}

/// One port that the group's application serves for one of its services.
#[derive(Clone, Copy)]
pub(super) struct Served<'a> {
    pub(super) service: &'a Service,
    pub(super) port: &'a ServicePort,
    /// The port of the application.
    pub(super) target: u16,
}

impl<'a> View<'a> {
    pub(super) fn new(world: &'a World, group: &'a Group) -> Self {
        Self { world, group, mesh: world.mesh() }
    }

    /// What the group's application serves: services in the order of their names, ports as they are written.
    pub(super) fn served(&self) -> Vec<Served<'a>> {
        let services = self.group.services.iter().filter_map(|key| self.world.service(key));
        let ports = services.flat_map(|service| service.ports.iter().map(move |port| (service, port)));
        let served = ports.filter_map(|(service, port)| {
            let target = self.group.local_port(port)?;
            Some(Served { service, port, target })
        });
        served.collect()
    }

    /// The object that says what the mesh does.
    pub(super) fn mesh_config(&self) -> ObjectKey {
        let settings = self.world.settings();
        ObjectKey::new(Kind::MeshConfig, &settings.fsm_namespace, &settings.mesh_config_name)
    }
}
