//! `fsm program echo`: every line that comes in over TCP goes back as `echo response: …`.
//!
//! Stands in for FSM's tcp-echo-server.

use super::arguments::Arguments;
use super::{Usage, serve};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Longest line that is echoed as one; the rest of it counts as the next line.
const LINE_BYTES: u64 = 64 << 10;

/// How long a client may say nothing, or take nothing.
const PATIENCE: Duration = Duration::from_secs(3600);

pub(super) fn run(arguments: &[String]) -> Result<(), Usage> {
    let mut arguments = Arguments::new(arguments);
    let (mut port, mut prefix) = (9000, "echo response: ".to_owned());
    while let Some(flag) = arguments.flag()? {
        match flag.as_str() {
            "--port" => port = arguments.port(&flag)?,
            "--prefix" => prefix = arguments.value(&flag)?,
            _ => return Err(Usage::unknown(&flag, "[--port PORT] [--prefix TEXT]")),
        }
    }
    serve::until_told_to_end(async move {
        let listener = serve::everywhere(port)?;
        println!("listening on port {port}");
        serve::accept(listener, move |stream, peer| {
            let prefix = prefix.clone();
            async move {
                println!("{peer} connected");
                if let Err(error) = echo(stream, &prefix).await {
                    println!("{peer}: {error}");
                }
            }
        })
        .await;
        Ok(())
    })
}

async fn echo(mut stream: TcpStream, prefix: &str) -> std::io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = (&mut reader).take(LINE_BYTES);
        if tokio::time::timeout(PATIENCE, limited.read_until(b'\n', &mut line)).await?? == 0 {
            return Ok(());
        }
        let answer = [prefix.as_bytes(), &line].concat();
        tokio::time::timeout(PATIENCE, writer.write_all(&answer)).await??;
    }
}
