//! What an application and its clients may rely on when both sidecars stand between them.

mod grpc;
mod http1;
mod http1_messages;
mod http2;
mod tcp;
mod websocket;
