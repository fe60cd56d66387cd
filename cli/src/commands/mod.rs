//! What `fsm` understands, one file a command.
