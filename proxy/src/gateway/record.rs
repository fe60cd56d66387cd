//! One line of JSON for each tunnel, on standard output when it is over: FSM's fields, and who it was.
//!
//! Lines wait in a bounded queue for the one thread that writes them. When it is full they are dropped and counted in
//! later lines (`dropped`): traffic never waits for its record.

use crate::detect::ClientHello;
use crate::runtime;
use crate::tcp::{RelayEnd, Relayed};
use crate::telemetry::counters::Counter;
use crate::upstream::connect::{Host, Target};
use arcstr::ArcStr;
use jiff::Timestamp;
use serde::Serialize;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::{self, SyncSender};
use std::time::Duration;

/// Lines that may wait.
const QUEUE_LINES: usize = 2048;

/// One tunnel.
#[derive(Debug, Serialize)]
pub(super) struct Record {
    id: String,
    start_time: String,
    end_time: String,
    source_address: IpAddr,
    source_port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_principal: Option<ArcStr>,
    /// As the client named it.
    destination_address: String,
    destination_port: u16,
    /// Where that led.
    #[serde(skip_serializing_if = "Option::is_none")]
    connected_address: Option<IpAddr>,
    bytes_sent: u64,
    bytes_received: u64,
    end: &'static str,
    #[serde(rename = "serverNames", skip_serializing_if = "Option::is_none")]
    server_names: Option<Vec<ArcStr>>,
    #[serde(rename = "protocolNames", skip_serializing_if = "Option::is_none")]
    protocol_names: Option<Vec<String>>,
    #[serde(skip_serializing_if = "is_zero")]
    dropped: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Record {
    pub(super) fn begin(
        source: SocketAddr,
        source_principal: Option<ArcStr>,
        target: &Target,
        connected: Option<SocketAddr>,
    ) -> Self {
        let destination_address = match &target.host {
            Host::Address(address) => address.to_string(),
            Host::Name(name) => name.to_string(),
            Host::Below(domain) => format!("*.{domain}"),
        };
        Self {
            id: format!("{:016x}", runtime::random()),
            start_time: Timestamp::now().to_string(),
            end_time: String::new(),
            source_address: source.ip(),
            source_port: source.port(),
            source_principal,
            destination_address,
            destination_port: target.port,
            connected_address: connected.map(|address| address.ip()),
            bytes_sent: 0,
            bytes_received: 0,
            end: "",
            server_names: None,
            protocol_names: None,
            dropped: 0,
        }
    }

    pub(super) fn end(&mut self, relayed: &Relayed, hello: Option<&ClientHello>) {
        self.end_time = Timestamp::now().to_string();
        (self.bytes_sent, self.bytes_received) = (relayed.sent, relayed.received);
        self.end = match relayed.end {
            RelayEnd::Finished => "finished",
            RelayEnd::Idle => "idle",
            RelayEnd::Failed { .. } => "broken",
        };
        if let Some(hello) = hello {
            self.server_names = Some(hello.server_name.iter().cloned().collect());
            let text = |name: &bytes::Bytes| String::from_utf8_lossy(name).into_owned();
            self.protocol_names = Some(hello.alpn.iter().map(text).collect());
        }
    }
}

/// The queue to the thread that writes.
#[derive(Debug)]
pub(super) struct Records {
    queue: SyncSender<Entry>,
    dropped: Counter,
}

enum Entry {
    Line(Vec<u8>),
    Flush(mpsc::Sender<()>),
}

impl Records {
    pub(super) fn start(mut sink: Box<dyn Write + Send>) -> std::io::Result<Self> {
        let (queue, entries) = mpsc::sync_channel(QUEUE_LINES);
        std::thread::Builder::new().name("fsm-records".to_owned()).spawn(move || {
            for entry in entries {
                match entry {
                    // Nobody reads the output any more: traffic goes on.
                    Entry::Line(line) => drop(sink.write_all(&line).and_then(|()| sink.flush())),
                    Entry::Flush(done) => drop(done.send(())),
                }
            }
        })?;
        Ok(Self { queue, dropped: Counter::default() })
    }

    pub(super) fn write(&self, mut record: Record) {
        record.dropped = self.dropped.get();
        let Ok(mut line) = serde_json::to_vec(&record) else { return };
        line.push(b'\n');
        if self.queue.try_send(Entry::Line(line)).is_err() {
            self.dropped.increment();
        }
    }

    pub(super) fn flush(&self) {
        let (done, wait) = mpsc::channel();
        if self.queue.try_send(Entry::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(Duration::from_secs(1));
        }
    }
}
