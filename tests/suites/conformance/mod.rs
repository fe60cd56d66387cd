//! What an application and its clients may rely on when both sidecars stand between them.

mod cut_off;
mod grpc;
mod h2spec;
mod http1;
mod http1_messages;
mod http2;
mod ipv6;
mod tcp;
mod websocket;
