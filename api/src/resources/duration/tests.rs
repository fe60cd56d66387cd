#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;

use super::*;

#[test]
fn durations_read_as_go_reads_them() {
    for (text, nanos) in [
        ("0", 0),
        ("0s", 0),
        ("90s", 90_000_000_000),
        ("1h30m", 5_400_000_000_000),
        ("1.5s", 1_500_000_000),
        (".5s", 500_000_000),
        ("1.s", 1_000_000_000),
        ("300ms", 300_000_000),
        ("2us", 2_000),
        ("2\u{b5}s", 2_000),
        ("7ns", 7),
        ("+1m", 60_000_000_000),
        ("1m1m", 120_000_000_000),
    ] {
        assert_eq!(text.parse::<GoDuration>().unwrap().get().as_nanos(), nanos, "{text}");
    }
}

#[test]
fn texts_that_are_no_durations_are_refused_with_a_remedy() {
    for text in ["", "+", "-1s", "90", "s", ".", ".s", "1 s", "1d", "1.2.3s", "9999999999h", "1e3s"] {
        let error = text.parse::<GoDuration>().unwrap_err().to_string();
        assert!(error.contains("90s"), "{text}: {error}");
    }
}

#[test]
fn durations_are_printed_as_go_prints_them() {
    for (text, printed) in [
        ("0", "0s"),
        ("90s", "1m30s"),
        ("1h", "1h0m0s"),
        ("1500ms", "1.5s"),
        ("1500us", "1.5ms"),
        ("1500ns", "1.5us"),
        ("7ns", "7ns"),
        ("61.25s", "1m1.25s"),
    ] {
        assert_eq!(text.parse::<GoDuration>().unwrap().to_string(), printed);
    }
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(nanos in 0..i64::MAX as u64) {
        let duration = GoDuration::from(Duration::from_nanos(nanos));
        prop_assert_eq!(duration.to_string().parse::<GoDuration>(), Ok(duration));
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "[0-9.a-z+\u{b5}-]{0,24}") {
        let _ = text.parse::<GoDuration>();
    }
}
