//! `disk`: a disk for a guest, with a file system on it.

use miette::{IntoDiagnostic, Result as Made, WrapErr, miette};

use super::say;
use crate::cli::DiskArgs;
use crate::disk;
use crate::failure::{Failure, Result, Status};
use crate::setup::{self, Linux, Need};

/// Makes the file. What is there already is not touched.
///
/// # Errors
///
/// There is such a file, nothing to fill it from, or it cannot be made.
pub fn disk(arguments: &DiskArgs) -> Result<Status> {
    let DiskArgs { file, from, .. } = arguments;
    let misused = |help: &'static str, what: String| Err(Failure::misused(vec![miette!(help = help, "{what}")]));
    if file.exists() {
        return misused("name another, or remove it", format!("{} is there already", file.display()));
    }
    if let Some(from) = from.as_ref().filter(|from| !from.is_dir()) {
        return misused("name what is to be on the disk", format!("there is no directory {}", from.display()));
    }
    make(arguments).map_err(Failure::unable)?;
    say(format!("{}: {}, ext4\n", file.display(), arguments.size));
    Ok(Status::Clean)
}

fn make(arguments: &DiskArgs) -> Made<()> {
    let DiskArgs { file, size, from } = arguments;
    if let Some(from) = from {
        setup::ensure(&[Need::Ext4])?;
        return disk::make(file, size.bytes(), from);
    }
    let paths = setup::ensure(&[Need::Ext4, Need::Initramfs(Linux::V6_12)])?;
    let content = tempfile::tempdir().into_diagnostic()?;
    setup::lay_out(content.path(), &paths).into_diagnostic().wrap_err("cannot lay out the files of a Linux guest")?;
    disk::make(file, size.bytes(), content.path())
}
