#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::{Caller, MAX_TOKEN_BYTES, ReviewError, Token, TokenDirectory, TokenReview};
use crate::cert::Identity;
use tempfile::TempDir;

const TOKEN: &str = "eyJhbGciOi.J9-_~+/x==";

fn token(text: &str) -> Token {
    Token::bearer(Some(format!("Bearer {text}").as_bytes())).unwrap()
}

fn write(directory: &TempDir, token: &Token, content: &str) {
    std::fs::write(directory.path().join(format!("{}.json", token.fingerprint())), content).unwrap();
}

async fn review(directory: &TempDir, token: &Token) -> Result<Caller, ReviewError> {
    TokenDirectory::new(directory.path()).review(token).await
}

#[test]
fn fingerprints_are_sha256_in_hexadecimal() {
    // From FIPS 180-2: SHA-256 of "abc".
    let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(token("abc").fingerprint(), expected);
}

#[test]
fn only_bearer_tokens_are_read() {
    for refused in [
        None,
        Some(&b""[..]),
        Some(b"Bearer"),
        Some(b"Bearer "),
        Some(b"Bearer   "),
        Some(b"Basic dXNlcjpwYXNz"),
        Some(b"Bearer ../../etc/passwd\0"),
        Some(b"Bearer two words"),
        Some(b"Bearer \xff\xfe"),
    ] {
        assert!(matches!(Token::bearer(refused), Err(ReviewError::Missing)), "{refused:?}");
    }
    assert_eq!(Token::bearer(Some(b"bEARER abc")).unwrap().expose(), "abc");
    let longest = "a".repeat(MAX_TOKEN_BYTES);
    assert!(Token::bearer(Some(format!("Bearer {longest}").as_bytes())).is_ok());
    assert!(Token::bearer(Some(format!("Bearer {longest}a").as_bytes())).is_err());
}

#[test]
fn a_token_does_not_show_itself() {
    assert!(!format!("{:?}", token("secret")).contains("secret"));
}

#[tokio::test]
async fn a_known_token_names_its_caller() {
    let directory = TempDir::new().unwrap();
    let token = token(TOKEN);
    write(
        &directory,
        &token,
        r#"{"namespace":"bookstore","serviceAccount":"bookbuyer","pod":"bookbuyer-0","uid":"u-1","expires":null,"x":1}"#,
    );
    let expected = Caller {
        identity: Identity::new("bookstore", "bookbuyer").unwrap(),
        pod: "bookbuyer-0".into(),
        uid: "u-1".into(),
    };
    assert_eq!(review(&directory, &token).await.unwrap(), expected);
}

#[tokio::test]
async fn unknown_and_revoked_tokens_are_refused() {
    let directory = TempDir::new().unwrap();
    let token = token(TOKEN);
    assert!(matches!(review(&directory, &token).await, Err(ReviewError::Refused)));
    write(&directory, &token, r#"{"namespace":"a","serviceAccount":"b","expires":null}"#);
    assert!(review(&directory, &token).await.is_ok());
    std::fs::remove_file(directory.path().join(format!("{}.json", token.fingerprint()))).unwrap();
    assert!(matches!(review(&directory, &token).await, Err(ReviewError::Refused)));
}

#[tokio::test]
async fn a_directory_that_is_not_there_yet_refuses() {
    let directory = TokenDirectory::new("/nonexistent/tokens");
    assert!(matches!(directory.review(&token(TOKEN)).await, Err(ReviewError::Refused)));
}

#[tokio::test]
async fn an_expired_token_is_refused_and_a_later_one_is_not() {
    let directory = TempDir::new().unwrap();
    let token = token(TOKEN);
    for (expires, good) in [("2001-01-01T00:00:00Z", false), ("2999-01-01T00:00:00+02:00", true)] {
        write(&directory, &token, &format!(r#"{{"namespace":"a","serviceAccount":"b","expires":"{expires}"}}"#));
        let reviewed = review(&directory, &token).await;
        assert_eq!(reviewed.is_ok(), good, "{expires}");
        assert!(good || matches!(reviewed, Err(ReviewError::Refused)));
    }
}

#[tokio::test]
async fn a_broken_file_is_no_refusal_and_no_permission() {
    let directory = TempDir::new().unwrap();
    let token = token(TOKEN);
    let too_long = format!(r#"{{"namespace":"a","serviceAccount":"b","x":"{}"}}"#, "y".repeat(20_000));
    for content in
        ["", "{", "[]", r#"{"namespace":"a"}"#, r#"{"namespace":"a","serviceAccount":"b","expires":7}"#, &too_long]
    {
        write(&directory, &token, content);
        assert!(matches!(review(&directory, &token).await, Err(ReviewError::Unavailable(_))), "{content:.40}");
    }
}

#[tokio::test]
async fn names_that_could_mean_somebody_else_are_refused() {
    let directory = TempDir::new().unwrap();
    let token = token(TOKEN);
    for (namespace, account) in
        [("", "b"), ("a.b", "c"), ("a", ""), ("a", "b/c"), ("a", "B"), ("a/sa/b", "c"), ("a", "b..c")]
    {
        write(&directory, &token, &format!(r#"{{"namespace":"{namespace}","serviceAccount":"{account}"}}"#));
        assert!(matches!(review(&directory, &token).await, Err(ReviewError::Identity(_))), "{namespace} {account}");
    }
}
