//! The process that keeps a local mesh going: its node, fsm-control, and the pods.
