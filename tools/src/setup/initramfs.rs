//! The initial file system of a Linux guest: a cpio archive with our first program, busybox and
//! whatever lies in `guests/linux/root`.
//!
//! It is not compressed: QEMU hands it over in no time, and unpacking is the guest's time.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cpio::newc::{self, Builder};
use miette::{IntoDiagnostic, Result, WrapErr};

use super::{Linux, Need, Paths, Target, debian, files, targets};
use crate::build::{self, Package};
use crate::progress::Step;
use crate::workspace::{replace_file, root};

/// Kinds of files, as their mode says (POSIX, `sys/stat.h`).
pub mod kind {
    /// A directory.
    pub const DIRECTORY: u32 = 0o040_000;
    /// A character device.
    pub const CHARACTER_DEVICE: u32 = 0o020_000;
    /// A regular file.
    pub const FILE: u32 = 0o100_000;
    /// A symbolic link.
    pub const SYMBOLIC_LINK: u32 = 0o120_000;
}

const INIT: Package = Package { name: "linux-init", program: "init", target: Target::Guest };

const INIT_SOURCES: &str = "guests/linux/init";
/// Linux opens it for the first program (Documentation/admin-guide/devices.txt).
pub const CONSOLE: (&str, u32, u32) = ("dev/console", 5, 1);

/// Whether that of `linux` is there and no older than what it is made of.
pub fn is_current(linux: Linux, paths: &Paths) -> bool {
    let [scripts, pages] = files::sources();
    is_newer(&paths.initramfs(linux), &[scripts, pages, root().join(INIT_SOURCES), paths.modules(linux)])
}

pub(super) fn is_newer(path: &Path, parts: &[PathBuf]) -> bool {
    let Some(built) = modified(path) else { return false };
    parts.iter().all(|part| newest(part).is_some_and(|changed| changed <= built))
}

/// Builds that of `linux`.
pub fn build(linux: Linux, paths: &Paths) -> Result<()> {
    if !Need::Kernel(linux).is_met(paths) {
        Need::Kernel(linux).meet(paths)?;
    }
    if !paths.busybox().is_file() {
        debian::fetch_busybox(paths)?;
    }
    if !targets::is_ready(Target::Guest, paths) {
        targets::provide(paths)?;
    }
    let step = Step::in_silence("building the first program of Linux guests");
    let init = build::compile(&INIT, &step)?;
    let pack = || {
        let directory = tempfile::tempdir()?;
        files::lay_out(directory.path(), paths)?;
        let mut archive = Archive::default();
        archive.add_tree(directory.path(), "")?;
        archive.add_device(CONSOLE)?;
        archive.add("init", kind::FILE | 0o755, &fs::read(&init)?)?;
        archive.add_tree(&paths.modules(linux), "lib/modules/")?;
        archive.finish()
    };
    let bytes = pack().into_diagnostic().wrap_err("cannot put the initramfs together")?;
    replace_file(&paths.initramfs(linux), &bytes)
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

/// When `path`, or what is in it, last changed.
fn newest(path: &Path) -> Option<SystemTime> {
    let inside = fs::read_dir(path).into_iter().flatten().flatten();
    inside.filter_map(|entry| newest(&entry.path())).chain(modified(path)).max()
}

/// An archive in cpio's newc format (Linux,
/// Documentation/driver-api/early-userspace/buffer-format.rst).
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    // Files with one number are hard links to each other.
    files: u32,
}

impl Archive {
    /// Adds a file, or whatever `mode` says, with its content.
    ///
    /// # Errors
    ///
    /// It is too large.
    pub fn add(&mut self, name: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.write(Builder::new(name).mode(mode), content)
    }

    /// Adds a character device, with its name and numbers.
    ///
    /// # Errors
    ///
    /// As above.
    pub fn add_device(&mut self, (name, major, minor): (&str, u32, u32)) -> io::Result<()> {
        let mode = kind::CHARACTER_DEVICE | 0o600;
        self.write(Builder::new(name).mode(mode).rdev_major(major).rdev_minor(minor), &[])
    }

    /// Adds what is in `directory` below the archive's `prefix`, in the order of the names.
    pub(super) fn add_tree(&mut self, directory: &Path, prefix: &str) -> io::Result<()> {
        let mut entries = fs::read_dir(directory)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            let file_type = entry.file_type()?;
            if file_type.is_symlink() {
                let target = fs::read_link(entry.path())?;
                self.add(&name, kind::SYMBOLIC_LINK | 0o777, target.as_os_str().as_bytes())?;
            } else if file_type.is_dir() {
                self.add(&name, kind::DIRECTORY | 0o755, &[])?;
                self.add_tree(&entry.path(), &format!("{name}/"))?;
            } else {
                self.add(&name, kind::FILE | 0o755, &fs::read(entry.path())?)?;
            }
        }
        Ok(())
    }

    /// The archive's bytes.
    ///
    /// # Errors
    ///
    /// Never: they are in memory.
    pub fn finish(self) -> io::Result<Vec<u8>> {
        newc::trailer(self.bytes)
    }

    fn write(&mut self, entry: Builder, content: &[u8]) -> io::Result<()> {
        self.files += 1;
        let size = u32::try_from(content.len()).map_err(io::Error::other)?;
        let mut writer = entry.ino(self.files).nlink(1).write(&mut self.bytes, size);
        io::Write::write_all(&mut writer, content)?;
        writer.finish().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_reads_as_it_was_written() {
        let mut archive = Archive::default();
        archive.add("bin", kind::DIRECTORY | 0o755, &[]).expect("added");
        archive.add_device(CONSOLE).expect("added");
        archive.add("bin/sh", kind::SYMBOLIC_LINK | 0o777, b"busybox").expect("added");
        let bytes = archive.finish().expect("finished");

        let mut rest = io::Cursor::new(bytes);
        let mut seen = Vec::new();
        loop {
            let reader = newc::Reader::new(rest).expect("an entry");
            if reader.entry().is_trailer() {
                break;
            }
            let entry = reader.entry();
            seen.push((entry.name().to_owned(), entry.mode(), entry.ino(), entry.rdev_major(), entry.file_size()));
            rest = reader.finish().expect("skipped");
        }
        let expected =
            [("bin", 0o040_755, 1, 0, 0), ("dev/console", 0o020_600, 2, 5, 0), ("bin/sh", 0o120_777, 3, 0, 7)];
        assert_eq!(
            seen,
            expected.map(|(name, mode, number, major, size)| (name.to_owned(), mode, number, major, size))
        );
    }

    #[test]
    fn what_is_older_than_its_sources_is_not_current() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("initramfs");
        let parts = files::sources();
        assert!(!is_newer(&path, &parts));
        fs::write(&path, "").expect("written");
        assert!(is_newer(&path, &parts));
        let old = fs::File::options().write(true).open(&path).expect("opened");
        old.set_modified(SystemTime::UNIX_EPOCH).expect("aged");
        assert!(!is_newer(&path, &parts));
    }
}
