//! The operator's command line, and the mesh on one machine.
