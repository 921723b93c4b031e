//! Where a module's bytes come from.

use std::fmt;
use std::path::{Path, PathBuf};

use super::property::did_you_mean;

/// The Debian kernels that can be asked for.
pub const DEBIAN_VERSIONS: [&str; 2] = ["6.1", "6.12"];

/// How `mote,file` asks for a distribution's file instead of one beside the configuration.
const DEBIAN: &str = "debian:";

/// Where a module's bytes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// Debian's kernel package of this version.
    DebianKernel(String),
    /// The initial file system that goes with Debian's kernel of this version.
    DebianInitramfs(String),
    /// A guest of this workspace, by its package's name.
    Guest(String),
}

/// Why a source is none: what is wrong, and what to do.
pub type Wrong = (String, String);

impl Source {
    /// What `mote,file = "text"` names, in a configuration that stands in `directory`.
    ///
    /// # Errors
    ///
    /// There is no such file, or no such Debian version or part.
    pub fn from_file(text: &str, directory: &Path) -> Result<Self, Wrong> {
        match text.strip_prefix(DEBIAN) {
            Some(rest) => Self::from_debian(rest),
            None => {
                let path = directory.join(text);
                if path.is_file() {
                    Ok(Self::File(path))
                } else {
                    Err((
                        format!("there is no file {}", path.display()),
                        format!(
                            "paths are relative to {}; Debian's kernels are `debian:{}/kernel` and the like",
                            directory.display(),
                            DEBIAN_VERSIONS[0]
                        ),
                    ))
                }
            }
        }
    }

    fn from_debian(text: &str) -> Result<Self, Wrong> {
        let (version, part) = text.split_once('/').unwrap_or((text, ""));
        if !DEBIAN_VERSIONS.contains(&version) {
            return Err((
                format!("Debian's kernel {version} is not known here"),
                format!("versions: {}", DEBIAN_VERSIONS.join(", ")),
            ));
        }
        match part {
            "kernel" => Ok(Self::DebianKernel(version.into())),
            "initramfs" => Ok(Self::DebianInitramfs(version.into())),
            _ => Err((
                format!("{DEBIAN}{version} has no part `{part}`"),
                format!("write {DEBIAN}{version}/kernel or {DEBIAN}{version}/initramfs"),
            )),
        }
    }

    /// What `mote,guest = "name"` names, of the packages in `guests`.
    ///
    /// # Errors
    ///
    /// There is no such guest.
    pub fn from_guest(name: &str, guests: &[String]) -> Result<Self, Wrong> {
        if guests.iter().any(|guest| guest == name) {
            Ok(Self::Guest(name.into()))
        } else {
            let known = guests.iter().map(String::as_str);
            Err((format!("there is no guest `{name}` in guests/"), did_you_mean(name, known)))
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::DebianKernel(version) => write!(f, "{DEBIAN}{version}/kernel"),
            Self::DebianInitramfs(version) => write!(f, "{DEBIAN}{version}/initramfs"),
            Self::Guest(name) => write!(f, "guests/{name}"),
        }
    }
}

/// The guests of this workspace: every package in `guests/` that is a program.
#[must_use]
pub fn guests() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guests");
    let mut names: Vec<String> = std::fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().join("src/main.rs").is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}
