#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

#[test]
fn a_user_map_says_which_users_there_are() {
    let machine = "         0          0 4294967295\n";
    assert!(covers(machine, 0) && covers(machine, 1500));
    let single = "         0      65534          1\n";
    assert!(covers(single, 0) && !covers(single, 1500) && !covers(single, 1));
    let two = "0 1000 1\n1 100000 65536\n";
    assert!(covers(two, 1500) && !covers(two, 65537));
    for damaged in ["", "0 0", "a b c", "0 0 x"] {
        assert!(!covers(damaged, 0), "{damaged:?}");
    }
}

#[test]
fn a_program_with_rights_stays_where_it_is() {
    if has_rights() {
        assert_eq!(enter().unwrap(), Privilege::Given);
        assert!(maps_user(0));
    }
}

#[test]
fn a_program_with_threads_is_told_so() {
    if !has_rights() {
        // The test framework runs tests on threads of their own.
        let why = enter().unwrap_err().to_string();
        assert!(why.contains("more than one thread") || why.contains("not allowed"), "{why}");
    }
}
