//! Reads every packet of a pod, as tcpdump would, and looks for words in it.
//!
//! A packet socket belongs to the namespace it was made in: a thread goes there, makes the socket, and ends.

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType};
use nix::sys::socket::{recvfrom, setsockopt, socket, sockopt};
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};

/// Largest frame that the kernel hands over: offloading makes them larger than the wire's.
const LARGEST_FRAME: usize = 128 << 10;

/// A running capture in one pod.
pub(crate) struct Capture {
    socket: OwnedFd,
    outside: usize,
    loopback: usize,
}

/// What was captured.
#[derive(Debug, Default)]
pub(crate) struct Captured {
    /// TCP payloads that crossed the pod's border, in both directions.
    pub(crate) outside: Vec<Vec<u8>>,
    /// TCP payloads between the sidecar and the application.
    pub(crate) loopback: Vec<Vec<u8>>,
}

impl Capture {
    /// Starts to record all interfaces of a namespace; the kernel buffers until [`Capture::finish`].
    ///
    /// # Errors
    /// When the namespace or the socket cannot be had.
    pub(crate) fn start(namespace: &str) -> anyhow::Result<Self> {
        let path = format!("/run/netns/{namespace}");
        let thread = std::thread::Builder::new().name("capture".to_owned()).spawn(move || open(&path))?;
        match thread.join() {
            Ok(capture) => capture.with_context(|| format!("packets of {namespace} cannot be recorded")),
            Err(_) => bail!("packets of {namespace} cannot be recorded: the thread panicked"),
        }
    }

    /// Everything since the start.
    pub(crate) fn finish(self) -> anyhow::Result<Captured> {
        let mut captured = Captured::default();
        let mut frame = vec![0; LARGEST_FRAME];
        loop {
            let received = recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut frame);
            let (length, from) = match received {
                Ok(received) => received,
                Err(Errno::EAGAIN) => return Ok(captured),
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error).context("recorded packets cannot be read"),
            };
            let interface = from.map(|from| from.ifindex());
            let Some(payload) = tcp_payload(&frame[..length]).filter(|payload| !payload.is_empty()) else { continue };
            if interface == Some(self.outside) {
                captured.outside.push(payload.to_vec());
            } else if interface == Some(self.loopback) {
                captured.loopback.push(payload.to_vec());
            }
        }
    }
}

fn open(path: &str) -> anyhow::Result<Capture> {
    let namespace = File::open(path).with_context(|| format!("{path} cannot be opened"))?;
    setns(namespace, CloneFlags::CLONE_NEWNET).context("the namespace cannot be entered")?;
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket =
        socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll).context("no packet socket")?;
    // Some hundred packets; the default of some kernels holds fewer.
    let _ = setsockopt(&socket, sockopt::RcvBuf, &(8 << 20));
    let index = |name: &str| if_nametoindex(name).map(|index| index as usize);
    let (outside, loopback) = (index("eth0").context("no eth0")?, index("lo").context("no lo")?);
    Ok(Capture { socket, outside, loopback })
}

/// The bytes that TCP carries in an IPv4 frame; `None` for anything else.
fn tcp_payload(frame: &[u8]) -> Option<&[u8]> {
    const ETHERNET: usize = 14;
    if frame.get(12..ETHERNET)? != [0x08, 0x00] {
        return None;
    }
    let packet = frame.get(ETHERNET..)?;
    let header = usize::from(packet.first()? & 0x0f) * 4;
    // Small frames are padded; the packet knows its own length. Offloaded ones say 0.
    let total = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
    let packet = if total == 0 { packet } else { packet.get(..total)? };
    if *packet.get(9)? != 6 {
        return None;
    }
    let segment = packet.get(header..)?;
    segment.get(usize::from(segment.get(12)? >> 4) * 4..)
}

/// How many of these payloads contain a word.
pub(crate) fn containing(payloads: &[Vec<u8>], word: &str) -> usize {
    let contains = |payload: &&Vec<u8>| payload.windows(word.len()).any(|window| window == word.as_bytes());
    payloads.iter().filter(contains).count()
}

/// How many of these payloads begin with a TLS record: handshake (22), application data (23) and their like.
pub(crate) fn tls_records(payloads: &[Vec<u8>]) -> usize {
    payloads.iter().filter(|payload| matches!(payload.as_slice(), [20..=23, 3, 1..=4, ..])).count()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    /// Ethernet, IPv4 without options, TCP with 12 bytes of options.
    fn frame(payload: &[u8], padding: usize) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00]);
        let total = u16::try_from(20 + 32 + payload.len()).unwrap().to_be_bytes();
        frame.extend([0x45, 0, total[0], total[1], 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([0, 80, 0, 81, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x18]);
        frame.extend([0; 18]);
        frame.extend(payload);
        frame.extend(vec![0xaa; padding]);
        frame
    }

    #[test]
    fn the_payload_is_found_behind_options_and_without_padding() {
        assert_eq!(tcp_payload(&frame(b"hello", 7)), Some(&b"hello"[..]));
        assert_eq!(tcp_payload(&frame(b"", 0)), Some(&b""[..]));
    }

    #[test]
    fn other_frames_and_cut_ones_have_no_payload() {
        let whole = frame(b"hello", 0);
        for length in 0..whole.len() {
            assert_eq!(tcp_payload(&whole[..length]), None, "{length} bytes");
        }
        let mut arp = whole.clone();
        arp[13] = 0x06;
        assert_eq!(tcp_payload(&arp), None);
        let mut udp = whole;
        udp[14 + 9] = 17;
        assert_eq!(tcp_payload(&udp), None);
    }

    #[test]
    fn records_and_words_are_counted_by_payload() {
        let payloads = vec![vec![22, 3, 1, 0], b"a secret".to_vec(), vec![23, 3, 3], b"GET /".to_vec()];
        assert_eq!(tls_records(&payloads), 2);
        assert_eq!(containing(&payloads, "secret"), 1);
        assert_eq!(containing(&payloads, "absent"), 0);
    }
}
