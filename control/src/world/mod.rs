//! All resources that matter to the mesh, indexed; one owner, no I/O.
