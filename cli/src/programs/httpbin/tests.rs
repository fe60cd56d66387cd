#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::client::{Answer, ask};
use super::*;
use http::Method;
use serde_json::Value;

struct Server {
    authority: String,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn server() -> Server {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let authority = listener.local_addr().unwrap().to_string();
    let pod = Some(HeaderValue::from_static("httpbin-v1-x"));
    Server { authority, task: tokio::spawn(serve_on(listener, pod)) }
}

impl Server {
    async fn get(&self, path: &str) -> Answer {
        let headers = [("x-name", "value".to_owned()), ("user-agent", "me/1".to_owned())];
        ask(Method::GET, &self.authority, path, &headers).await.unwrap()
    }

    async fn json(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        serde_json::from_slice(&answer.body).unwrap()
    }
}

#[tokio::test]
async fn requests_are_shown() {
    let server = server().await;
    let shown = server.json("/get?a=1&b=x%20y&a=2").await;
    assert_eq!(shown["args"], serde_json::json!({"a": ["1", "2"], "b": "x y"}));
    assert_eq!(shown["headers"]["X-Name"], "value");
    assert_eq!(shown["origin"], "127.0.0.1");
    assert_eq!(shown["url"], format!("http://{}/get?a=1&b=x%20y&a=2", server.authority));
    assert_eq!(server.json("/user-agent").await["user-agent"], "me/1");
    assert_eq!(server.json("/ip").await["origin"], "127.0.0.1");
    assert_eq!(server.json("/headers").await["headers"]["User-Agent"], "me/1");
    assert_eq!(server.json("/anything/x/y").await["method"], "GET");
    let answer = server.get("/get").await;
    assert_eq!(answer.headers["server"], "gunicorn/19.9.0");
    assert_eq!(answer.headers["x-httpbin-pod"], "httpbin-v1-x");
}

#[tokio::test]
async fn statuses_bytes_and_lines_are_as_asked() {
    let server = server().await;
    for code in [200, 404, 418, 503] {
        assert_eq!(server.get(&format!("/status/{code}")).await.status, code);
    }
    assert_eq!(server.get("/status/503:0,201:1").await.status, 201);
    assert_eq!(server.get("/status/none").await.status, 400);
    assert_eq!(server.get("/bytes/300").await.body.len(), 300);
    assert_eq!(server.get("/stream/3").await.body.iter().filter(|byte| **byte == b'\n').count(), 3);
    assert_eq!(server.get("/redirect/2").await.headers["location"], "/relative-redirect/1");
    assert_eq!(server.get("/response-headers?x-y=z").await.headers["x-y"], "z");
    assert_eq!(server.get("/nothing").await.status, 404);
    assert_eq!(server.get("/post").await.status, 405);
    let posted = ask(Method::POST, &server.authority, "/post", &[]).await.unwrap();
    assert_eq!(posted.status, 200);
    let head = ask(Method::HEAD, &server.authority, "/get", &[]).await.unwrap();
    assert!(head.body.is_empty() && head.status == 200);
}

#[tokio::test]
async fn a_delay_is_kept() {
    let server = server().await;
    let start = std::time::Instant::now();
    assert_eq!(server.get("/delay/0.2").await.status, 200);
    assert!(start.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_password_is_asked_for() {
    let server = server().await;
    assert_eq!(server.get("/basic-auth/user/passwd").await.status, 401);
    let headers = [("authorization", "Basic dXNlcjpwYXNzd2Q=".to_owned())];
    let answer = ask(Method::GET, &server.authority, "/basic-auth/user/passwd", &headers).await.unwrap();
    assert_eq!(answer.status, 200);
}
