//! The few system calls that have no safe function, and what happens between `fork` and `exec`.
#![allow(unsafe_code)]

use std::ffi::{CString, c_int};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, setgid, setgroups, setsid, setuid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// What a new process does before it becomes the program. All of it is plain data, made ready before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrangement {
    /// It is the first process of a process namespace, and `/proc` is to show that one.
    pub(super) first: bool,
    /// Its standard input is a terminal, to be its controlling terminal.
    pub(super) terminal: bool,
    /// It ends when the thread that starts it ends.
    pub(super) dies_with_thread: bool,
    /// User and group to become; no other groups.
    pub(super) user: Option<(u32, u32)>,
    /// Greatest number of open files, at most what this program itself may have.
    pub(super) open_files: Option<u64>,
}

/// Has `command` do this first. A failure of any step but `/proc` makes the start fail.
pub(super) fn arrange(command: &mut Command, arrangement: Arrangement) {
    // SAFETY: the closure makes system calls on its own plain data; it neither allocates nor takes a lock, so it may run
    // in the child of a process with many threads.
    unsafe {
        command.pre_exec(move || arrangement.carry_out());
    }
}

impl Arrangement {
    fn carry_out(self) -> io::Result<()> {
        if self.first {
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            // Refused in a user namespace where parts of /proc are covered, as in many containers. The machine's own
            // /proc, which then stays, serves for /proc/self.
            let _ = mount(Some(c"proc"), c"/proc", Some(c"proc"), flags, None::<&std::ffi::CStr>);
        }
        setsid()?;
        if self.terminal {
            // SAFETY: TIOCSCTTY takes a number, no pointer.
            check(unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) })?;
        }
        if let Some(files) = self.open_files {
            setrlimit(Resource::RLIMIT_NOFILE, files, files)?;
        }
        if let Some((user, group)) = self.user {
            setgroups(&[])?;
            setgid(Gid::from_raw(group))?;
            setuid(Uid::from_raw(user))?;
        }
        if self.dies_with_thread {
            // After the change of user, which clears it.
            set_pdeathsig(Signal::SIGKILL)?;
        }
        Ok(())
    }
}

/// Has `command` be in a user namespace of its own from the start, as [`rootless::enter`] does with a running program.
#[cfg(test)]
pub(super) fn enter_first(command: &mut Command, entry: super::rootless::Entry) {
    // SAFETY: the closure makes system calls on memory that is there already; it neither allocates nor takes a lock.
    unsafe {
        command.pre_exec(move || {
            // Who was root a moment ago may not touch its own /proc files. A program that is started by a user may.
            nix::sys::prctl::set_dumpable(true)?;
            entry.carry_out()
        });
    }
}

/// Sets the hostname of the calling thread's namespace.
pub(super) fn set_hostname(name: &str) -> io::Result<()> {
    // SAFETY: pointer and length are those of one live string.
    check(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) })
}

/// A copy of a file or directory with what is mounted below it, mounted nowhere yet (Linux 5.2). It does not depend on
/// its path any more.
pub(super) fn copy_tree(path: &Path) -> io::Result<File> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_RECURSIVE.unsigned_abs();
    // SAFETY: the string lives through the call; the result is a descriptor that nobody else knows, or -1.
    unsafe {
        let descriptor = libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags);
        let descriptor = c_int::try_from(descriptor).unwrap_or(-1);
        check(descriptor)?;
        Ok(File::from_raw_fd(descriptor))
    }
}

/// Mounts a copy of [`copy_tree`] over a file or directory.
pub(super) fn attach_tree(tree: &File, at: &Path) -> io::Result<()> {
    let at = CString::new(at.as_os_str().as_bytes())?;
    // SAFETY: both strings live through the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            at.as_ptr(),
            libc::MOVE_MOUNT_F_EMPTY_PATH,
        )
    };
    check(c_int::try_from(result).unwrap_or(-1))
}

/// A descriptor that becomes readable when the process ends, and that never means another process.
pub(super) fn process_descriptor(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two numbers and returns a descriptor that nobody else knows, or -1.
    unsafe {
        let descriptor = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        let descriptor = c_int::try_from(descriptor).unwrap_or(-1);
        check(descriptor)?;
        Ok(OwnedFd::from_raw_fd(descriptor))
    }
}

/// Waits until the descriptor is readable; tells whether it is.
pub(super) fn wait_readable(descriptor: BorrowedFd<'_>, at_most: Duration) -> bool {
    let mut entry = libc::pollfd { fd: descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let milliseconds = c_int::try_from(at_most.as_millis()).unwrap_or(c_int::MAX);
    // SAFETY: one entry, which lives through the call.
    unsafe { libc::poll(&raw mut entry, 1, milliseconds) > 0 }
}

/// To wait on the runtime until the descriptor is readable.
pub(super) fn watch(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` stays open and the same until it is dropped, which the `AsyncFd` does after deregistering.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }?)
}

/// A pseudo-terminal: the side of whoever types, and the side of the program.
pub(super) fn open_terminal(rows: u16, columns: u16) -> io::Result<(File, OwnedFd)> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let (mut outer, mut inner): (c_int, c_int) = (-1, -1);
    // SAFETY: all pointers are to live variables or null; on success both descriptors are new and ours alone.
    unsafe {
        check(libc::openpty(&raw mut outer, &raw mut inner, std::ptr::null_mut(), std::ptr::null(), &raw const size))?;
        let ends = (File::from_raw_fd(outer), OwnedFd::from_raw_fd(inner));
        for descriptor in [outer, inner] {
            check(libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC))?;
        }
        Ok(ends)
    }
}

/// Tells the programs at a terminal its new size.
pub(super) fn resize_terminal(terminal: &File, rows: u16, columns: u16) -> io::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the pointer is to a live variable of the type that this request takes.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) })
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
