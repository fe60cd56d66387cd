//! Keeps proxies up to date: the stream over mutual TLS, and FSM's repository protocol.
