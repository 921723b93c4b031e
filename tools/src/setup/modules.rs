//! Modules of a Linux kernel, picked out of its package: those that a guest needs, in the order in which it has to load them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use lzma_rust2::XzReader;
use miette::{Context, IntoDiagnostic, Result, miette};
use object::{Object, ObjectSection};

/// What a guest loads where it has a network interface, and where it has a disk.
pub const GROUPS: [(&str, &[&str]); 2] = [("net", &["xen-netfront"]), ("disk", &["xen-blkfront", "ext4"])];

/// What Xen's domain 0 loads that serves guests. By the last it is seen whether all are there that were fetched: what is added comes last.
pub const DOM0: &[&str] = &[
    "xenfs",
    "xen-privcmd",
    "xen-evtchn",
    "xen-gntdev",
    "bridge",
    "xen-netback",
    "xen-blkback",
    "virtio-mmio",
    "virtio-blk",
    "virtio-net",
];

/// The modules of one kernel.
#[derive(Debug)]
pub struct Modules {
    files: BTreeMap<String, PathBuf>,
    builtin: BTreeSet<String>,
}

/// Whether a directory has the last of [`DOM0`].
#[must_use]
pub fn are_kept(directory: &Path) -> bool {
    let Some(last) = DOM0.last().map(|name| format!("-{}.ko", canonical(name))) else { return true };
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    files.into_iter().any(|file| file.file_name().to_string_lossy().ends_with(&last))
}

impl Modules {
    /// Those in a package, whose files are below `root`.
    ///
    /// # Errors
    ///
    /// There are none.
    pub fn of_package(root: &Path) -> Result<Self> {
        let places = ["lib/modules", "usr/lib/modules"].map(|place| root.join(place));
        let place = places.iter().find(|place| place.is_dir()).ok_or_else(|| miette!("it has no modules"))?;
        let mut modules = Self { files: BTreeMap::new(), builtin: BTreeSet::new() };
        modules.look_into(place).into_diagnostic()?;
        Ok(modules)
    }

    fn look_into(&mut self, directory: &Path) -> std::io::Result<()> {
        for entry in fs::read_dir(directory)?.flatten() {
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                self.look_into(&path)?;
            } else if entry.file_name() == "modules.builtin" {
                self.builtin.extend(fs::read_to_string(&path)?.lines().filter_map(name));
            } else if let Some(name) = name(&entry.file_name().to_string_lossy()) {
                self.files.insert(name, path);
            }
        }
        Ok(())
    }

    /// `wanted` and all that they depend on, each with its bytes and behind what it depends on. What is part of the kernel is left out.
    ///
    /// # Errors
    ///
    /// One is not there or cannot be read.
    pub fn load_order(&self, wanted: &[&str]) -> Result<Vec<(String, Vec<u8>)>> {
        let mut order = Vec::new();
        for module in wanted {
            self.add(&canonical(module), &mut order)?;
        }
        Ok(order)
    }

    fn add(&self, module: &str, order: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
        if self.builtin.contains(module) || order.iter().any(|(name, _)| name == module) {
            return Ok(());
        }
        let path = self.files.get(module).ok_or_else(|| miette!("it has no module {module}"))?;
        let bytes = read(path).into_diagnostic().wrap_err_with(|| format!("cannot read {}", path.display()))?;
        for other in dependencies(&bytes).wrap_err_with(|| format!("{} is no module", path.display()))? {
            self.add(&other, order)?;
        }
        order.push((module.to_owned(), bytes));
        Ok(())
    }
}

/// A module's name, if `path` is a module's.
fn name(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let stem = file.strip_suffix(".ko").or_else(|| file.strip_suffix(".ko.xz"))?;
    Some(canonical(stem))
}

/// Linux makes no difference between the two characters in modules' names.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let bytes = fs::read(path)?;
    if path.extension().is_none_or(|extension| extension != "xz") {
        return Ok(bytes);
    }
    let mut module = Vec::new();
    XzReader::new(&bytes[..], false).read_to_end(&mut module)?;
    Ok(module)
}

/// What a module says that it depends on, in its section `.modinfo` (Linux, scripts/mod/modpost.c: strings `name=value`).
fn dependencies(module: &[u8]) -> Result<Vec<String>> {
    let file = object::File::parse(module).into_diagnostic()?;
    let section = file.section_by_name(".modinfo").ok_or_else(|| miette!("it has no .modinfo"))?;
    let text = String::from_utf8_lossy(section.data().into_diagnostic()?).into_owned();
    let values = text.split('\0').filter_map(|entry| entry.strip_prefix("depends="));
    Ok(values.flat_map(|names| names.split(',')).filter(|name| !name.is_empty()).map(canonical).collect())
}

#[cfg(test)]
mod tests {
    use object::write::{Object as Writer, StandardSegment};
    use object::{Architecture, BinaryFormat, Endianness, SectionKind};

    use super::*;

    /// A module that depends on these.
    fn module(depends: &str) -> Vec<u8> {
        let mut file = Writer::new(BinaryFormat::Elf, Architecture::Aarch64, Endianness::Little);
        let segment = file.segment_name(StandardSegment::Data).to_vec();
        let section = file.add_section(segment, b".modinfo".to_vec(), SectionKind::ReadOnlyData);
        file.append_section_data(section, format!("license=GPL\0depends={depends}\0").as_bytes(), 1);
        file.write().expect("written")
    }

    #[test]
    fn what_a_module_depends_on_comes_first_and_once() {
        let root = tempfile::tempdir().expect("a directory");
        let place = root.path().join("lib/modules/6/kernel/fs");
        fs::create_dir_all(&place).expect("made");
        for (name, depends) in [("a-file.ko", "b,c-sum,inside"), ("b.ko", "c_sum"), ("c-sum.ko", ""), ("d.ko", "")] {
            fs::write(place.join(name), module(depends)).expect("written");
        }
        fs::write(place.join("../../modules.builtin"), "kernel/lib/inside.ko\n").expect("written");
        let modules = Modules::of_package(root.path()).expect("read");
        let order = modules.load_order(&["a-file", "c_sum"]).expect("found");
        assert_eq!(order.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["c_sum", "b", "a_file"]);
        assert!(modules.load_order(&["missing"]).is_err());
    }

    #[test]
    fn modules_are_named_by_their_files() {
        assert_eq!(name("kernel/fs/ext4/ext4.ko.xz").as_deref(), Some("ext4"));
        assert_eq!(name("xen-netfront.ko").as_deref(), Some("xen_netfront"));
        assert_eq!(name("modules.order"), None);
    }
}
