#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

fn answers(text: &str) -> Vec<(u16, Answer)> {
    Script::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).answers
}

fn body(answer: &Answer, variable: impl Fn(&str) -> Option<String>) -> String {
    use http_body_util::BodyExt;
    let body = answer.reply(&variable).into_body();
    let mut collected = tokio_test_block(body.collect()).unwrap().to_bytes();
    let text = String::from_utf8(collected.to_vec()).unwrap();
    collected.clear();
    text
}

/// A body in memory is there at once.
fn tokio_test_block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn the_scripts_of_the_demos_are_understood() {
    let canary = "pipy()\n.listen(8080)\n.serveHTTP(new Message('Hi, I am v1!\\n'))\n";
    let [(8080, answer)] = &answers(canary)[..] else { panic!("one answer") };
    assert_eq!((answer.status, body(answer, |_| None).as_str()), (200, "Hi, I am v1!\n"));

    let ingress = "\npipy()\n  .listen(8000)\n  .serveHTTP(new Message('Response from pod ' + os.env[\"HOSTNAME\"]))\n";
    let [(8000, answer)] = &answers(ingress)[..] else { panic!("one answer") };
    let hostname = |name: &str| (name == "HOSTNAME").then(|| "httpbin-1".to_owned());
    assert_eq!(body(answer, hostname), "Response from pod httpbin-1");
}

#[test]
fn heads_functions_comments_and_several_ports_are_understood() {
    let text = r#"
        // two of them
        pipy({}) /* nothing kept */
          .listen(8079).serveHTTP(() => new Message({ status: 401, headers: { 'x-a': 'b', via: "c" } }, "no"))
          .listen('0.0.0.0:8081').serveHTTP(msg => (new Message({ status: 204 })));
    "#;
    let all = answers(text);
    assert_eq!(all.iter().map(|(port, answer)| (*port, answer.status)).collect::<Vec<_>>(), [(8079, 401), (8081, 204)]);
    let reply = all[0].1.reply(&|_| None);
    assert_eq!(reply.headers()["x-a"], "b");
    assert_eq!(reply.headers()["via"], "c");
    assert_eq!(body(&all[0].1, |_| None), "no");
    assert_eq!(body(&all[1].1, |_| None), "");
}

#[test]
fn whatever_else_is_refused_with_its_line() {
    let refused = [
        ("", 1),
        ("pipy()", 1),
        ("pipy()\n.listen(0)\n.serveHTTP(new Message('a'))", 2),
        ("pipy()\n.listen(80)\n.demuxHTTP().to(x)", 3),
        ("pipy()\n.listen(80)\n.serveHTTP(\nnew Message(fetch('x')))", 4),
        ("pipy().listen(80).serveHTTP(new Message('a' + `${x}`))", 1),
        ("pipy().listen(80).serveHTTP(new Message('a", 1),
        ("pipy().listen(80).serveHTTP(new Message({ status: 99 }))", 1),
        ("pipy().listen(80).serveHTTP(new Message({ headers: { 'a b': 'c' } }))", 1),
        ("pipy({ _a: null }).listen(80).serveHTTP(new Message('a'))", 1),
    ];
    for (text, line) in refused {
        let error = Script::parse(text).expect_err(text);
        assert_eq!(error.line, line, "{text}: {error}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "(pipy\\(|\\)|\\.listen|serveHTTP|new Message|[{}'\"`+:,\\\\é0-9a-z /*\n])*") {
        let _ = Script::parse(&text);
    }
}
