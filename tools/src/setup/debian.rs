//! What comes ready-made from Debian: kernels, a userland, Xen.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use miette::{IntoDiagnostic, Result, WrapErr, miette};

use super::Paths;
use super::apt::{Archive, Package, Release};
use super::modules::{self, Modules};
use crate::progress::Step;
use crate::workspace::replace_file;

/// The package that depends on a release's newest kernel for virtual machines.
const KERNEL: &str = "linux-image-cloud-arm64";
const XEN: &str = "xen-hypervisor-4.20-arm64";
/// The package with the C headers of the same version.
const XEN_HEADERS: &str = "libxen-dev";
const BUSYBOX: &str = "busybox-static";

/// What an arm64 Image has at this offset (Linux, Documentation/arch/arm64/booting.rst).
const IMAGE_MAGIC: &[u8] = b"ARM\x64";
const IMAGE_MAGIC_OFFSET: usize = 56;

/// A Linux that Debian has a kernel package of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linux {
    /// Debian 12's.
    V6_1,
    /// Debian 13's, as Debian 12 can have it.
    V6_12,
}

impl Linux {
    /// Every one, oldest first.
    pub const ALL: [Self; 2] = [Self::V6_1, Self::V6_12];

    /// As configurations write it.
    #[must_use]
    pub const fn version(self) -> &'static str {
        match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
        }
    }

    /// The one that configurations write as `version`.
    #[must_use]
    pub fn from_version(version: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|linux| linux.version() == version)
    }

    const fn release(self) -> Release {
        match self {
            Self::V6_1 => Release::Bookworm,
            Self::V6_12 => Release::BookwormBackports,
        }
    }
}

impl fmt::Display for Linux {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.version())
    }
}

/// Fetches a kernel.
pub fn fetch_kernel(linux: Linux, paths: &Paths) -> Result<()> {
    let step = Step::begin(format!("fetching Debian's Linux {linux} (some 30 MB)"));
    let archive = Archive::open(linux.release(), &paths.scratch(), &step)?;
    let package = archive.dependency(KERNEL, &format!("linux-image-{linux}."))?;
    let package = archive.unpack(&package)?;
    keep_modules(&package, &modules::GROUPS, &paths.modules(linux))?;
    keep_modules(&package, &[("", modules::DOM0)], &paths.dom0_modules(linux))?;
    keep_image(&package, "vmlinuz-", &paths.kernel(linux))
}

/// Fetches Xen.
pub fn fetch_xen(paths: &Paths) -> Result<()> {
    let step = Step::begin("fetching Debian's Xen 4.20 (some 10 MB)");
    let archive = Archive::open(Release::Trixie, &paths.scratch(), &step)?;
    keep_image(&archive.unpack(XEN)?, "xen-", &paths.xen())
}

/// Fetches the C headers of Xen's public interface, of the version whose ABI we speak.
pub fn fetch_xen_headers(paths: &Paths) -> Result<()> {
    let step = Step::begin("fetching the C headers of Debian's Xen 4.20 (some 10 MB)");
    let archive = Archive::open(Release::Trixie, &paths.scratch(), &step)?;
    keep_directory(&archive.unpack(XEN_HEADERS)?, "usr/include", &paths.xen_headers())
}

/// Fetches the one program of which a Linux guest's userland is made.
pub fn fetch_busybox(paths: &Paths) -> Result<()> {
    let step = Step::begin("fetching Debian's busybox (some 10 MB)");
    let archive = Archive::open(Release::Bookworm, &paths.scratch(), &step)?;
    let package = archive.unpack(BUSYBOX)?;
    // Before and after the merge of /bin into /usr/bin.
    let places = ["bin/busybox", "usr/bin/busybox"].map(|place| package.root.join(place));
    let program = places.iter().find(|path| path.is_file());
    let program = program.ok_or_else(|| miette!("{} has no busybox in it", package.name))?;
    keep(&package, program, &paths.busybox())
}

/// Keeps the modules that guests load: in a directory for each group, with names in the order in which they are to be loaded.
fn keep_modules(package: &Package, groups: &[(&str, &[&str])], path: &Path) -> Result<()> {
    let modules = Modules::of_package(&package.root).wrap_err_with(|| package.name.clone())?;
    for &(group, wanted) in groups {
        let order = modules.load_order(wanted).wrap_err_with(|| package.name.clone())?;
        for (place, (name, bytes)) in order.iter().enumerate() {
            replace_file(&path.join(group).join(format!("{place:02}-{name}.ko")), bytes)?;
        }
    }
    Ok(())
}

/// Keeps the one arm64 Image among the files in the package's /boot whose names start with
/// `prefix`.
fn keep_image(package: &Package, prefix: &str, path: &Path) -> Result<()> {
    let boot = package.root.join("boot");
    let entries = fs::read_dir(&boot).into_diagnostic().wrap_err_with(|| format!("{} has no /boot", package.name))?;
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .collect();
    files.sort();
    let image = files.iter().find(|file| fs::read(file).is_ok_and(|bytes| is_image(&bytes)));
    let image = image.ok_or_else(|| miette!("{} has no uncompressed arm64 Image in /boot", package.name))?;
    keep(package, image, path)
}

/// Copies `file` to `path`, and the package's name to a file beside it.
fn keep(package: &Package, file: &Path, path: &Path) -> Result<()> {
    let bytes = fs::read(file).into_diagnostic()?;
    replace_file(&package_file(path), package.name.as_bytes())?;
    replace_file(path, &bytes)
}

/// Moves the `directory` of the package to `path`, which is all there or not at all, and the package's name to a file
/// beside it.
fn keep_directory(package: &Package, directory: &str, path: &Path) -> Result<()> {
    replace_file(&package_file(path), package.name.as_bytes())?;
    fs::rename(package.root.join(directory), path)
        .into_diagnostic()
        .wrap_err_with(|| format!("cannot take {directory} of {} to {}", package.name, path.display()))
}

/// Name and version of the package that the file at `path` came from.
pub fn package_of(path: &Path) -> Option<String> {
    fs::read_to_string(package_file(path)).ok()
}

fn package_file(path: &Path) -> PathBuf {
    path.with_extension("package")
}

fn is_image(bytes: &[u8]) -> bool {
    bytes.get(IMAGE_MAGIC_OFFSET..).is_some_and(|rest| rest.starts_with(IMAGE_MAGIC))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_named_by_its_version() {
        assert_eq!(Linux::from_version("6.12"), Some(Linux::V6_12));
        assert_eq!(Linux::from_version("6"), None);
    }

    #[test]
    fn the_image_of_a_package_is_found_and_remembered() {
        let directory = tempfile::tempdir().expect("a directory");
        let boot = directory.path().join("boot");
        fs::create_dir(&boot).expect("made");
        let mut image = vec![0; IMAGE_MAGIC_OFFSET];
        image.extend_from_slice(IMAGE_MAGIC);
        fs::write(boot.join("xen-1.config"), "text").expect("written");
        fs::write(boot.join("xen-1.gz"), "compressed").expect("written");
        fs::write(boot.join("xen-1x"), &image).expect("written");
        let package = Package { name: "xen 1".into(), root: directory.path().into() };
        let kept = directory.path().join("kept/xen");
        keep_image(&package, "xen-", &kept).expect("found");
        assert_eq!(fs::read(&kept).expect("kept"), image);
        assert_eq!(package_of(&kept).as_deref(), Some("xen 1"));
        assert!(keep_image(&package, "vmlinuz-", &kept).is_err());
    }
}
