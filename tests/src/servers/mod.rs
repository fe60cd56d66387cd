//! Applications inside pods, as tasks of the test. They end with the test's runtime.

mod gateway;
mod http;
mod recorder;
mod repository;
mod tcp;

pub use gateway::Gateway;
pub(crate) use http::Frames;
pub use http::{Application, Seen};
pub use recorder::Recorder;
pub use repository::Repository;
pub use tcp::TcpApplication;
