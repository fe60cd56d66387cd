//! First bytes of connections, as clients of today send them.

/// A TLS 1.3 hello with a server name, `h2` and `http/1.1`, and a key share of `key_share` bytes: 36 for X25519 alone,
/// 1,256 with the post-quantum hybrid that browsers and OpenSSL 3.5 send.
pub fn client_hello(server_name: &str, key_share: u16) -> Vec<u8> {
    let mut extensions = Vec::new();
    let name = [&[0], &*prefixed(server_name.as_bytes())].concat();
    extension(&mut extensions, 0, &prefixed(&name));
    let protocols: Vec<u8> =
        ["h2", "http/1.1"].iter().flat_map(|name| [&[name.len() as u8], name.as_bytes()].concat()).collect();
    // Sizes as they are on the wire: groups, signature algorithms and versions come before the key share.
    extension(&mut extensions, 10, &prefixed(&[0x11, 0xec, 0, 29, 0, 23, 0, 24]));
    extension(&mut extensions, 13, &prefixed(&[4, 3, 5, 3, 6, 3, 8, 4, 8, 5, 8, 6, 8, 7]));
    extension(&mut extensions, 43, &[4, 3, 4, 3, 3]);
    extension(&mut extensions, 51, &prefixed(&vec![7; usize::from(key_share)]));
    extension(&mut extensions, 16, &prefixed(&protocols));

    let mut hello = vec![3, 3];
    hello.extend([9; 32]);
    hello.push(32);
    hello.extend([8; 32]);
    hello.extend(prefixed(&[0x13, 1, 0x13, 2, 0x13, 3]));
    hello.extend([1, 0]);
    hello.extend(prefixed(&extensions));

    let mut message = vec![1, 0];
    message.extend(prefixed(&hello));
    let mut record = vec![22, 3, 1];
    record.extend(prefixed(&message));
    record
}

/// A request as curl sends it.
pub fn http1_request() -> Vec<u8> {
    b"GET /api/orders/17?full=1 HTTP/1.1\r\nHost: orders.shop:8080\r\nUser-Agent: curl/8.9.1\r\nAccept: */*\r\n\r\n"
        .to_vec()
}

/// Preface and an empty SETTINGS frame.
pub fn http2_preface() -> Vec<u8> {
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec()
}

fn prefixed(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&length, bytes].concat()
}

fn extension(extensions: &mut Vec<u8>, number: u8, content: &[u8]) {
    extensions.extend([0, number]);
    extensions.extend(prefixed(content));
}
