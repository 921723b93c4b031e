//! What the commands need on this machine: looked for, and installed, fetched or built if missing.
//!
//! Programs come from the machine's own packages, Rust's bare targets from rustup (or from the
//! source of the library), guests' kernels from Debian's archive. What is fetched or built lies in
//! `target/mote` and is used from there as it is: a second call asks nobody.

mod apt;
mod debian;
mod dom0;
mod files;
mod initramfs;
mod modules;
mod summary;
mod sysroot;
mod system;
mod targets;

use std::fs::{self, File};
use std::path::PathBuf;
use std::process;

use miette::{IntoDiagnostic, Result, WrapErr};

use crate::workspace;

pub use debian::Linux;
pub use files::lay_out;
pub use initramfs::{Archive, CONSOLE, kind};
pub use summary::summary;
pub use targets::Target;

/// Something a command cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The emulator, not older than Debian 12's.
    Qemu,
    /// The device-tree compiler.
    Dtc,
    /// Rust's library for a bare machine.
    Target(Target),
    /// The kernel of a Debian release.
    Kernel(Linux),
    /// The initial file system that goes with the kernel of a Debian release.
    Initramfs(Linux),
    /// Debian's Xen.
    Xen,
    /// A Linux for Xen's domain 0 that serves guests, with Xen's own programs: only measurements boot it.
    Dom0,
    /// The C headers of Xen's public interface: only tests read them.
    XenHeaders,
    /// A C compiler for arm64, for those headers.
    CrossCompiler,
    /// Programs that make and check ext4 file systems.
    Ext4,
}

impl Need {
    /// Everything that any command or test needs.
    pub const ALL: [Self; 13] = [
        Self::Qemu,
        Self::Dtc,
        Self::Target(Target::Hypervisor),
        Self::Target(Target::Guest),
        Self::Kernel(Linux::V6_1),
        Self::Kernel(Linux::V6_12),
        Self::Initramfs(Linux::V6_1),
        Self::Initramfs(Linux::V6_12),
        Self::Xen,
        Self::Dom0,
        Self::XenHeaders,
        Self::CrossCompiler,
        Self::Ext4,
    ];

    /// What the user reads.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Qemu => format!("QEMU {} or newer", system::QEMU_MINIMUM),
            Self::Dtc => "the device-tree compiler".into(),
            Self::Target(target) => format!("Rust's target {}", target.name()),
            Self::Kernel(linux) => format!("Debian's Linux {linux}"),
            Self::Initramfs(linux) => format!("an initramfs for Linux {linux}"),
            Self::Xen => "Debian's Xen".into(),
            Self::Dom0 => "an initramfs for Xen's domain 0".into(),
            Self::XenHeaders => "Xen's C headers".into(),
            Self::CrossCompiler => "a C compiler for arm64".into(),
            Self::Ext4 => "programs for ext4 (e2fsprogs)".into(),
        }
    }

    fn is_met(self, paths: &Paths) -> bool {
        match self {
            Self::Qemu => system::qemu().is_some_and(|version| version >= system::QEMU_MINIMUM),
            Self::Dtc => system::has_program(system::DTC),
            Self::Target(target) => targets::is_ready(target, paths),
            Self::Kernel(linux) => paths.kernel(linux).is_file() && paths.modules(linux).is_dir(),
            Self::Initramfs(linux) => initramfs::is_current(linux, paths),
            Self::Xen => paths.xen().is_file(),
            Self::Dom0 => dom0::is_current(paths),
            Self::XenHeaders => paths.xen_headers().is_dir(),
            Self::CrossCompiler => system::has_program(system::CROSS_COMPILER),
            Self::Ext4 => system::EXT4.into_iter().all(system::has_program),
        }
    }

    fn meet(self, paths: &Paths) -> Result<()> {
        match self {
            Self::Qemu => system::require_qemu(),
            Self::Dtc => Ok(()),
            Self::CrossCompiler => system::require_cross_compiler(),
            Self::Ext4 => system::require_ext4(),
            Self::Target(_) => targets::provide(paths),
            Self::Kernel(linux) => debian::fetch_kernel(linux, paths),
            Self::Initramfs(linux) => initramfs::build(linux, paths),
            Self::Xen => debian::fetch_xen(paths),
            Self::Dom0 => dom0::build(paths),
            Self::XenHeaders => debian::fetch_xen_headers(paths),
        }
    }
}

/// Where the things that were asked for are.
#[derive(Clone, Debug)]
pub struct Paths {
    artefacts: PathBuf,
}

impl Paths {
    /// QEMU's program.
    pub const QEMU: &'static str = system::QEMU;
    /// The program of the C compiler for arm64.
    pub const CROSS_COMPILER: &'static str = system::CROSS_COMPILER;

