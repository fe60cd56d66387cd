//! What a group of proxies must do: a pure function of the world.
