//! What a container sees of the file system: the machine's, with some files and directories put in place.
//!
//! Works on the mount namespace of the calling thread, which nobody else has. Where a mount needs a file or directory
//! that the machine does not have, the nearest directory that exists is covered by one in memory with the same
//! entries, so the machine's own files are never changed.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{chdir, pivot_root};

use super::NodeError;
use super::container::Mount;
use super::pod::PodFiles;
use super::sys;

/// Directories in memory hold entries only, no content to speak of.
const MEMORY: &str = "size=1m";

/// Puts the pod's own files and the container's mounts in place, outer ones first.
///
/// Fails if a source is not there, a target is not absolute, or the kernel refuses; the namespace is of no use then.
pub(super) fn prepare(files: &PodFiles, mounts: &[Mount]) -> Result<(), NodeError> {
    let none: Option<&Path> = None;
    // Nothing of what follows may reach the machine's own mounts.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(|why| NodeError::kernel("take the container's mounts off the machine's", why))?;
    let failed = |one: &Mount, why: io::Error| NodeError::Mount {
        what: one.source.clone(),
        target: one.target.clone(),
        why: why.to_string(),
    };
    let own = files.mounts();
    let mut all = Vec::new();
    for one in own.iter().chain(mounts) {
        // All before any is put in place: one of them may cover the source of another.
        all.push((one, sys::copy_tree(&one.source).map_err(|why| failed(one, why))?));
    }
    all.sort_by_key(|(one, _)| one.target.components().count());
    let mut view = View { staging: files.staging(), in_memory: BTreeSet::new() };
    for (one, tree) in all {
        view.add(one, &tree).map_err(|why| failed(one, why))?;
    }
    Ok(())
}

struct View<'a> {
    /// An empty directory of the machine, needed to make a new root.
    staging: &'a Path,
    /// Directories where entries can be made without changing the machine.
    in_memory: BTreeSet<PathBuf>,
}

impl View<'_> {
    fn add(&mut self, one: &Mount, tree: &File) -> io::Result<()> {
        let absolute = one.target.is_absolute() && one.target.file_name().is_some();
        if !absolute || one.target.components().any(|part| part == Component::ParentDir) {
            return Err(io::Error::other("the place must be an absolute path without `..`, and not `/`"));
        }
        let target = self.place(&one.target, tree.metadata()?.is_dir())?;
        sys::attach_tree(tree, &target)?;
        if one.read_only {
            make_read_only(&target)?;
        }
        Ok(())
    }

    /// Makes sure that there is a file or directory; returns its path without symbolic links.
    fn place(&mut self, path: &Path, directory: bool) -> io::Result<PathBuf> {
        match fs::metadata(path) {
            Ok(there) if there.is_dir() == directory => return fs::canonicalize(path),
            Ok(_) if directory => return Err(io::Error::other("a file is in the place of the directory")),
            Ok(_) => return Err(io::Error::other("a directory is in the place of the file")),
            // Where we may not go there is nothing for us: it is covered as what is missing is.
            Err(why) if matches!(why.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {}
            Err(why) => return Err(why),
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::other("there is no such directory"));
        };
        let parent = self.place(parent, true)?;
        if !self.in_memory.contains(&parent) {
            self.cover(&parent)?;
        }
        let made = parent.join(name);
        if made.is_symlink() {
            // It leads nowhere, else there would be something.
            fs::remove_file(&made)?;
        }
        if directory {
            DirBuilder::new().mode(0o755).create(&made)?;
            self.in_memory.insert(made.clone());
        } else {
            File::create(&made)?;
        }
        Ok(made)
    }

    /// Covers a directory by one in memory with the same entries.
    fn cover(&mut self, directory: &Path) -> io::Result<()> {
        // Only a name: whoever may not read it may still show what is in it.
        let original = File::options().read(true).custom_flags(libc::O_PATH).open(directory)?;
        // Whoever has something mounted below must get there, also where others may not go on the machine: the other
        // entries keep what protects them.
        let mode = original.metadata()?.permissions().mode() & 0o7777 | 0o111;
        let mode = format!("{MEMORY},mode={mode:o}");
        let root = directory == Path::new("/");
        let place = if root { self.staging } else { directory };
        let entries: Vec<_> = match fs::read_dir(directory) {
            Ok(entries) => entries.collect::<io::Result<_>>()?,
            // What cannot be shown, as another user's directory, is left out.
            Err(why) if why.kind() == io::ErrorKind::PermissionDenied => Vec::new(),
            Err(why) => return Err(why),
        };
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("tmpfs"), place, Some("tmpfs"), flags, Some(mode.as_str()))?;
        let originals = descriptor_path(&original);
        for entry in entries {
            // The same for one entry.
            let _ = show(&originals.join(entry.file_name()), &place.join(entry.file_name()));
        }
        if root {
            let old = place.join(".machine");
            DirBuilder::new().mode(0o700).create(&old)?;
            pivot_root(place, &old)?;
            chdir("/")?;
            umount2("/.machine", MntFlags::MNT_DETACH)?;
            fs::remove_dir("/.machine")?;
        }
        self.in_memory.insert(directory.to_owned());
        Ok(())
    }
}

/// Makes one entry of a covered directory appear again.
fn show(from: &Path, to: &Path) -> io::Result<()> {
    let kind = fs::symlink_metadata(from)?.file_type();
    if kind.is_symlink() {
        return symlink(fs::read_link(from)?, to);
    }
    if kind.is_dir() {
        fs::create_dir(to)?;
    } else {
        File::create(to)?;
    }
    bind(from, to)
}

fn bind(from: &Path, to: &Path) -> io::Result<()> {
    let none: Option<&Path> = None;
    // Recursive: in a user namespace a directory without what is mounted below it may not be shown.
    Ok(mount(Some(from), to, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)?)
}

/// A second step, since the first ignores flags. In a user namespace the flags that are set must stay set.
fn make_read_only(at: &Path) -> io::Result<()> {
    let known = [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ];
    let set = statvfs(at)?.flags();
    let kept = known.iter().filter(|(is, _)| set.contains(*is)).fold(MsFlags::empty(), |all, (_, flag)| all | *flag);
    let none: Option<&Path> = None;
    Ok(mount(none, at, none, kept | MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, none)?)
}

fn descriptor_path(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/thread-self/fd/{}", file.as_raw_fd()))
}
