#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;

#[test]
fn a_question_is_read() {
    let read = question("from=a/b&to=c/d&port=80&method=POST&path=%2Fx%20y%3Fz&header=X-A%3A+b").unwrap();
    assert_eq!(read.from, Caller::Pod(NamespacedName::new("a", "b")));
    assert_eq!((read.to, read.port), (NamespacedName::new("c", "d"), Some(80)));
    let request = read.request.unwrap();
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/x y"));
    assert_eq!(request.headers["x-a"], "b");
    let account = question("from=account:a/&to=c/d").unwrap_err();
    assert!(account.contains("NAMESPACE/NAME"), "{account}");
    let account = question("from=account:a/b&to=c/d").unwrap();
    assert_eq!((account.from, account.request), (Caller::Account(Account::new("a", "b")), None));
}

#[test]
fn what_is_no_question_is_refused() {
    for (query, why) in [
        ("", "say who calls"),
        ("from=a/b", "say whom"),
        ("from=a&to=c/d", "from=a is no NAMESPACE/NAME"),
        ("from=a/b&to=c/d&port=x", "`x` is no port"),
        ("from=a/b&to=c/d&methd=GET", "`methd` is nothing"),
        ("from=a/b&to=c/d&header=x", "no header"),
        ("from=%zz&to=c/d", "not encoded well"),
        ("from=%2", "not encoded well"),
    ] {
        let refused = question(query).unwrap_err();
        assert!(refused.contains(why), "{query}: {refused}");
    }
}
