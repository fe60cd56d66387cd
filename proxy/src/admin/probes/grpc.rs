//! A gRPC probe, asked in the kubelet's place: `grpc.health.v1.Health/Check`, over plain HTTP/2 as the kubelet speaks it.
//!
//! The application is well when it says `SERVING`. Everything else is not: another word, an error of gRPC (also one that
//! says that it does not know the service), and what is no answer at all.

use super::super::reply::{Reply, text};
use super::Failure;
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// Bytes of an answer: a message of two bytes in its frame of five, and what a future version may add.
const MAX_ANSWER_BYTES: usize = 4 << 10;

/// `SERVING` of `HealthCheckResponse.ServingStatus`.
const SERVING: u8 = 1;

/// Asks over this connection. An empty service is the server as a whole.
pub(super) async fn check(stream: TcpStream, port: u16, service: &str) -> Result<Reply, Failure> {
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(Failure::Http)?;
    let request = Request::post(format!("http://localhost:{port}/grpc.health.v1.Health/Check"))
        .header(CONTENT_TYPE, HeaderValue::from_static("application/grpc"))
        .header(TE, HeaderValue::from_static("trailers"))
        .body(Full::new(question(service)))
        .map_err(Failure::BadTarget)?;
    let exchange = async {
        let (head, body) = sender.send_request(request).await.map_err(Failure::Http)?.into_parts();
        let body = match Limited::new(body, MAX_ANSWER_BYTES).collect().await {
            Ok(body) => body,
            Err(error) => return Ok(unwell(format!("no answer: {error}"))),
        };
        let trailers = body.trailers().cloned().unwrap_or_default();
        Ok(verdict(head.status, &head.headers, &trailers, &body.to_bytes()))
    };
    let (mut connection, mut exchange) = (std::pin::pin!(connection), std::pin::pin!(exchange));
    tokio::select! {
        reply = exchange.as_mut() => reply,
        ended = connection.as_mut() => match ended {
            Ok(()) => exchange.await,
            Err(error) => Err(Failure::Http(error)),
        },
    }
}

/// `HealthCheckRequest{service}` in a frame of gRPC.
fn question(service: &str) -> Bytes {
    let name = service.as_bytes();
    let mut message = BytesMut::new();
    if !name.is_empty() {
        message.put_u8(0x0a);
        put_length(&mut message, name.len());
        message.put_slice(name);
    }
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    // A header of HTTP is never so long.
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(&message);
    frame.freeze()
}

fn put_length(message: &mut BytesMut, mut length: usize) {
    while length >= 0x80 {
        message.put_u8((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    message.put_u8(length as u8);
}

fn verdict(status: StatusCode, headers: &HeaderMap, trailers: &HeaderMap, body: &[u8]) -> Reply {
    let said = |name: &str| {
        let value = trailers.get(name).or_else(|| headers.get(name))?;
        Some(value.to_str().unwrap_or("?").to_owned())
    };
    let code = said("grpc-status");
    match (status, code.as_deref(), serving_status(body)) {
        (StatusCode::OK, Some("0"), Some(SERVING)) => text(StatusCode::OK, "SERVING\n"),
        (StatusCode::OK, Some("0"), Some(other)) => unwell(format!("the service says status {other}, not SERVING (1)")),
        (StatusCode::OK, Some("0"), None) => unwell("the answer is no HealthCheckResponse".to_owned()),
        (StatusCode::OK, Some(code), _) => {
            unwell(format!("gRPC status {code}: {}", said("grpc-message").unwrap_or_default()))
        }
        (status, _, _) => unwell(format!("no answer of gRPC, but HTTP status {status}")),
    }
}

fn unwell(why: String) -> Reply {
    text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"))
}

/// Field 1 of the message in a frame; a message without it says 0 (`UNKNOWN`).
fn serving_status(body: &[u8]) -> Option<u8> {
    let (frame, message) = body.split_at_checked(5)?;
    let length = u32::from_be_bytes([frame[1], frame[2], frame[3], frame[4]]);
    if frame[0] != 0 || length as usize != message.len() {
        return None;
    }
    match message {
        [] => Some(0),
        [0x08, status, ..] => Some(*status),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::{check, question, serving_status, verdict};
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue, Response, StatusCode};
    use http_body_util::{BodyExt, Full};
    use hyper::service::service_fn;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use std::convert::Infallible;
    use tokio::net::{TcpListener, TcpStream};

    #[test]
    fn questions_are_frames_and_answers_are_read_from_frames() {
        assert_eq!(question(""), Bytes::from_static(&[0, 0, 0, 0, 0]));
        assert_eq!(question("ab"), Bytes::from_static(&[0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']));
        assert_eq!(question(&"a".repeat(200)).len(), 5 + 3 + 200);
        assert_eq!(serving_status(&[0, 0, 0, 0, 2, 8, 1]), Some(1));
        assert_eq!(serving_status(&[0, 0, 0, 0, 2, 8, 2]), Some(2));
        assert_eq!(serving_status(&[0, 0, 0, 0, 0]), Some(0));
        for broken in [&[][..], &[0, 0, 0], &[1, 0, 0, 0, 2, 8, 1], &[0, 0, 0, 0, 9, 8, 1], &[0, 0, 0, 0, 1, 9]] {
            assert_eq!(serving_status(broken), None);
        }
    }

    #[test]
    fn only_serving_is_well() {
        let with = |code: &'static str| {
            HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static(code))])
        };
        let none = HeaderMap::new();
        let serving = [0, 0, 0, 0, 2, 8, 1];
        assert_eq!(verdict(StatusCode::OK, &none, &with("0"), &serving).status(), StatusCode::OK);
        for reply in [
            verdict(StatusCode::OK, &none, &with("0"), &[0, 0, 0, 0, 2, 8, 2]),
            verdict(StatusCode::OK, &none, &none, &serving),
            verdict(StatusCode::OK, &with("5"), &none, &[]),
            verdict(StatusCode::NOT_FOUND, &none, &none, b"no"),
        ] {
            assert_eq!(reply.status(), StatusCode::SERVICE_UNAVAILABLE);
        }
    }

    #[tokio::test]
    async fn a_server_is_asked_about_the_service() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (socket, _) = listener.accept().await.unwrap();
            let service = service_fn(|request: http::Request<hyper::body::Incoming>| async move {
                assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                let asked = request.into_body().collect().await.unwrap().to_bytes();
                let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
                let status = if asked == question("shop") { 1 } else { 2 };
                let body = Full::new(Bytes::copy_from_slice(&[0, 0, 0, 0, 2, 8, status]));
                let body = body.with_trailers(async move { Some(Ok::<_, Infallible>(trailers)) });
                Ok::<_, Infallible>(Response::new(body))
            });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(socket), service).await;
        });
        let stream = TcpStream::connect(address).await.unwrap();
        let reply = check(stream, address.port(), "shop").await.unwrap();
        assert_eq!(reply.status(), StatusCode::OK);
        server.abort();
    }
}
