//! Programs that answer, complain, overrun or do not exist.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

fn shell(script: &str, input: &str, deadline: Duration) -> Result<Ended, InitError> {
    run(Path::new("/bin/sh"), &["-c".to_owned(), script.to_owned()], &[("NAME", "value")], input, deadline)
}

const AMPLE: Duration = Duration::from_secs(30);

#[test]
fn input_goes_in_and_both_outputs_come_out() {
    let ended = shell("cat; echo $NAME >&2; exit 3", "rules", AMPLE).unwrap();
    assert!(!ended.success);
    assert_eq!((ended.output.as_str(), ended.complaint.as_str()), ("rules", "value\n"));
    assert!(shell("exit 0", "", AMPLE).unwrap().success);
}

#[test]
fn input_and_output_beyond_the_pipe_buffers_do_not_block() {
    let input = "x".repeat(1 << 20);
    assert_eq!(shell("cat", &input, AMPLE).unwrap().output, input);
    assert!(shell("exit 0", &input, AMPLE).unwrap().success);
}

#[test]
fn a_program_that_overruns_is_killed_and_named() {
    let started = Instant::now();
    for script in ["exec sleep 600", "exec >&- 2>&-; exec sleep 600"] {
        let error = shell(script, "", Duration::from_millis(50)).err().unwrap();
        assert_eq!((error.code(), error.exit_code()), ("init.timeout", 6));
        assert!(error.to_string().contains("/bin/sh"), "{error}");
    }
    assert!(started.elapsed() < AMPLE);
}

#[test]
fn a_program_that_does_not_exist_is_named() {
    let error = run(Path::new("/nonexistent/iptables"), &[], &[], "", AMPLE).err().unwrap();
    assert_eq!(error.code(), "init.tool");
    assert!(error.to_string().contains("/nonexistent/iptables"), "{error}");
}
