//! A program in a container, with its streams in a WebSocket: 0 what is typed, 1 and 2 what it says, 3 how it ended,
//! 4 the size of the terminal.

use super::channel::{self, Piece, Receiver, Sender};
use super::{Reply, Service, Target, is_set, parameters, text};
use crate::local::daemon::streams::Streams;
use crate::local::node::{Exec, ExecIo, ExecRequest};
use http::{Request, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;

const INPUT: u8 = 0;
const OUTPUT: u8 = 1;
const ERRORS: u8 = 2;
const STATUS: u8 = 3;
const SIZE: u8 = 4;

/// How long output is waited for after a program has ended: something that it left running may hold its pipes for ever.
const LAST_OUTPUT: Duration = Duration::from_millis(500);
/// Bytes read at once from a program.
const PIECE: usize = 32 * 1024;

#[derive(Deserialize)]
struct Size {
    #[serde(rename = "Width")]
    width: u16,
    #[serde(rename = "Height")]
    height: u16,
}

pub(super) fn answer(service: &Service, target: Target, request: Request<Incoming>) -> Reply {
    let command = parameters(&request, "command");
    let Some(container) = service.containers.get(&target.namespace, &target.pod, &target.container) else {
        return text(StatusCode::NOT_FOUND, format!("container {} does not run\n", target.container));
    };
    let (stdin, terminal) = (is_set(&request, "input"), is_set(&request, "tty"));
    let io = match terminal {
        true => ExecIo::Terminal { rows: 24, columns: 80 },
        false => ExecIo::Pipes { stdin },
    };
    let env = if terminal { vec![("TERM".to_owned(), "xterm".to_owned())] } else { Vec::new() };
    channel::upgrade(request, move |sender, receiver| async move {
        let start = ExecRequest { command, env, directory: None, user: None, io };
        let started = tokio::task::spawn_blocking(move || container.exec(start)).await.map_err(io::Error::other)?;
        let status = match started {
            Ok(program) => ended(relay(program, &sender, receiver).await?),
            Err(error) => failed(&format!("the program cannot be started: {error}"), 127),
        };
        sender.send(STATUS, status.to_string().as_bytes()).await?;
        sender.close().await
    })
}

/// Carries bytes until the program has ended, or the client is gone: then the program is ended.
async fn relay(mut program: Exec, sender: &Sender, receiver: Receiver) -> io::Result<ExitStatus> {
    let Streams { input, output, errors } = Streams::of(&mut program)?;
    let sending = async {
        tokio::join!(send(output, OUTPUT, sender), send(errors, ERRORS, sender));
    };
    tokio::pin!(sending);
    let receiving = receive(receiver, input, &program);
    tokio::pin!(receiving);
    let mut is_sent = false;
    let ended = loop {
        tokio::select! {
            ended = program.wait() => break ended?,
            () = &mut sending, if !is_sent => is_sent = true,
            () = &mut receiving => return Err(io::Error::other("the client is gone")),
        }
    };
    if !is_sent {
        let _ = tokio::time::timeout(LAST_OUTPUT, &mut sending).await;
    }
    Ok(ended)
}

async fn send(from: Option<pipe::Receiver>, stream: u8, sender: &Sender) {
    let Some(mut from) = from else { return };
    let mut buffer = vec![0; PIECE];
    // The end, which a terminal tells as an error.
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if sender.send(stream, &buffer[..count]).await.is_err() {
            return;
        }
    }
}

async fn receive(mut receiver: Receiver, mut to: Option<pipe::Sender>, program: &Exec) {
    while let Some(piece) = receiver.next().await {
        match piece {
            Piece::Bytes(INPUT, bytes) => {
                if let Some(pipe) = &mut to
                    && pipe.write_all(&bytes).await.is_err()
                {
                    // It reads no more; it may still have something to say.
                    to = None;
                }
            }
            Piece::End(INPUT) => to = None,
            Piece::Bytes(SIZE, bytes) => {
                if let Ok(size) = serde_json::from_slice::<Size>(&bytes) {
                    let _ = program.resize(size.height, size.width);
                }
            }
            Piece::Bytes(..) | Piece::End(_) => {}
        }
    }
}

fn ended(status: ExitStatus) -> Value {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    match code {
        0 => json!({"metadata": {}, "status": "Success"}),
        code => failed("the program ended", code),
    }
}

fn failed(why: &str, code: i32) -> Value {
    json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode", "message": format!("{why} with exit code {code}"),
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
    })
}
