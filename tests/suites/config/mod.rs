//! Documents of FSM's controller drive real traffic, and changes of them disturb nobody.

mod egress;
mod permissive;
mod policies;
mod smi;
mod updates;

use fsm_tests::{Fault, Message, Pod, TlsClient, Wire};
use std::net::{IpAddr, SocketAddr};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// One request on a new connection, with TLS or without.
async fn ask(pod: &Pod, tls: Option<&TlsClient>, to: SocketAddr, lines: &str) -> Result<Message, Fault> {
    let wire = match tls {
        Some(tls) => tls.connect(pod, to).await,
        None => pod.connect(to).await.map(Wire::new),
    };
    let mut wire = match wire {
        Ok(wire) => wire,
        Err(why) => {
            return Err(Fault::Ended(fsm_tests::End::Failed(why.to_string()), Vec::new()));
        }
    };
    wire.offer(format!("{lines}\r\n\r\n")).await;
    wire.try_response(lines.split(' ').next().unwrap()).await
}

/// Its status; a test fails when there is no answer.
async fn status(pod: &Pod, tls: Option<&TlsClient>, to: SocketAddr, lines: &str) -> u16 {
    match ask(pod, tls, to, lines).await {
        Ok(reply) => reply.status(),
        Err(fault) => panic!("{}: {lines:?} to {to}: {fault}", pod.name()),
    }
}
