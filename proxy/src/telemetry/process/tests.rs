use super::{Process, cpu_seconds, soft_limit, status_field};

#[test]
fn this_process_has_memory_threads_and_descriptors() {
    let process = Process::read();
    assert!(process.resident_bytes.is_some_and(|bytes| bytes > 100_000));
    assert!(process.virtual_bytes >= process.resident_bytes);
    assert!(process.threads.is_some_and(|threads| threads >= 1));
    assert!(process.open_descriptors.is_some_and(|open| open >= 3));
    assert!(process.max_descriptors >= process.open_descriptors);
    assert!(process.cpu_seconds.is_some());
}

#[test]
fn a_program_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
    let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 100 1 1";
    assert_eq!(cpu_seconds(stat), Some(3.0));
}

#[test]
fn unreadable_figures_are_absent() {
    assert_eq!(cpu_seconds(""), None);
    assert_eq!(status_field("VmRSS: x kB\n", "VmRSS:"), None);
    assert_eq!(
        soft_limit("Max open files            unlimited            unlimited            files\n", "Max open files"),
        None
    );
}
