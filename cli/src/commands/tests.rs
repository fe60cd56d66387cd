#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}
