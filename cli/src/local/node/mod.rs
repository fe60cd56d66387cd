//! Network namespaces, addresses, names and processes of a local mesh.
