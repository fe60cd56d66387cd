//! Where resources come from: a directory of manifests, or a Kubernetes API server.
