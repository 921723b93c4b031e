//! Rust's library for the bare targets, built from the source of exactly the compiler's version.
//!
//! The result is a directory that looks like a toolchain's: the host's part is linked to the real
//! one, so that the linker is found, and the bare targets' part is ours.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use miette::{IntoDiagnostic, Result, WrapErr, miette};

use super::apt::{Archive, Release};
use super::targets::{Target, Toolchain, library};
use super::{Paths, system};
use crate::progress::Step;

/// Where to look for the source of a compiler's version, the likeliest first.
const RELEASES: [Release; 3] = [Release::TrixieBackports, Release::Sid, Release::Trixie];
/// Debian's package of it, and rustup's component.
const PACKAGE: &str = "rust-src";
/// Where the source is in a toolchain.
const SOURCE: &str = "lib/rustlib/src/rust";
/// What of the library a bare machine has.
const CRATES: [&str; 3] = ["core", "alloc", "compiler_builtins"];

/// Enough of a commit's hash to tell two nightlies apart, as git abbreviates it.
const SHORT_COMMIT: usize = 9;

/// rustc as cargo sees it while the library is built: with a sysroot that has the source.
const WRAPPER: &str = "#!/bin/sh\nexec \"$MOTE_RUSTC\" --sysroot \"$MOTE_SYSROOT\" \"$@\"\n";
/// The library's source is built as the dependency of a crate that has nothing in it.
const EMPTY_CRATE: &str = "[package]\nname = \"empty\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n";

/// Where the library that was built for `toolchain` is, if it was.
pub fn path(toolchain: &Toolchain, paths: &Paths) -> PathBuf {
    let commit: String = toolchain.commit.chars().take(SHORT_COMMIT).collect();
    paths.sysroots().join(format!("{}-{commit}", toolchain.release))
}

/// Builds the library for every bare target.
pub fn build(toolchain: &Toolchain, paths: &Paths) -> Result<()> {
    let scratch = paths.scratch();
    let source = source(toolchain, &scratch)?;
    let step = Step::begin("building Rust's library for the bare targets (half a minute)");
    let sysroot = scratch.join("sysroot");
    imitate(toolchain, &sysroot).into_diagnostic().wrap_err("cannot lay out a sysroot")?;
    let source_link = sysroot.join(SOURCE);
    symlink(source, &source_link).into_diagnostic()?;
    compile(toolchain, &scratch, &sysroot, &step)?;
    let finish = || {
        for target in Target::ALL {
            collect(&scratch, &sysroot, target)?;
        }
        fs::remove_file(&source_link)?;
        let place = path(toolchain, paths);
        fs::create_dir_all(paths.sysroots())?;
        if place.exists() {
            fs::remove_dir_all(&place)?;
        }
        fs::rename(&sysroot, place)
    };
    finish().into_diagnostic().wrap_err("cannot keep Rust's library for the bare targets")
}

/// The source of the toolchain's library: the toolchain's own, else what rustup gives, else
/// Debian's.
fn source(toolchain: &Toolchain, scratch: &Path) -> Result<PathBuf> {
    let component = toolchain.sysroot.join(SOURCE);
    if has_library(&component) {
        return Ok(component);
    }
    if system::has_program("rustup") {
        let step = Step::begin("adding the source of Rust's library (rustup)");
        // If it fails there is another way.
        let _ = step.run(Command::new("rustup").args(["component", "add", PACKAGE]), "");
    }
    if has_library(&component) { Ok(component) } else { source_from_debian(toolchain, scratch) }
}

fn source_from_debian(toolchain: &Toolchain, scratch: &Path) -> Result<PathBuf> {
    let step =
        Step::begin(format!("fetching the source of Rust's library {} from Debian (some 50 MB)", toolchain.release));
    let wanted = format!("{}+", toolchain.release);
    for release in RELEASES {
        let archive = Archive::open(release, scratch, &step)?;
        let versions = archive.versions(PACKAGE)?;
        if let Some(version) = versions.iter().find(|version| version.starts_with(&wanted)) {
            let package = archive.unpack(&format!("{PACKAGE}={version}"))?;
            let source = package.root.join("usr/src").join(format!("rustc-{}", toolchain.release));
            if has_library(&source) {
                return Ok(source);
            }
        }
    }
    Err(miette!(
        help = "use Rust's stable toolchain, or let rustup reach its server once",
        "neither rustup nor Debian has the source of the library of rustc {}",
        toolchain.release
    ))
}

fn has_library(source: &Path) -> bool {
    source.join("library/core/Cargo.toml").is_file()
}

/// A sysroot like the toolchain's, but for the source and the bare targets.
fn imitate(toolchain: &Toolchain, sysroot: &Path) -> std::io::Result<()> {
    let rustlib = sysroot.join("lib/rustlib");
    fs::create_dir_all(rustlib.join("src"))?;
    for entry in fs::read_dir(toolchain.sysroot.join("lib"))? {
        let entry = entry?;
        if entry.file_name() != "rustlib" {
            symlink(entry.path(), sysroot.join("lib").join(entry.file_name()))?;
        }
    }
    symlink(toolchain.sysroot.join("lib/rustlib").join(&toolchain.host), rustlib.join(&toolchain.host))
}

/// Lets cargo build the library. `-Zbuild-std` is for nightly compilers, but this is the library of
/// the compiler itself, which is built in no other way.
fn compile(toolchain: &Toolchain, scratch: &Path, sysroot: &Path, step: &Step) -> Result<()> {
    let empty = scratch.join("empty");
    let wrapper = scratch.join("rustc");
    let write = || {
        fs::create_dir_all(empty.join("src"))?;
        fs::write(empty.join("Cargo.toml"), EMPTY_CRATE)?;
        fs::write(empty.join("src/lib.rs"), "#![no_std]\n")?;
        fs::write(&wrapper, WRAPPER)?;
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))
    };
    write().into_diagnostic().wrap_err_with(|| format!("cannot write to {}", scratch.display()))?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--release", "--target-dir"])
        .arg(scratch.join("library"))
        .arg(format!("-Zbuild-std={}", CRATES.join(",")))
        .arg("-Zbuild-std-features=compiler-builtins-mem")
        .args(Target::ALL.into_iter().flat_map(|target| ["--target", target.name()]))
        .current_dir(&empty)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTC", wrapper)
        .env("MOTE_RUSTC", toolchain.sysroot.join("bin/rustc"))
        .env("MOTE_SYSROOT", sysroot)
        // What uses the library is linked with link-time optimisation, which reads bitcode.
        .env("CARGO_ENCODED_RUSTFLAGS", "-Cembed-bitcode=yes")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("CARGO_BUILD_TARGET");
    step.run(&mut cargo, "the library's dependencies come from crates.io: look whether this machine can reach it")?;
    Ok(())
}

/// Puts what was compiled for `target` where rustc looks for it.
fn collect(scratch: &Path, sysroot: &Path, target: Target) -> std::io::Result<()> {
    let library = library(sysroot, target);
    fs::create_dir_all(&library)?;
    for entry in fs::read_dir(scratch.join("library").join(target.name()).join("release/deps"))? {
        let entry = entry?;
        let name = entry.file_name();
        let text = name.to_string_lossy();
        let is_ours = CRATES.iter().any(|name| text.starts_with(&format!("lib{name}-")));
        if is_ours && text.ends_with(".rlib") {
            fs::copy(entry.path(), library.join(&name))?;
        }
    }
    Ok(())
}
