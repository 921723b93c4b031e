//! What is where, for the user to read.

use std::path::Path;

use comfy_table::Table;
use miette::Result;

use super::targets::{self, Toolchain};
use super::{Need, Paths, debian, system};
use crate::workspace::root;

/// A table of everything in [`Need::ALL`]: what it is, which version, and where.
///
/// # Errors
///
/// rustc does not start.
pub fn summary() -> Result<String> {
    let paths = Paths::of_workspace();
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(["what", "version", "where"]);
    for need in Need::ALL {
        let (version, place) = describe(need, &paths)?;
        table.add_row([need.name(), version, place]);
    }
    Ok(table.trim_fmt())
}

fn describe(need: Need, paths: &Paths) -> Result<(String, String)> {
    const MISSING: &str = "missing";
    Ok(match need {
        Need::Qemu => {
            let version = system::qemu().map_or_else(|| MISSING.into(), |version| version.to_string());
            (version, program(system::QEMU))
        }
        Need::Dtc => (String::new(), program(system::DTC)),
        Need::CrossCompiler => (String::new(), program(system::CROSS_COMPILER)),
        Need::Ext4 => (String::new(), program(system::EXT4[0])),
        Need::Target(target) => {
            let toolchain = Toolchain::current()?;
            let place = targets::place(target, toolchain, paths);
            let place = match place {
                Some(path) if path == toolchain.sysroot => "in the toolchain".into(),
                Some(path) => shown(&path),
                None => MISSING.into(),
            };
            (toolchain.release.clone(), place)
        }
        Need::Kernel(linux) => file(&paths.kernel(linux)),
        Need::Initramfs(linux) => file(&paths.initramfs(linux)),
        Need::Xen => file(&paths.xen()),
        Need::Dom0 => file(&paths.dom0()),
        Need::XenHeaders => file(&paths.xen_headers()),
    })
}

fn program(name: &str) -> String {
    system::find_program(name).map_or_else(String::new, |path| shown(&path))
}

fn file(path: &Path) -> (String, String) {
    // Name and version: the name says nothing new.
    let package = debian::package_of(path).unwrap_or_default();
    let version = package.split_whitespace().next_back().unwrap_or_default();
    (version.to_owned(), shown(path))
}

/// Relative to the checkout, if it is in there.
fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}
