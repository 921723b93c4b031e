//! What runs in Xen's domain 0 where Mote is measured beside it: Debian's Linux with the back ends that are its modules, busybox, and Xen's
//! own programs with the libraries that these need.

use std::fs;
use std::path::{Path, PathBuf};

use miette::{IntoDiagnostic, Result, WrapErr};

use super::apt::{Archive as Debian, Package, Release};
use super::initramfs::{Archive, CONSOLE, is_newer, kind};
use super::{Linux, Need, Paths, debian, modules};
use crate::progress::Step;
use crate::workspace::{replace_file, root};

/// The kernel in domain 0.
pub const LINUX: Linux = Linux::V6_12;

/// What it does there.
const SCRIPTS: &str = "guests/linux/dom0";

/// Where Debian's packages for arm64 have their libraries.
const LIBRARIES: &str = "usr/lib/aarch64-linux-gnu";
const LOADER: &str = "usr/lib/ld-linux-aarch64.so.1";

/// Packages and which of their programs are taken. Of all of them the libraries are.
const PACKAGES: [(&str, &[&str]); 20] = [
    ("xen-utils-4.20", &["usr/lib/xen-4.20/bin/xl", "usr/lib/xen-4.20/bin/xenstored", XENCONSOLED, XEN_INIT_DOM0]),
    ("xenstore-utils", &["usr/bin/xenstore-read", "usr/bin/xenstore-write"]),
    ("libc6", &[]),
    ("libgcc-s1", &[]),
    ("libfdt1", &[]),
    ("libuuid1", &[]),
    ("libyajl2", &[]),
    ("zlib1g", &[]),
    ("libxenmisc4.20", &[]),
    ("libxencall1", &[]),
    ("libxendevicemodel1", &[]),
    ("libxenevtchn1", &[]),
    ("libxenforeignmemory1", &[]),
    ("libxengnttab1", &[]),
    ("libxenhypfs1", &[]),
    ("libxenstore4", &[]),
    ("libxentoolcore1", &[]),
    ("libxentoollog1", &[]),
    ("libncurses6", &[]),
    ("libtinfo6", &[]),
];
const XENCONSOLED: &str = "usr/lib/xen-4.20/bin/xenconsoled";
const XEN_INIT_DOM0: &str = "usr/lib/xen-4.20/bin/xen-init-dom0";

/// Where file systems are mounted, where programs are, and where Xen's keep their own files.
const DIRECTORIES: [&str; 16] = [
    "bin",
    "dev",
    "proc",
    "sys",
    "tmp",
    "lib",
    "lib/modules",
    "guests",
    "var",
    "var/lib",
    "var/lib/xen",
    "var/lib/xenstored",
    "var/lock",
    "var/log",
    "var/log/xen",
    "run",
];

/// Whether it is there and no older than what it is made of.
pub fn is_current(paths: &Paths) -> bool {
    modules::are_kept(&paths.dom0_modules(LINUX))
        && is_newer(&paths.dom0(), &[root().join(SCRIPTS), paths.dom0_modules(LINUX), paths.xen_programs()])
}

/// Builds it.
pub fn build(paths: &Paths) -> Result<()> {
    if !modules::are_kept(&paths.dom0_modules(LINUX)) {
        debian::fetch_kernel(LINUX, paths)?;
    }
    if !paths.busybox().is_file() {
        debian::fetch_busybox(paths)?;
    }
    if !Need::Xen.is_met(paths) {
        debian::fetch_xen(paths)?;
    }
    if !paths.xen_programs().is_dir() {
        fetch_programs(paths)?;
    }
    let pack = || {
        let mut archive = Archive::default();
        for directory in DIRECTORIES {
            archive.add(directory, kind::DIRECTORY | 0o755, &[])?;
        }
        archive.add_device(CONSOLE)?;
        archive.add("bin/busybox", kind::FILE | 0o755, &fs::read(paths.busybox())?)?;
        archive.add("bin/sh", kind::SYMBOLIC_LINK | 0o777, b"busybox")?;
        archive.add("var/run", kind::SYMBOLIC_LINK | 0o777, b"../run")?;
        archive.add_tree(&root().join(SCRIPTS), "")?;
        archive.add_tree(&paths.dom0_modules(LINUX), "lib/modules/")?;
        archive.add_tree(&paths.xen_programs(), "")?;
        archive.finish()
    };
    let bytes = pack().into_diagnostic().wrap_err("cannot put domain 0's initramfs together")?;
    replace_file(&paths.dom0(), &bytes)
}

/// Fetches Xen's programs and what they need.
fn fetch_programs(paths: &Paths) -> Result<()> {
    let step = Step::begin("fetching Debian's programs for Xen 4.20 (some 10 MB)");
    let archive = Debian::open(Release::Trixie, &paths.scratch(), &step)?;
    let place = paths.scratch().join("xen-programs");
    for (name, programs) in PACKAGES {
        let package = archive.unpack(name)?;
        take(&package, programs, &place).into_diagnostic().wrap_err_with(|| package.name.clone())?;
    }
    let there = paths.xen_programs();
    fs::rename(&place, &there).into_diagnostic().wrap_err_with(|| format!("cannot make {}", there.display()))
}

/// Takes a package's `programs` and all its libraries to `place`.
fn take(package: &Package, programs: &[&str], place: &Path) -> std::io::Result<()> {
    for program in programs {
        copy(&package.root.join(program), &place.join(program))?;
    }
    let Ok(libraries) = fs::read_dir(package.root.join(LIBRARIES)) else { return Ok(()) };
    for library in libraries.flatten().filter(|entry| entry.file_name().to_string_lossy().contains(".so")) {
        copy(&library.path(), &place.join(LIBRARIES).join(library.file_name()))?;
    }
    let loader = package.root.join(LOADER);
    // Programs name it without /usr.
    if loader.exists() { copy(&loader, &place.join("lib/ld-linux-aarch64.so.1")) } else { Ok(()) }
}

/// Copies what is at the end of any links.
fn copy(from: &Path, to: &PathBuf) -> std::io::Result<()> {
    to.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::copy(from, to).map(drop)
}
