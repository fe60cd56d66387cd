//! Commands that are shown as they are run, programs that run until the end, and the end itself.

use anyhow::{Context, bail};
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Names of namespaces and directories begin with it and our process id: demos can run side by side, and what a killed
/// one left is recognised.
pub(crate) const PREFIX: &str = "fsm-demo-";

/// Everything that has to be gone at the end.
#[derive(Default)]
struct Remains {
    /// Running programs with their names.
    programs: Vec<(String, Child)>,
    /// The process group of the command that runs at the moment.
    running: Option<Pid>,
    /// Names under which `ip netns` knows our namespaces.
    namespaces: Vec<String>,
    /// Directories.
    directories: Vec<PathBuf>,
    /// Somebody else than the story ends the demo.
    ending: bool,
    cleaned: bool,
    /// The story is over: no deadline any more.
    told: bool,
}

/// The demo's directory, its programs and its namespaces.
pub(crate) struct Workshop {
    directory: PathBuf,
    remains: Arc<Mutex<Remains>>,
    told: Arc<Condvar>,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Its output, errors included.
    pub(crate) text: String,
    /// Its exit code; `None` when a signal ended it.
    pub(crate) code: Option<i32>,
}

impl Outcome {
    /// Whether some line of the output, in whatever case, starts with this.
    pub(crate) fn has_line(&self, start: &str) -> bool {
        let start = start.to_ascii_lowercase();
        self.text.lines().any(|line| line.trim_start().to_ascii_lowercase().starts_with(&start))
    }
}

