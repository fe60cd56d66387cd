//! An HTTP/1 server that reads strictly, answers everything with 200 and remembers every byte.
//!
//! It stands where a lenient server would be smuggled to: what it cannot read without doubt, no proxy may forward.

use crate::http1::{Malformed, Message};
use crate::{Fault, Pod, Wire};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

/// The server.
#[derive(Clone)]
pub struct Recorder {
    seen: Arc<Mutex<Record>>,
}

#[derive(Default)]
struct Record {
    requests: Vec<Message>,
    malformed: Vec<(Malformed, Vec<u8>)>,
    connections: Vec<Arc<Mutex<Vec<u8>>>>,
}

impl Recorder {
    /// Starts the server in a pod.
    pub fn start(pod: &Pod, at: SocketAddr) -> Self {
        let recorder = Self { seen: Arc::default() };
        let listener = pod.listen(at);
        let seen = Arc::clone(&recorder.seen);
        tokio::spawn(async move {
            while let Ok(accepted) = listener.accept().await {
                let (wire, _) = Wire::of(accepted);
                tokio::spawn(serve(wire, Arc::clone(&seen)));
            }
        });
        recorder
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Message> {
        self.lock().requests.clone()
    }

    /// Forgets everything seen so far.
    pub fn clear(&self) {
        let mut record = self.lock();
        record.requests.clear();
        record.malformed.clear();
        for bytes in &record.connections {
            bytes.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clear();
        }
    }

    /// What arrived that is not one unambiguous request, with the connection's bytes.
    pub fn malformed(&self) -> Vec<(Malformed, String)> {
        let record = self.lock();
        let malformed = record.malformed.iter();
        malformed.map(|(why, bytes)| (why.clone(), String::from_utf8_lossy(bytes).into_owned())).collect()
    }

    /// Whether these bytes arrived anywhere on any connection.
    pub fn received(&self, needle: &[u8]) -> bool {
        let record = self.lock();
        record.connections.iter().any(|bytes| {
            let bytes = bytes.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            bytes.windows(needle.len()).any(|window| window == needle)
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Record> {
        self.seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

async fn serve(wire: Wire, seen: Arc<Mutex<Record>>) {
    let lock = || seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let bytes: Arc<Mutex<Vec<u8>>> = Arc::default();
    lock().connections.push(Arc::clone(&bytes));
    // Without a deadline of its own: an idle pooled connection stays until the proxy or the test ends.
    let mut wire = wire.without_deadline().recorded(bytes);
    loop {
        match wire.try_request().await {
            Ok(request) => lock().requests.push(request),
            Err(Fault::Malformed(malformed)) => {
                let bytes = wire.received();
                lock().malformed.push((malformed, bytes));
                return;
            }
            // Also a request cut short, which is what a proxy does when its client misbehaves half way.
            Err(Fault::Ended(..)) => return,
        }
        wire.offer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    }
}
