//! Programs from the machine's own packages.

use std::fmt;
use std::io::IsTerminal;
use std::process::{Command, Stdio};

use miette::{Result, miette};

use super::{Need, apt};
use crate::progress::Step;

/// The emulator's program.
pub const QEMU: &str = "qemu-system-aarch64";
/// The device-tree compiler's program.
pub const DTC: &str = "dtc";
/// The program of the C compiler for arm64, as every distribution calls it, on arm64 too.
pub const CROSS_COMPILER: &str = "aarch64-linux-gnu-gcc";
/// The programs that make, check and look into ext4 file systems. Where only root has them on its search path they are found as well.
pub const EXT4: [&str; 3] = ["mke2fs", "e2fsck", "debugfs"];
/// Debian 12's QEMU: what the whole project is tested with.
pub const QEMU_MINIMUM: QemuVersion = QemuVersion(7, 2);

/// How long to wait for another package manager to finish, in seconds: a new machine updates
/// itself.
const LOCK_TIMEOUT: u32 = 300;

/// QEMU's version: major and minor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QemuVersion(u32, u32);

impl QemuVersion {
    /// Reads `qemu-system-aarch64 --version`.
    fn parse(text: &str) -> Option<Self> {
        let (_, version) = text.lines().next()?.split_once("version ")?;
        let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        Some(Self(numbers.next()?.ok()?, numbers.next()?.ok()?))
    }
}

impl fmt::Display for QemuVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// The version of the QEMU on this machine, if there is one.
pub fn qemu() -> Option<QemuVersion> {
    let output = Command::new(QEMU).arg("--version").stdin(Stdio::null()).output().ok()?;
    QemuVersion::parse(&String::from_utf8_lossy(&output.stdout))
}

/// Whether `program` is on this machine, where [`find_program`] looks.
pub fn has_program(program: &str) -> bool {
    find_program(program).is_some()
}

/// Where programs are that administrators need.
const ADMINISTRATION: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Where `program` is on the search path, or in a directory for administrators.
pub fn find_program(program: &str) -> Option<std::path::PathBuf> {
    let directories = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&directories).chain(ADMINISTRATION.map(Into::into));
    directories.map(|directory| directory.join(program)).find(|path| path.is_file())
}

/// Installs the packages that `needs` come from, all at once.
///
/// # Errors
///
/// There is no apt, no way to become root, or apt failed.
pub fn install(needs: &[Need]) -> Result<()> {
    let mut packages: Vec<&str> = needs.iter().filter_map(|need| package(*need)).collect();
    packages.sort_unstable();
    packages.dedup();
    if packages.is_empty() { Ok(()) } else { install_packages(&packages) }
}

/// Installs the keys that Debian signs with: a Debian has them, an Ubuntu may not.
pub fn install_keyring() -> Result<()> {
    install_packages(&[apt::KEYRING_PACKAGE])
}

/// Succeeds if QEMU is here and new enough, after it was to be installed.
pub fn require_qemu() -> Result<()> {
    match qemu() {
        Some(version) if version >= QEMU_MINIMUM => Ok(()),
        Some(version) => Err(miette!(
            help = "Debian 12, Ubuntu 24.04 and later have one; elsewhere put a newer QEMU on the PATH",
            "QEMU {version}, which this machine has, is too old: {QEMU_MINIMUM} would do"
        )),
        None => Err(miette!(help = elsewhere(), "QEMU was installed, but {QEMU} is not on the PATH")),
    }
}

/// Succeeds if the C compiler for arm64 is here, after it was to be installed.
pub fn require_cross_compiler() -> Result<()> {
    if has_program(CROSS_COMPILER) {
        return Ok(());
    }
    Err(miette!(help = elsewhere(), "a C compiler for arm64 was installed, but {CROSS_COMPILER} is not on the PATH"))
}

