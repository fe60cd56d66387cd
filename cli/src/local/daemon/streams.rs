//! The streams of a program that was started in a container, for use without blocking.

use std::io;
use std::os::fd::OwnedFd;

use tokio::net::unix::pipe;

use crate::local::node::Exec;

/// The program's ends of its pipes or of its terminal.
pub(in crate::local) struct Streams {
    /// To write to.
    pub(in crate::local) input: Option<pipe::Sender>,
    /// What it says.
    pub(in crate::local) output: Option<pipe::Receiver>,
    /// What it complains about; nothing with a terminal.
    pub(in crate::local) errors: Option<pipe::Receiver>,
}

impl Streams {
    /// Takes them from a program.
    pub(in crate::local) fn of(program: &mut Exec) -> io::Result<Self> {
        if let Some(terminal) = &program.terminal {
            let (typed, shown) = (terminal.try_clone()?, terminal.try_clone()?);
            // Both are the same open terminal, and with it this flag.
            set_nonblocking(&typed)?;
            return Ok(Self {
                input: Some(pipe::Sender::from_file_unchecked(typed)?),
                output: Some(pipe::Receiver::from_file_unchecked(shown)?),
                errors: None,
            });
        }
        let receiver = |fd: OwnedFd| pipe::Receiver::from_owned_fd(fd);
        Ok(Self {
            input: program.stdin.take().map(OwnedFd::from).map(pipe::Sender::from_owned_fd).transpose()?,
            output: program.stdout.take().map(OwnedFd::from).map(receiver).transpose()?,
            errors: program.stderr.take().map(OwnedFd::from).map(receiver).transpose()?,
        })
    }
}

fn set_nonblocking(file: &std::fs::File) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_truncate(fcntl(file, FcntlArg::F_GETFL)?);
    fcntl(file, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}
