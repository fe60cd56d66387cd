//! What a container has said, from its log file, which goes on over its restarts (so `--previous` gives all of it, too).

use super::{Reply, Service, Target, is_set, parameters, text};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// How often a log that is followed is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// Bytes read at once.
const PIECE: usize = 32 * 1024;

pub(super) fn answer(service: &Service, target: &Target, request: &Request<Incoming>) -> Reply {
    let path = service.state.log(&target.namespace, &target.pod, &target.container);
    let lines = parameters(request, "tailLines").first().and_then(|lines| lines.parse().ok());
    let limit = parameters(request, "limitBytes").first().and_then(|bytes| bytes.parse().ok());
    let begin = match begin(request) {
        Ok(begin) => begin,
        Err(why) => return text(StatusCode::BAD_REQUEST, why),
    };
    let opened = File::open(&path).and_then(|mut file| {
        let young = begin.map_or(Ok(0), |time| line_of(&mut file, service.ages.since(&path, time)))?;
        let last = lines.map_or(Ok(0), |lines| last_lines(&mut file, lines))?;
        file.seek(SeekFrom::Start(young.max(last)))?;
        Ok(file)
    });
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let Target { namespace, pod, container } = target;
            return text(
                StatusCode::NOT_FOUND,
                format!("container {container} of {namespace}/{pod} has said nothing\n"),
            );
        }
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, format!("{}: {error}\n", path.display())),
    };
    let reading = Reading { file, path, is_followed: is_set(request, "follow"), left: limit.unwrap_or(u64::MAX) };
    let stream = futures_util::stream::try_unfold(reading, |mut reading| async move {
        Ok::<_, io::Error>(reading.next().await?.map(|bytes| (Frame::data(bytes), reading)))
    });
    let mut reply = Response::new(BodyExt::boxed_unsync(StreamBody::new(Box::pin(stream))));
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    reply
}

/// From when on it is wanted: `sinceSeconds`, or `sinceTime` (RFC 3339).
fn begin(request: &Request<Incoming>) -> Result<Option<SystemTime>, String> {
    if let Some(seconds) = parameters(request, "sinceSeconds").first() {
        let seconds = seconds.parse().map_err(|why| format!("sinceSeconds {seconds:?}: {why}\n"))?;
        // Longer ago than there was any time is everything.
        return Ok(SystemTime::now().checked_sub(Duration::from_secs(seconds)));
    }
    let Some(time) = parameters(request, "sinceTime").into_iter().next() else { return Ok(None) };
    let read: jiff::Timestamp = time.parse().map_err(|why| format!("sinceTime {time:?}: {why}\n"))?;
    Ok(Some(read.into()))
}

struct Reading {
    file: File,
    path: PathBuf,
    is_followed: bool,
    /// Bytes that may still be sent.
    left: u64,
}

impl Reading {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if self.left == 0 {
            return Ok(None);
        }
        let most = PIECE.min(usize::try_from(self.left).unwrap_or(PIECE));
        loop {
            // A second handle of the same open file: it moves on with the first.
            let mut file = self.file.try_clone()?;
            let read = move || {
                let mut buffer = vec![0; most];
                let count = file.read(&mut buffer)?;
                buffer.truncate(count);
                Ok::<_, io::Error>(buffer)
            };
            let piece = tokio::task::spawn_blocking(read).await.map_err(io::Error::other)??;
            if !piece.is_empty() {
                self.left -= piece.len() as u64;
                return Ok(Some(piece.into()));
            }
            // The file goes with the pod.
            if !self.is_followed || !self.path.exists() {
                return Ok(None);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Where the line begins that this place is in.
fn line_of(file: &mut (impl Read + Seek), place: u64) -> io::Result<u64> {
    let place = place.min(file.seek(SeekFrom::End(0))?);
    let start = place.saturating_sub(PIECE as u64);
    let mut before = vec![0; usize::try_from(place - start).unwrap_or(PIECE)];
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(&mut before)?;
    let end_of_another = before.iter().rposition(|byte| *byte == b'\n');
    Ok(end_of_another.map_or(start, |at| start + at as u64 + 1))
}

/// Where the last so many lines begin.
pub(super) fn last_lines(file: &mut (impl Read + Seek), lines: u64) -> io::Result<u64> {
    let mut position = file.seek(SeekFrom::End(0))?;
    let (mut found, end) = (0, position);
    if lines == 0 {
        return Ok(end);
    }
    let mut buffer = vec![0; PIECE];
    while position > 0 {
        let start = position.saturating_sub(PIECE as u64);
        let piece = &mut buffer[..usize::try_from(position - start).unwrap_or(PIECE)];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(piece)?;
        for (index, byte) in piece.iter().enumerate().rev() {
            let at = start + index as u64 + 1;
            // The end of the last line begins no other.
            if *byte == b'\n' && at < end {
                found += 1;
            }
            if found == lines && *byte == b'\n' {
                return Ok(at);
            }
        }
        position = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests;
