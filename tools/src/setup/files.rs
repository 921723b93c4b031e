//! The files of a Linux guest: busybox and what lies in `guests/linux/root`. Its initial file system has them, and a disk that it can
//! have for its root.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::Paths;
use crate::workspace::root;

/// What a guest does.
const SCRIPTS: &str = "guests/linux/root";
/// What it serves where it is a web server: the same as the unikernel that is one.
const PAGES: &str = "guests/http/files";

/// Where file systems are mounted, and where the programs, modules and pages are.
const DIRECTORIES: [&str; 9] = ["bin", "dev", "proc", "sys", "tmp", "disk", "www", "lib", "lib/modules"];

/// The directories of this checkout from which files are taken.
pub fn sources() -> [PathBuf; 2] {
    [SCRIPTS, PAGES].map(|path| root().join(path))
}

/// Puts the files below `directory`, which is there.
///
/// # Errors
///
/// Busybox was not fetched, or nothing can be written there.
pub fn lay_out(directory: &Path, paths: &Paths) -> io::Result<()> {
    let [scripts, pages] = sources();
    DIRECTORIES.into_iter().try_for_each(|name| make_directory(&directory.join(name)))?;
    copy(&paths.busybox(), &directory.join("bin/busybox"))?;
    symlink("busybox", directory.join("bin/sh"))?;
    copy_tree(&scripts, directory)?;
    copy_tree(&pages, &directory.join("www"))
}

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    make_directory(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() { copy_tree(&entry.path(), &to) } else { copy(&entry.path(), &to) }?;
    }
    Ok(())
}

// Whatever the user's mask is, guests may read and run everything.

fn make_directory(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_the_tree_are_there_under_their_names() {
        let directory = tempfile::tempdir().expect("a directory");
        let [scripts, _] = sources();
        copy_tree(&scripts, directory.path()).expect("copied");
        let mode = |name: &str| fs::metadata(directory.path().join(name)).expect("it is there").permissions().mode();
        assert_eq!([mode("etc"), mode("etc/rc")].map(|mode| mode & 0o777), [0o755; 2]);
    }
}
