//! How `fsm` answers: tables, JSON, YAML, ages.
