//! The world as one group sees it.

use crate::world::{Group, Mesh, MeshService, Service, ServicePort, Target, World};

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

    /// Where a port of a service is dialled in this cluster. Outside of permissive mode, and in a mesh with mTLS, a target
    /// without a proxy is none: nothing proves who it is.
    pub(super) fn targets(&self, port: &MeshService) -> Vec<Target<'a>> {
        let mut targets = self.world.targets(port);
        if !self.mesh.permissive {
            targets.retain(|target| target.has_proxy);
        }
        targets
    }
}
