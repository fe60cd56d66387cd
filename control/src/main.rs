//! `fsm-control`: the control plane.

fn main() {}
