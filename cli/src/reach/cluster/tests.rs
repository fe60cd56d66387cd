#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::pin::Pin;

use tokio::io::AsyncRead;

use super::*;

/// What the other end has to say, in pieces as they come; then silence.
struct Pieces(std::collections::VecDeque<Vec<u8>>);

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        match self.0.pop_front() {
            Some(piece) => {
                buffer.put_slice(&piece);
                std::task::Poll::Ready(Ok(()))
            }
            None => std::task::Poll::Pending,
        }
    }
}

#[test]
fn kinds_are_asked_for_by_the_names_that_the_api_server_knows() {
    let split = kind_of(&Kind::TrafficSplit).unwrap();
    assert_eq!((split.group, split.plural, split.kind), ("split.smi-spec.io", "trafficsplits", "TrafficSplit"));
    let pod = kind_of(&Kind::Pod).unwrap();
    assert_eq!((pod.group, pod.version, pod.plural), ("", "v1", "pods"));
    assert!(kind_of(&Kind::Other("Widget.example.org".into())).is_err());
}

#[test]
fn what_comes_in_pieces_is_read_in_any_portions_and_silence_ends() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut stream = Pieces([b"HTTP/1.1 200 OK\r\n".to_vec(), b"\r\nhello".to_vec()].into());
    let mut waiting = Waiting { read: Vec::new(), at: 0 };
    let patience = Duration::from_millis(20);
    let mut fill = |buffer: &mut [u8]| {
        waiting.read(buffer, |piece| {
            runtime.block_on(async {
                match tokio::time::timeout(patience, stream.read(piece)).await {
                    Ok(read) => read,
                    Err(_) => Err(io::ErrorKind::TimedOut.into()),
                }
            })
        })
    };
    let mut all = Vec::new();
    let mut byte = [0];
    for _ in 0..24 {
        assert_eq!(fill(&mut byte).unwrap(), 1);
        all.push(byte[0]);
    }
    assert_eq!(all, b"HTTP/1.1 200 OK\r\n\r\nhello");
    assert_eq!(fill(&mut byte).unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert_eq!(fill(&mut byte).unwrap_err().kind(), io::ErrorKind::TimedOut, "nothing old is read again");
}