/// Succeeds if the programs for ext4 are here, after they were to be installed.
pub fn require_ext4() -> Result<()> {
    match EXT4.into_iter().find(|program| !has_program(program)) {
        Some(program) => Err(miette!(help = elsewhere(), "e2fsprogs was installed, but {program} is not on the PATH")),
        None => Ok(()),
    }
}

/// What to do on a machine without apt.
pub fn elsewhere() -> String {
    format!(
        "on Debian and Ubuntu this is automatic; on another system install QEMU {QEMU_MINIMUM} \
         or newer ({QEMU}), the device-tree compiler ({DTC}), apt, dpkg, Debian's archive \
         keyring and, for the tests, e2fsprogs and a C compiler for arm64 ({CROSS_COMPILER})\n\
         Fedora: dnf install qemu-system-aarch64-core dtc apt dpkg debian-keyring e2fsprogs gcc-aarch64-linux-gnu\n\
         Arch: pacman -S qemu-system-aarch64 dtc apt dpkg debian-archive-keyring e2fsprogs aarch64-linux-gnu-gcc"
    )
}

fn package(need: Need) -> Option<&'static str> {
    match need {
        Need::Qemu => Some("qemu-system-arm"),
        Need::Dtc => Some("device-tree-compiler"),
        Need::CrossCompiler => Some("gcc-aarch64-linux-gnu"),
        Need::Ext4 => Some("e2fsprogs"),
        Need::Kernel(_) | Need::Initramfs(_) | Need::Xen | Need::Dom0 | Need::XenHeaders => {
            apt::keyring().is_none().then_some(apt::KEYRING_PACKAGE)
        }
        Need::Target(_) => None,
    }
}

fn install_packages(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    if !has_program("apt-get") {
        return Err(miette!(help = elsewhere(), "there is no apt-get on this machine to install {list} with"));
    }
    let help = format!("as root: apt-get update; apt-get install --no-install-recommends {list}");
    // One command, so that one password is enough. Somebody else's package source that cannot be
    // reached is no reason to give up: what is wanted may be in another.
    let script = format!(
        "apt-get -q update; DEBIAN_FRONTEND=noninteractive \
         exec apt-get -qy -o DPkg::Lock::Timeout={LOCK_TIMEOUT} \
         install --no-install-recommends {list}"
    );
    if rustix::process::geteuid().is_root() {
        let step = Step::begin(format!("installing {list} (apt-get)"));
        step.run(Command::new("sh").args(["-c", &script]), &help)?;
        return Ok(());
    }
    if !has_program("sudo") {
        return Err(miette!(help = help, "{list} must be installed, but you are not root and there is no sudo"));
    }
    install_with_sudo(&list, &script, &help)
}

/// Without a spinner: sudo may ask for a password, and its prompt is not to be drawn over.
fn install_with_sudo(list: &str, script: &str, help: &str) -> Result<()> {
    eprintln!("mote: installing {list} (sudo apt-get)");
    let mut sudo = Command::new("sudo");
    if !std::io::stdin().is_terminal() {
        sudo.arg("-n");
    }
    let output = sudo.args(["sh", "-c", script]).stdout(Stdio::null()).status();
    match output {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(miette!(help = help, "installing {list} with sudo failed ({status})")),
        Err(error) => Err(miette!(help = help, "sudo does not start: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_s_qemu_tells_its_version() {
        let debian = "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\nCopyright";
        assert_eq!(QemuVersion::parse(debian), Some(QemuVersion(7, 2)));
        assert_eq!(QemuVersion::parse("QEMU emulator version 10.0.2"), Some(QemuVersion(10, 0)));
        assert_eq!(QemuVersion::parse("QEMU emulator version 11.0-rc1"), Some(QemuVersion(11, 0)));
        assert_eq!(QemuVersion::parse("what?"), None);
        assert!(QemuVersion(10, 0) > QEMU_MINIMUM && QemuVersion(6, 2) < QEMU_MINIMUM);
    }

    #[test]
    fn a_program_that_is_not_there_is_not_found() {
        assert!(has_program("sh"));
        assert!(!has_program("no-such-program"));
    }
}
