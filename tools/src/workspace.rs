//! Where things are in this checkout, and how a file gets there whole.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use miette::{IntoDiagnostic, Result, WrapErr};

/// The checkout's top directory.
#[must_use]
pub fn root() -> PathBuf {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR"));
    tools.parent().unwrap_or(tools).to_owned()
}

/// Where everything that setup fetches and builds is kept.
#[must_use]
pub fn artefacts() -> PathBuf {
    root().join("target/mote")
}

/// Makes `bytes` the content of the file at `path`. Whoever looks sees all of them or the file
/// that was there before, even if this is interrupted.
///
/// # Errors
///
/// The file cannot be written.
pub fn replace_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let write = || {
        fs::create_dir_all(directory)?;
        // As any new file: what the user's mask leaves of it.
        let everyone = fs::Permissions::from_mode(0o666);
        let mut file = tempfile::Builder::new().permissions(everyone).tempfile_in(directory)?;
        file.write_all(bytes)?;
        file.persist(path)?;
        Ok::<(), std::io::Error>(())
    };
    write().into_diagnostic().wrap_err_with(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_has_the_new_content_and_no_leftovers() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("deep/file");
        replace_file(&path, b"first").expect("written");
        replace_file(&path, b"second").expect("written again");
        assert_eq!(fs::read(&path).expect("readable"), b"second");
        assert_eq!(fs::read_dir(path.parent().expect("deep")).expect("listable").count(), 1);
    }
}
