//! From a request to the rule that serves it: address range → host → service → route (method, path, headers, identity)
//! → cluster.

pub mod matcher;
pub mod ranges;
pub mod split;
pub mod table;
