//! Debian's archive for arm64, read with apt in a state directory of its own.
//!
//! apt checks the signatures; the machine's own package sources, lists and packages are neither
//! read nor changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use miette::{IntoDiagnostic, Result, WrapErr, miette};

use super::system;
use crate::progress::Step;

/// The package that has [`keyring`] in it.
pub const KEYRING_PACKAGE: &str = "debian-archive-keyring";
/// Where that package puts the keys that Debian signs with, in older and newer versions of it.
const KEYRINGS: [&str; 2] =
    ["/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp"];

const ARCHIVE: &str = "http://deb.debian.org/debian";
const SECURITY: &str = "http://deb.debian.org/debian-security";
const HELP: &str = "look whether this machine can reach Debian's archive, then try again";

/// The keys that Debian signs with, if they are on this machine.
pub fn keyring() -> Option<&'static Path> {
    KEYRINGS.into_iter().map(Path::new).find(|path| path.is_file())
}

/// A part of the archive in which a package has one newest version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Debian 12 with its security updates.
    Bookworm,
    /// Newer packages for Debian 12.
    BookwormBackports,
    /// Debian 13 with its security updates.
    Trixie,
    /// Newer packages for Debian 13.
    TrixieBackports,
    /// What comes after.
    Sid,
}

impl Release {
    const fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::BookwormBackports => "bookworm-backports",
            Self::Trixie => "trixie",
            Self::TrixieBackports => "trixie-backports",
            Self::Sid => "sid",
        }
    }

    const fn has_security_updates(self) -> bool {
        matches!(self, Self::Bookworm | Self::Trixie)
    }

    fn sources(self, keyring: &Path) -> String {
        let (name, keyring) = (self.name(), keyring.display());
        let mut sources = format!("deb [signed-by={keyring}] {ARCHIVE} {name} main\n");
        if self.has_security_updates() {
            sources += &format!("deb [signed-by={keyring}] {SECURITY} {name}-security main\n");
        }
        sources
    }
}

/// A release, as the archive has it at this moment.
#[derive(Debug)]
pub struct Archive<'a> {
    directory: PathBuf,
    step: &'a Step,
}

/// A package's files, unpacked.
#[derive(Debug)]
pub struct Package {
    /// Name and version, for people.
    pub name: String,
    /// The directory that stands for `/`.
    pub root: PathBuf,
}

impl<'a> Archive<'a> {
    /// Fetches the lists of `release`. Everything is kept below `scratch`.
    ///
    /// # Errors
    ///
    /// There is no apt or keyring, or the archive cannot be reached or is not signed by Debian.
    pub fn open(release: Release, scratch: &Path, step: &'a Step) -> Result<Self> {
        if !system::has_program("apt-get") || !system::has_program("dpkg-deb") {
            return Err(miette!(help = system::elsewhere(), "Debian's packages need apt-get and dpkg-deb"));
        }
        if keyring().is_none() {
            system::install_keyring()?;
        }
        let keyring = keyring().ok_or_else(|| {
            miette!(help = system::elsewhere(), "{KEYRING_PACKAGE} has no keyring where it should be")
        })?;
        let archive = Self { directory: scratch.join(release.name()), step };
        archive
            .write_state(&release.sources(keyring))
            .into_diagnostic()
            .wrap_err_with(|| format!("cannot write to {}", archive.directory.display()))?;
        step.run(archive.apt("apt-get").args(["-q", "update", "--error-on=any"]), HELP)?;
        Ok(archive)
    }

    /// Every version that there is of `package`, newest first.
    ///
    /// # Errors
    ///
    /// apt fails.
    pub fn versions(&self, package: &str) -> Result<Vec<String>> {
        let table = self.step.run(self.apt("apt-cache").args(["madison", package]), HELP)?;
        Ok(table.lines().filter_map(|row| Some(row.split('|').nth(1)?.trim().to_owned())).collect())
    }

    /// The package with a name that starts with `prefix` on which `package` depends.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn dependency(&self, package: &str, prefix: &str) -> Result<String> {
        let list = self.step.run(self.apt("apt-cache").args(["depends", "--important", package]), HELP)?;
        list.lines()
            .filter_map(|line| line.trim().strip_prefix("Depends: "))
            .find(|name| name.starts_with(prefix))
            .map(str::to_owned)
            .ok_or_else(|| {
                miette!(
                    help = "this version of Mote may be too old for it",
                    "Debian's {package} needs no {prefix}… any more"
                )
            })
    }

    /// Downloads and unpacks `package`, which may be `name=version`.
    ///
    /// # Errors
    ///
    /// It is not in the release, or cannot be fetched or unpacked.
    pub fn unpack(&self, package: &str) -> Result<Package> {
        let packages = self.directory.join("packages");
        let new = || {
            fs::create_dir_all(&packages)?;
            tempfile::tempdir_in(&packages)
        };
        let directory = new().into_diagnostic()?.keep();
        self.step.run(self.apt("apt-get").args(["-q", "download", package]).current_dir(&directory), HELP)?;
        let file = fs::read_dir(&directory).into_diagnostic()?.flatten().next();
        let file = file.ok_or_else(|| miette!(help = HELP, "apt-get downloaded nothing for {package}"))?;
        let root = directory.join("root");
        self.step.run(Command::new("dpkg-deb").arg("-x").arg(file.path()).arg(&root), HELP)?;
        Ok(Package { name: readable(&file.file_name().to_string_lossy()), root })
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.directory.join("apt.conf")).env("LC_ALL", "C");
        command
    }

    fn write_state(&self, sources: &str) -> std::io::Result<()> {
        for directory in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(self.directory.join(directory))?;
        }
        fs::write(self.directory.join("status"), "")?;
        fs::write(self.directory.join("sources.list"), sources)?;
        fs::write(self.directory.join("apt.conf"), configuration(&self.directory, &transport()))
    }
}

/// apt's configuration: nothing of the machine's but `transport`.
fn configuration(directory: &Path, transport: &str) -> String {
    let directory = directory.display();
    format!(
        r#"Dir::Etc::Parts "/dev/null";
Dir::Etc::Main "/dev/null";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::Etc::SourceList "{directory}/sources.list";
Dir::State "{directory}";
Dir::State::status "{directory}/status";
Dir::Cache "{directory}/cache";
APT::Architecture "arm64";
APT::Architectures {{ "arm64"; }};
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "3";
{transport}"#
    )
}

/// How the machine reaches the archive: the proxies in its own configuration.
fn transport() -> String {
    let Ok(output) = Command::new("apt-config").arg("dump").output() else { return String::new() };
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().filter(|line| line.starts_with("Acquire::http"));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// `name_version_architecture.deb`, as people write it.
fn readable(file_name: &str) -> String {
    let mut parts = file_name.split('_').map(|part| part.replace("%3a", ":"));
    [parts.next(), parts.next()].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_is_checked_against_debian_s_keys() {
        let keyring = Path::new("/keys");
        for release in
            [Release::Bookworm, Release::BookwormBackports, Release::Trixie, Release::TrixieBackports, Release::Sid]
        {
            let sources = release.sources(keyring);
            assert!(sources.lines().all(|line| line.starts_with("deb [signed-by=/keys] ")), "{sources}");
        }
        assert_eq!(Release::Bookworm.sources(keyring).lines().count(), 2);
    }

    #[test]
    fn a_package_s_file_name_is_readable() {
        assert_eq!(readable("busybox-static_1%3a1.35.0-4+deb12u1_arm64.deb"), "busybox-static 1:1.35.0-4+deb12u1");
    }
}
