//! `fsm completion`: scripts for shells.

use anyhow::Result;
use clap::{Args, ValueEnum};
use clap_complete::Shell;

use super::say;

/// `fsm completion`.
#[derive(Debug, Args)]
#[command(after_help = "bash:  source <(fsm completion bash)\nzsh:   fsm completion zsh > \"${fpath[1]}/_fsm\"\n\
    fish:  fsm completion fish > ~/.config/fish/completions/fsm.fish")]
pub(super) struct Completion {
    /// Which shell
    shell: Kind,
}

/// Shells.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Bash,
    Zsh,
    Fish,
}

impl Completion {
    pub(super) fn run(self, mut command: clap::Command) -> Result<()> {
        let shell = match self.shell {
            Kind::Bash => Shell::Bash,
            Kind::Zsh => Shell::Zsh,
            Kind::Fish => Shell::Fish,
        };
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command, "fsm", &mut script);
        say(&String::from_utf8_lossy(&script));
        Ok(())
    }
}
