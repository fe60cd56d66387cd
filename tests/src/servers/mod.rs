//! Applications inside pods, as tasks of the test. They end with the test's runtime.

mod gateway;
mod http;
mod recorder;
mod tcp;

pub use gateway::Gateway;
pub(crate) use http::Frames;
pub use http::{Application, Seen};
pub use recorder::Recorder;
pub use tcp::TcpApplication;
