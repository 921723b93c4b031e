//! Rust's libraries for the bare machine.
//!
//! rustup adds them in a moment. Where it cannot they are built from the library's source, in
//! [`super::sysroot`], and cargo is pointed at them by a file that `.cargo/config.toml` includes,
//! so that every cargo command in this checkout finds them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use miette::{Context, IntoDiagnostic, Result, miette};

use super::{Paths, sysroot, system};
use crate::progress::Step;
use crate::workspace::replace_file;

/// With the value `rust-src`, neither the toolchain's targets nor rustup are used: for tests, and
/// for whoever wants the library from source.
const OVERRIDE: &str = "MOTE_SETUP_TARGETS";

/// What is compiled for the bare machine is of one of two kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The hypervisor's: it leaves the floating-point registers to the guests.
    Hypervisor,
    /// The guests'.
    Guest,
}

impl Target {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Hypervisor, Self::Guest];

    /// As rustc calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hypervisor => "aarch64-unknown-none-softfloat",
            Self::Guest => "aarch64-unknown-none",
        }
    }
}

/// Where a target's library is, or would be, below a sysroot.
pub fn library(sysroot: &Path, target: Target) -> PathBuf {
    sysroot.join("lib/rustlib").join(target.name()).join("lib")
}

/// Whether cargo finds the library for `target`.
pub fn is_ready(target: Target, paths: &Paths) -> bool {
    let Ok(toolchain) = Toolchain::current() else { return false };
    let known = fs::read_to_string(paths.cargo_configuration()).unwrap_or_default();
    place(target, toolchain, paths).is_some() && known == configuration(toolchain, paths)
}

/// Where the library for `target` is: in the toolchain's sysroot or in one of ours.
pub fn place(target: Target, toolchain: &Toolchain, paths: &Paths) -> Option<PathBuf> {
    if toolchain.has(target) {
        return Some(toolchain.sysroot.clone());
    }
    let own = sysroot::path(toolchain, paths);
    has_library(&own, target).then_some(own)
}

/// Gets the libraries for all targets, and has cargo find them.
pub fn provide(paths: &Paths) -> Result<()> {
    let toolchain = Toolchain::current()?;
    let missing = || Target::ALL.into_iter().any(|target| place(target, toolchain, paths).is_none());
    if missing()
        && let Err(reason) = add_by_rustup()
    {
        eprintln!("mote: {reason}; building them from source");
    }
    if missing() {
        sysroot::build(toolchain, paths)?;
    }
    replace_file(&paths.cargo_configuration(), configuration(toolchain, paths).as_bytes())
}

fn add_by_rustup() -> Result<()> {
    if from_source_only() {
        return Err(miette!("{OVERRIDE} says not to use rustup's targets"));
    }
    if !system::has_program("rustup") {
        return Err(miette!("there is no rustup to add Rust's bare targets"));
    }
    let step = Step::begin("adding Rust's bare targets (rustup)");
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add"]).args(Target::ALL.map(Target::name));
    // Its words are not shown: there is another way.
    step.run(&mut rustup, "").map(drop).map_err(|_| miette!("rustup cannot add Rust's bare targets"))
}

/// What cargo must be told: for each target that the toolchain lacks, where its library is.
fn configuration(toolchain: &Toolchain, paths: &Paths) -> String {
    let own = sysroot::path(toolchain, paths);
    let needy = Target::ALL.into_iter().filter(|target| !toolchain.has(*target) && has_library(&own, *target));
    let section = |target: Target| {
        // A TOML string is quoted as a Rust string is, as far as paths go.
        format!("[target.{}]\nrustflags = [\"--sysroot\", {:?}]\n", target.name(), own.display().to_string())
    };
    needy.map(section).collect()
}

fn has_library(sysroot: &Path, target: Target) -> bool {
    let names = fs::read_dir(library(sysroot, target)).into_iter().flatten().flatten();
    names.map(|entry| entry.file_name()).any(|name| name.to_string_lossy().starts_with("libcore-"))
}

fn from_source_only() -> bool {
    std::env::var_os(OVERRIDE).is_some_and(|value| value == "rust-src")
}

/// The Rust toolchain that cargo uses here.
#[derive(Debug)]
pub struct Toolchain {
    /// Where it is installed.
    pub sysroot: PathBuf,
    /// Its version, such as `1.95.0`.
    pub release: String,
    /// The commit it was built from: two nightlies have one version.
    pub commit: String,
    /// The target of this machine's own programs.
    pub host: String,
}

impl Toolchain {
    /// Asks rustc, once per process.
    pub fn current() -> Result<&'static Self> {
        static CURRENT: OnceLock<Toolchain> = OnceLock::new();
        if let Some(toolchain) = CURRENT.get() {
            return Ok(toolchain);
        }
        let toolchain = Self::ask()?;
        Ok(CURRENT.get_or_init(|| toolchain))
    }

    fn ask() -> Result<Self> {
        let sysroot = rustc(&["--print", "sysroot"])?;
        let version = rustc(&["-vV"])?;
        let field = |name: &str| {
            let line = version.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            line.map(str::to_owned).ok_or_else(|| miette!("rustc -vV does not tell its {name}"))
        };
        Ok(Self {
            sysroot: sysroot.trim().into(),
            release: field("release")?,
            commit: field("commit-hash")?,
            host: field("host")?,
        })
    }

    fn has(&self, target: Target) -> bool {
        !from_source_only() && has_library(&self.sysroot, target)
    }
}

fn rustc(arguments: &[&str]) -> Result<String> {
    let output = Command::new("rustc").args(arguments).output();
    let output = output.into_diagnostic().wrap_err("rustc does not start: install Rust's stable toolchain")?;
    String::from_utf8(output.stdout).into_diagnostic()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toolchain(sysroot: &Path) -> Toolchain {
        let [release, commit, host] = ["1.2.3", "abc", "here"].map(str::to_owned);
        Toolchain { sysroot: sysroot.into(), release, commit, host }
    }

    fn put_library(sysroot: &Path, target: Target) {
        let library = library(sysroot, target);
        fs::create_dir_all(&library).expect("made");
        fs::write(library.join("libcore-1.rlib"), "").expect("written");
    }

    #[test]
    fn cargo_is_pointed_only_at_what_the_toolchain_lacks() {
        let directory = tempfile::tempdir().expect("a directory");
        let paths = Paths { artefacts: directory.path().join("artefacts") };
        let toolchain = toolchain(&directory.path().join("toolchain"));
        assert_eq!(configuration(&toolchain, &paths), "");
        assert_eq!(place(Target::Guest, &toolchain, &paths), None);

        let own = sysroot::path(&toolchain, &paths);
        Target::ALL.into_iter().for_each(|target| put_library(&own, target));
        put_library(&toolchain.sysroot, Target::Hypervisor);
        let told = configuration(&toolchain, &paths);
        assert!(told.contains("[target.aarch64-unknown-none]\n") && !told.contains("softfloat"), "{told}");
        assert!(told.contains(&*own.to_string_lossy()));
        assert_eq!(place(Target::Guest, &toolchain, &paths), Some(own));
        assert_eq!(place(Target::Hypervisor, &toolchain, &paths), Some(toolchain.sysroot.clone()));
    }
}
