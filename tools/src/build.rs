//! Builds what runs on the emulated machine: the hypervisor and the unikernels.
//!
//! cargo does the work, in a target directory of its own; what is left to do here is to make an
//! Image of cargo's ELF file. How a program is linked is its own affair: each has a build script.

mod image;
mod symbols;
pub mod syndrome;

use std::fs;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::Command;

use miette::{IntoDiagnostic, Result, WrapErr, miette};

use crate::config::source::guests;
use crate::progress::Step;
use crate::setup::{self, Need, Target};
use crate::workspace::{artefacts, replace_file, root};

pub use symbols::Symbols;

/// The profile of everything that runs on the bare machine, and where its files go.
const PROFILE: &str = "bare";

/// A program of this workspace for the bare machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Package<'a> {
    /// The package's name.
    pub name: &'a str,
    /// Its binary's name.
    pub program: &'a str,
    /// What it is compiled for.
    pub target: Target,
}

/// What was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The bytes that are loaded: an arm64 Image.
    pub image: PathBuf,
    /// The same with its symbols, which is what a debugger wants.
    pub elf: PathBuf,
}

/// Builds the hypervisor.
///
/// # Errors
///
/// Its source does not compile, or its target cannot be had.
pub fn hypervisor() -> Result<Program> {
    let package = Package { name: "mote", program: "mote", target: Target::Hypervisor };
    make(&package, "the hypervisor", artefacts().join("mote.img"))
}

/// Builds the guest `name` of `guests/`.
///
/// # Errors
///
/// There is no such guest: the message lists those that there are. Or its source does not compile,
/// or its target cannot be had.
pub fn guest(name: &str) -> Result<Program> {
    let known = guests();
    if !known.iter().any(|guest| guest == name) {
        let list = known.join(", ");
        return Err(miette!(help = format!("there are: {list}"), "there is no guest `{name}` in guests/"));
    }
    let package = Package { name, program: name, target: Target::Guest };
    make(&package, &format!("the guest {name}"), artefacts().join("guests").join(format!("{name}.img")))
}

fn make(package: &Package<'_>, title: &str, image: PathBuf) -> Result<Program> {
    setup::ensure(&[Need::Target(package.target)])?;
    let step = Step::in_silence(format!("building {title}"));
    let elf = compile(package, &step)?;
    let bytes = fs::read(&elf).into_diagnostic().wrap_err_with(|| format!("cannot read {}", elf.display()))?;
    let flat = image::flatten(&bytes).wrap_err_with(|| format!("cannot make an Image of {}", elf.display()))?;
    replace_file(&image, &flat)?;
    Ok(Program { image, elf })
}

/// Has cargo build `package` and returns its ELF file. The step is announced if there is something
/// to do. cargo's words are shown if it fails, as they are.
pub(crate) fn compile(package: &Package<'_>, step: &Step) -> Result<PathBuf> {
    let target_directory = root().join("target").join(PROFILE);
    let mut cargo = cargo_build(package);
    cargo.arg("--target-dir").arg(&target_directory);
    let watch = |line: &str| {
        if line.contains("Compiling ") {
            step.announce();
        }
        step.detail(line);
    };
    let (status, _, words) = step.finish(&mut cargo, watch).into_diagnostic().wrap_err("cargo does not start")?;
    if !status.success() {
        step.announce();
        words.lines().filter(|line| !is_routine(line)).for_each(|line| eprintln!("{line}"));
        let help = "cargo's messages above say why";
        return Err(miette!(help = help, "the package {} was not built", package.name));
    }
    Ok(target_directory.join(package.target.name()).join(PROFILE).join(package.program))
}

fn cargo_build(package: &Package<'_>) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // With the version, which all of the workspace have: a package that is fetched may have the same name.
    let name = format!("{}@{}", package.name, env!("CARGO_PKG_VERSION"));
    cargo
        .args(["build", "--profile", PROFILE, "--target", package.target.name()])
        .args(["--package", &name, "--bin", package.program])
        .args(["--color", if io::stderr().is_terminal() { "always" } else { "never" }])
        .current_dir(root());
    // What is meant for the programs of this machine: coverage, sanitizers, clippy.
    for variable in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_TARGET"] {
        cargo.env_remove(variable);
    }
    cargo
}

/// Whether `line`, of cargo's, only says what it is at.
fn is_routine(line: &str) -> bool {
    const WORDS: [&str; 6] = ["Compiling ", "Downloading ", "Downloaded ", "Updating ", "Locking ", "Blocking "];
    WORDS.iter().any(|word| line.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_does_not_exist_is_answered_with_those_that_do() {
        let error = guest("helo").expect_err("there is none");
        let help = error.help().map(|help| help.to_string()).unwrap_or_default();
        assert!(error.to_string().contains("`helo`") && help.contains("hello"), "{error}: {help}");
    }
}
