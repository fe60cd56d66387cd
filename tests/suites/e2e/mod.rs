//! Pods of a real API server on this machine: `fsm node`, and the whole mesh as its operators meet it.

mod mesh;
mod node;
mod reach;
