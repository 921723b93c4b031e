//! File systems for guests' disks, made and looked into without mounting them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mote_tools::disk;
use mote_tools::setup::{self, Need, Paths};
use tempfile::TempDir;

/// A disk with an ext4 file system on it.
#[derive(Debug)]
pub struct Ext4 {
    file: PathBuf,
    _directory: TempDir,
}

impl Ext4 {
    /// One of so many MiB that has what is in `content`.
    ///
    /// # Panics
    ///
    /// If it cannot be made.
    #[must_use]
    pub fn of(content: &Path, mib: u64) -> Self {
        setup::ensure(&[Need::Ext4]).expect("the machine is set up");
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("disk.img");
        disk::make(&file, mib << 20, content).expect("a disk");
        Self { file, _directory: directory }
    }

    /// One with a script that a guest runs by `mote.disk mote.run=/disk/run`.
    ///
    /// # Panics
    ///
    /// If it cannot be made.
    #[must_use]
    pub fn with_script(script: &str) -> Self {
        let content = tempfile::tempdir().expect("a directory");
        fs::write(content.path().join("run"), script).expect("written");
        Self::of(content.path(), 16)
    }

    /// The disk, as the node of a guest.
    #[must_use]
    pub fn node(&self) -> String {
        let file = self.file.display();
        format!("disk {{ compatible = \"mote,vbd\"; mote,vdev = \"xvda\"; mote,file = \"{file}\"; }};")
    }

    /// Takes up what is in the journal, as mounting it would, and checks everything. What else had to be mended is returned.
    ///
    /// # Errors
    ///
    /// It was damaged.
    ///
    /// # Panics
    ///
    /// If it cannot be checked.
    pub fn check(&self) -> Result<(), String> {
        // The first plays the journal back, the second has nothing to find any more (e2fsck(8): 0 is clean).
        let played = run("e2fsck", &["-p"], &self.file);
        let checked = run("e2fsck", &["-f", "-n"], &self.file);
        let text = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
        match (played.status.code(), checked.status.code()) {
            (Some(0 | 1), Some(0)) => Ok(()),
            codes => Err(format!("{codes:?}\n{}{}", text(&played), text(&checked))),
        }
    }

    /// What the file at `path` has in it; nothing if it is not there.
    ///
    /// # Panics
    ///
    /// If that cannot be read.
    #[must_use]
    pub fn read(&self, path: &str) -> Vec<u8> {
        run("debugfs", &["-R", &format!("cat {path}")], &self.file).stdout
    }
}

fn run(program: &str, arguments: &[&str], file: &Path) -> Output {
    let program = Paths::program(program).unwrap_or_else(|| panic!("{program} is here"));
    Command::new(program).args(arguments).arg(file).output().expect("it runs")
}