impl Workshop {
    /// Makes the directory and sees to it that everything ends on Ctrl-C and after [`crate::LONGEST`].
    ///
    /// # Errors
    /// When there is no place for temporary files.
    pub(crate) fn open() -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix(&format!("{PREFIX}{}-", std::process::id()))
            .tempdir()
            .context("no temporary directory can be made; is /tmp writable?")?
            .keep();
        let remains = Arc::new(Mutex::new(Remains { directories: vec![directory.clone()], ..Remains::default() }));
        let workshop = Self { directory, remains, told: Arc::default() };
        // The proxies run as another user and read their documents there.
        fs::set_permissions(&workshop.directory, fs::Permissions::from_mode(0o755))?;
        workshop.end_on_signals()?;
        workshop.end_in_time()?;
        Ok(workshop)
    }

    /// Where the demo's files are.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Removes namespaces and directories of demos whose process is gone (`kill -9`).
    pub(crate) fn remove_leftovers(&self) -> anyhow::Result<()> {
        for name in left_behind(Path::new("/run/netns")) {
            self.run(&format!("ip netns del {name}"))?;
        }
        let temporary = std::env::temp_dir();
        for name in left_behind(&temporary) {
            // Another user's: theirs to remove.
            let _ = fs::remove_dir_all(temporary.join(name));
        }
        Ok(())
    }

    /// A name for `ip netns` that has to be deleted at the end.
    pub(crate) fn will_make_namespace(&self, name: &str) {
        lock(&self.remains).namespaces.push(name.to_owned());
    }

    /// Shows a command, runs it by a shell, and shows its output.
    pub(crate) fn run(&self, command: &str) -> anyhow::Result<Outcome> {
        say!("   $ {command}");
        let outcome = self.run_quietly(command)?;
        for line in outcome.text.lines() {
            say!("   | {}", line.trim_end());
        }
        Ok(outcome)
    }

    /// Runs a command that only looks at something.
    pub(crate) fn run_quietly(&self, command: &str) -> anyhow::Result<Outcome> {
        let child = command_in_path("sh")
            .args(["-c", command])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Of its own, so that the command and whatever it started can be ended together.
            .process_group(0)
            .spawn()
            .context("no shell (`sh`) can be run")?;
        lock(&self.remains).running = i32::try_from(child.id()).ok().map(Pid::from_raw);
        let output = child.wait_with_output();
        lock(&self.remains).running = None;
        let output = output.context("a command's output cannot be read")?;
        self.go_on();
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        Ok(Outcome { text, code: output.status.code() })
    }

    /// Runs a command that must succeed for the demo to go on.
    pub(crate) fn must(&self, command: &str) -> anyhow::Result<Outcome> {
        let outcome = self.run(command)?;
        match outcome.code {
            Some(0) => Ok(outcome),
            Some(127) => {
                bail!("a program is missing: {}; `make setup` installs what the demo needs", outcome.text.trim())
            }
            _ => bail!("this command failed: {command}"),
        }
    }

    /// Starts a program that runs until the end; what it says goes to a file.
    pub(crate) fn start(&self, name: &str, words: &[&str]) -> anyhow::Result<()> {
        say!("   $ {} &", words.join(" "));
        let log = File::create(self.log(name)).context("the demo's directory is not writable")?;
        let child = command_in_path(words[0])
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("`{}` does not start; `make setup` installs what the demo needs", words[0]))?;
        lock(&self.remains).programs.push((name.to_owned(), child));
        self.go_on();
        Ok(())
    }

    /// How each program ended that has ended although it should run.
    pub(crate) fn ended_programs(&self) -> Vec<String> {
        let mut remains = lock(&self.remains);
        let programs = remains.programs.iter_mut();
        let ended = programs.filter_map(|(name, child)| {
            let status = child.try_wait().ok().flatten()?;
            let how = status.code().map_or_else(
                || format!("signal {}", status.signal().unwrap_or_default()),
                |code| format!("exit code {code}"),
            );
            Some(format!("{name} ({how})"))
        });
        ended.collect()
    }

    /// Prints the end of every program's log.
    pub(crate) fn show_logs(&self) {
        let names: Vec<String> = lock(&self.remains).programs.iter().map(|(name, _)| name.clone()).collect();
        for name in names {
            let log = fs::read_to_string(self.log(&name)).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            say!("\n--- the last words of {name}:");
            lines[lines.len().saturating_sub(20)..].iter().for_each(|line| say!("{line}"));
        }
    }

    /// Waits until a signal ends the demo.
    pub(crate) fn wait_for_the_end(&self) {
        lock(&self.remains).told = true;
        self.told.notify_all();
        loop {
            std::thread::park();
        }
    }

    /// Ends every program and removes every namespace and file. Safe to call again.
    pub(crate) fn clean(&self) {
        clean(&self.remains);
    }

    /// Comes back unless the demo is being ended: then there is nothing more to tell.
    fn go_on(&self) {
        while lock(&self.remains).ending {
            std::thread::park();
        }
    }

    fn log(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{}.log", name.replace(' ', "-")))
    }

    /// Threads inherit the blocked signals, so that one thread gets them all. Programs that are started do not.
    fn end_on_signals(&self) -> anyhow::Result<()> {
        let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
        signals.thread_block().context("signals cannot be held back")?;
        let remains = Arc::clone(&self.remains);
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            if let Ok(signal) = signals.wait() {
                end(&remains, &format!("\nEnded by {signal}: cleaning up."), 130);
            }
        })?;
        Ok(())
    }

    fn end_in_time(&self) -> anyhow::Result<()> {
        let (remains, told) = (Arc::clone(&self.remains), Arc::clone(&self.told));
        std::thread::Builder::new().name("deadline".to_owned()).spawn(move || {
            let waiting = told.wait_timeout_while(lock(&remains), crate::LONGEST, |remains| !remains.told);
            let (guard, waited) = waiting.unwrap_or_else(PoisonError::into_inner);
            drop(guard);
            if waited.timed_out() {
                let seconds = crate::LONGEST.as_secs();
                end(&remains, &format!("\nNot done after {seconds} seconds, which it never takes: giving up."), 1);
            }
        })?;
        Ok(())
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        self.clean();
    }
}

fn end(remains: &Mutex<Remains>, message: &str, code: i32) {
    lock(remains).ending = true;
    say!("{message}");
    clean(remains);
    std::process::exit(code);
}

fn clean(remains: &Mutex<Remains>) {
    let mut remains = lock(remains);
    if std::mem::replace(&mut remains.cleaned, true) {
        return;
    }
    if let Some(group) = remains.running {
        let _ = killpg(group, Signal::SIGKILL);
    }
    for (_, child) in &mut remains.programs {
        let _ = child.kill();
    }
    for (_, child) in &mut remains.programs {
        let _ = child.wait();
    }
    for name in &remains.namespaces {
        let _ = command_in_path("ip").args(["netns", "del", name]).stderr(Stdio::null()).status();
    }
    for directory in &remains.directories {
        let _ = fs::remove_dir_all(directory);
    }
}

/// Names in a directory that carry the process id of a demo that is gone.
fn left_behind(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let is_left = |name: &String| {
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')).map(|(process, _)| process);
        process.is_some_and(|process| process.parse::<u32>().is_ok() && !Path::new("/proc").join(process).exists())
    };
    names.filter(is_left).collect()
}

/// A command that also finds what lies in /usr/sbin (`ip`, `iptables-restore`), which users' paths often lack.
fn command_in_path(program: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

fn lock(remains: &Mutex<Remains>) -> MutexGuard<'_, Remains> {
    remains.lock().unwrap_or_else(PoisonError::into_inner)
}