    /// Where `program` of this machine is.
    #[must_use]
    pub fn program(program: &str) -> Option<PathBuf> {
        system::find_program(program)
    }

    /// The paths in this checkout, whether or not anything is there.
    #[must_use]
    pub fn of_workspace() -> Self {
        Self { artefacts: workspace::artefacts() }
    }

    /// A kernel: an uncompressed arm64 Image.
    #[must_use]
    pub fn kernel(&self, linux: Linux) -> PathBuf {
        self.of_linux(linux).join("kernel")
    }

    /// A directory with the kernel's modules that guests load.
    #[must_use]
    pub fn modules(&self, linux: Linux) -> PathBuf {
        self.of_linux(linux).join("modules")
    }

    /// A directory with the modules that Xen's domain 0 loads.
    fn dom0_modules(&self, linux: Linux) -> PathBuf {
        self.of_linux(linux).join("dom0-modules")
    }

    /// A directory with Xen's programs and the libraries that they need.
    fn xen_programs(&self) -> PathBuf {
        self.artefacts.join("debian/xen-programs")
    }

    /// The initial file system of Xen's domain 0: an uncompressed cpio archive.
    #[must_use]
    pub fn dom0(&self) -> PathBuf {
        self.artefacts.join("debian/dom0/initramfs")
    }

    /// An initial file system: an uncompressed cpio archive.
    #[must_use]
    pub fn initramfs(&self, linux: Linux) -> PathBuf {
        self.of_linux(linux).join("initramfs")
    }

    /// Xen: an arm64 Image.
    #[must_use]
    pub fn xen(&self) -> PathBuf {
        self.artefacts.join("debian/xen/xen")
    }

    /// The directory in which C finds `xen/xen.h`.
    #[must_use]
    pub fn xen_headers(&self) -> PathBuf {
        self.artefacts.join("debian/xen-headers")
    }

    fn of_linux(&self, linux: Linux) -> PathBuf {
        self.artefacts.join("debian").join(linux.version())
    }

    /// A statically linked busybox for arm64.
    #[must_use]
    pub fn busybox(&self) -> PathBuf {
        self.artefacts.join("debian/busybox/busybox")
    }

    /// The configuration that makes cargo use a library of ours: `.cargo/config.toml` includes it.
    fn cargo_configuration(&self) -> PathBuf {
        self.artefacts.join("cargo.toml")
    }

    /// Libraries that were built here, one directory per compiler.
    fn sysroots(&self) -> PathBuf {
        self.artefacts.join("sysroot")
    }

    /// For what this process may have half done. It is there while the process has its [`Turn`].
    fn scratch(&self) -> PathBuf {
        self.scratches().join(process::id().to_string())
    }

    fn scratches(&self) -> PathBuf {
        self.artefacts.join("scratch")
    }
}

/// Sees to it that all of `needs` are met. Quick if they are.
///
/// # Errors
///
/// One cannot be met: the message says why and what the user can do.
pub fn ensure(needs: &[Need]) -> Result<Paths> {
    let paths = Paths::of_workspace();
    if unmet(needs, &paths).is_empty() {
        return Ok(paths);
    }
    let _turn = Turn::wait(&paths)?;
    // Whoever had the turn before may have done our work.
    let unmet = unmet(needs, &paths);
    if !unmet.is_empty() {
        let names: Vec<String> = unmet.iter().map(|need| need.name()).collect();
        eprintln!("mote: not here yet: {}", names.join(", "));
    }
    system::install(&unmet)?;
    unmet.into_iter().try_for_each(|need| need.meet(&paths))?;
    Ok(paths)
}

fn unmet(needs: &[Need], paths: &Paths) -> Vec<Need> {
    needs.iter().copied().filter(|need| !need.is_met(paths)).collect()
}

/// The right to change things in `target/mote`: one process has it at a time.
struct Turn {
    scratch: PathBuf,
    // The operating system unlocks it however this process ends.
    _lock: File,
}

impl Turn {
    fn wait(paths: &Paths) -> Result<Self> {
        let take = || {
            fs::create_dir_all(&paths.artefacts)?;
            let lock = File::create(paths.artefacts.join("lock"))?;
            if lock.try_lock().is_err() {
                eprintln!("mote: waiting for another setup to finish");
                lock.lock()?;
            }
            // What a setup that was killed has left. If a program that it started still writes
            // there the rest goes next time.
            let _ = fs::remove_dir_all(paths.scratches());
            let scratch = paths.scratch();
            fs::create_dir_all(&scratch)?;
            Ok::<_, std::io::Error>(Self { scratch, _lock: lock })
        };
        take().into_diagnostic().wrap_err_with(|| format!("cannot write to {}", paths.artefacts.display()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // The next turn tries again.
        let _ = fs::remove_dir_all(&self.scratch);
    }
}
