//! What the kernel says about this process: memory, descriptors, threads, CPU time.
//!
//! Read from `/proc/self` when somebody asks. A figure that cannot be read is absent, never a made-up zero.

use std::fs;

/// Ticks for each second in `/proc/self/stat`: fixed by the kernel's ABI (`USER_HZ`) on every architecture we run on.
const TICKS_PER_SECOND: f64 = 100.0;

/// One reading of `/proc/self`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    /// Resident memory in bytes.
    pub resident_bytes: Option<u64>,
    /// Virtual memory in bytes.
    pub virtual_bytes: Option<u64>,
    /// Open file descriptors.
    pub open_descriptors: Option<u64>,
    /// Soft limit of open file descriptors.
    pub max_descriptors: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// CPU time used so far, user and system together, in seconds.
    pub cpu_seconds: Option<f64>,
}

impl Process {
    /// Reads the figures of this process.
    pub fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let descriptors = fs::read_dir("/proc/self/fd").ok();
        Self {
            resident_bytes: status_field(&status, "VmRSS:").map(|kibibytes| kibibytes * 1024),
            virtual_bytes: status_field(&status, "VmSize:").map(|kibibytes| kibibytes * 1024),
            // The directory's own descriptor is among the entries.
            open_descriptors: descriptors.map(|entries| (entries.count() as u64).saturating_sub(1)),
            max_descriptors: soft_limit(&limits, "Max open files"),
            threads: status_field(&status, "Threads:"),
            cpu_seconds: cpu_seconds(&stat),
        }
    }
}

fn status_field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn soft_limit(limits: &str, name: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Fields 14 and 15 of proc(5) `stat`. The second field is the program's name in parentheses and may contain spaces
/// and parentheses itself, so counting starts after the last one.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests;
