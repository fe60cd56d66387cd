#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::os::unix::net::UnixListener;
use std::thread;

use super::*;
use crate::local::state::Home;

#[test]
fn frames_are_read_as_written() {
    let frames = [
        Frame::Input(b"abc".to_vec()),
        Frame::Input(Vec::new()),
        Frame::Resize(24, 300),
        Frame::Output(vec![0; 70_000]),
        Frame::Errors(b"x".to_vec()),
        Frame::Exit(-1),
    ];
    let bytes: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
    let mut stream = bytes.as_slice();
    for frame in frames {
        assert_eq!(Frame::read(&mut stream).unwrap(), Some(frame));
    }
    assert_eq!(Frame::read(&mut stream).unwrap(), None);
}

#[test]
fn broken_frames_are_errors() {
    for bytes in [&b"\x09\0\0\0\0"[..], b"\x00\xff\xff\xff\xff", b"\x00\0\0\0\x05ab", b"\x01\0\0\0\x01a", b"\x00\0"] {
        assert!(Frame::read(&mut &bytes[..]).is_err(), "{bytes:?}");
    }
}

fn served(answer: &'static [u8]) -> (tempfile::TempDir, State, thread::JoinHandle<Vec<u8>>) {
    let directory = tempfile::tempdir().unwrap();
    // Longer than an address may be.
    let state = Home::new(Some(&directory.path().join("d".repeat(150)))).mesh("fsm").unwrap();
    state.create().unwrap();
    let opened = std::fs::File::open(state.root()).unwrap();
    let listener = UnixListener::bind(format!("/proc/self/fd/{}/daemon.sock", opened.as_raw_fd())).unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut byte = [0];
        while stream.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
            request.push(byte[0]);
        }
        let (line, page) = answer.split_at(answer.iter().position(|byte| *byte == b'\n').unwrap() + 1);
        stream.write_all(line).unwrap();
        let mut asked = Vec::new();
        while !page.is_empty() && !asked.ends_with(b"\r\n\r\n") {
            assert_eq!(stream.read(&mut byte).unwrap(), 1);
            asked.push(byte[0]);
        }
        stream.write_all(page).unwrap();
        request
    });
    (directory, state, server)
}

#[test]
fn a_request_is_answered_over_a_socket_with_a_long_path() {
    let (_directory, state, server) = served(b"{\"refused\":\"no such pod\"}\n");
    let request = Request::Connect(Target::Pod { namespace: "a".to_owned(), pod: "b".to_owned(), port: 15000 });
    assert!(matches!(ask(&state, &request), Err(AskError::Refused(why)) if why == "no such pod"));
    let sent: Request = serde_json::from_slice(&server.join().unwrap()).unwrap();
    assert_eq!(sent, request);
}

#[test]
fn without_a_daemon_the_remedy_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let state = Home::new(Some(directory.path())).mesh("fsm").unwrap();
    state.create().unwrap();
    let error = ask(&state, &Request::Connect(Target::Control)).unwrap_err().to_string();
    assert!(error.contains("does not run") && error.contains("fsm down"), "{error}");
}
