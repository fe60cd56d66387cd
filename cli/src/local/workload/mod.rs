//! From Deployments and their like to running pods.
