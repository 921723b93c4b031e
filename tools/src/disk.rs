//! Disks with an ext4 file system, made from a directory's files: without being root, and without mounting anything.

use std::fmt::Write;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use miette::{IntoDiagnostic, Result, WrapErr, miette};

use crate::progress::Step;
use crate::setup::Paths;

/// Makes the file at `path`, which is not there: a disk of `bytes` bytes with a file system that has what is in `content`, all of it root's.
///
/// # Errors
///
/// It cannot be written, or `content` does not fit. Then nothing is left of it.
pub fn make(path: &Path, bytes: u64, content: &Path) -> Result<()> {
    let place = || format!("cannot make {}", path.display());
    let file = File::create_new(path).into_diagnostic().wrap_err_with(place)?;
    let made = file.set_len(bytes).into_diagnostic().and_then(|()| fill(path, content));
    made.wrap_err_with(place).inspect_err(|_| {
        // What went wrong is told already.
        let _ = fs::remove_file(path);
    })
}

fn fill(path: &Path, content: &Path) -> Result<()> {
    let step = Step::in_silence(format!("making {}", path.display()));
    let help = "is it large enough for what is to be on it? --size makes it larger";
    step.run(program("mke2fs")?.args(["-q", "-F", "-t", "ext4", "-d"]).arg(content).arg(path), help)?;
    // Whoever makes it is nobody in the guest.
    let scratch = tempfile::tempdir().into_diagnostic()?;
    let commands = scratch.path().join("commands");
    fs::write(&commands, ownership(content)?).into_diagnostic()?;
    step.run(program("debugfs")?.args(["-w", "-f"]).arg(&commands).arg(path), "is e2fsprogs whole?").map(drop)
}

fn program(name: &str) -> Result<Command> {
    Paths::program(name).map(Command::new).ok_or_else(|| miette!("there is no {name}: `setup` installs it"))
}

/// What makes root own everything, in the language of debugfs(8).
fn ownership(content: &Path) -> Result<String> {
    let mut names = vec![PathBuf::new()];
    names_below(content, Path::new(""), &mut names).into_diagnostic()?;
    let mut commands = String::new();
    for name in names {
        let name = name.to_str().filter(|name| !name.contains(['"', '\n']));
        let name = name.ok_or_else(|| miette!("a name in {} has a character that cannot be", content.display()))?;
        for field in ["uid", "gid"] {
            // Writing to a string does not fail.
            let _ = writeln!(commands, "set_inode_field \"/{name}\" {field} 0");
        }
    }
    Ok(commands)
}

fn names_below(content: &Path, prefix: &Path, names: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(content.join(prefix))? {
        let entry = entry?;
        let name = prefix.join(entry.file_name());
        names.push(name.clone());
        if entry.file_type()?.is_dir() {
            names_below(content, &name, names)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::{self, Need};

    fn content() -> tempfile::TempDir {
        let content = tempfile::tempdir().expect("a directory");
        fs::create_dir(content.path().join("two words")).expect("made");
        fs::write(content.path().join("two words/file"), "bytes").expect("written");
        content
    }

    fn ask(disk: &Path, question: &str) -> String {
        let output =
            program("debugfs").expect("it is here").args(["-R", question]).arg(disk).output().expect("it runs");
        String::from_utf8(output.stdout).expect("text")
    }

    #[test]
    fn a_disk_has_what_it_was_made_from_and_all_is_root_s() {
        setup::ensure(&[Need::Ext4]).expect("e2fsprogs");
        let (content, place) = (content(), tempfile::tempdir().expect("a directory"));
        let disk = place.path().join("disk.img");
        make(&disk, 8 << 20, content.path()).expect("made");
        assert_eq!(fs::metadata(&disk).expect("it is there").len(), 8 << 20);
        assert_eq!(ask(&disk, "cat \"/two words/file\""), "bytes");
        for name in ["/", "/two words", "/two words/file"] {
            let words = ask(&disk, &format!("stat \"{name}\""));
            let words: Vec<_> = words.split_whitespace().collect();
            let value =
                |key: &str| words.iter().position(|word| *word == key).and_then(|at| words.get(at + 1)).copied();
            assert_eq!([value("User:"), value("Group:")], [Some("0"); 2], "{name}: {words:?}");
        }
        make(&disk, 8 << 20, content.path()).expect_err("it is there already");
    }

    #[test]
    fn nothing_is_left_of_a_disk_that_is_too_small() {
        setup::ensure(&[Need::Ext4]).expect("e2fsprogs");
        let (content, place) = (content(), tempfile::tempdir().expect("a directory"));
        fs::write(content.path().join("large"), vec![1; 4 << 20]).expect("written");
        let disk = place.path().join("disk.img");
        make(&disk, 1 << 20, content.path()).expect_err("too small");
        assert!(!disk.exists());
    }
}
