//! The devices of Xen's guests: a Linux in domain 0 serves them, and its `xl` creates the same guests that Mote boots.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

use dtoolkit::model::DeviceTreeNode;
use dtoolkit::{Node, Property};
use miette::{IntoDiagnostic, WrapErr, miette};

use crate::boot;
use crate::boot::machine::Machine;
use crate::boot::modules::{self, File};
use crate::boot::tree::Tree;
use crate::cli::Hypervisor;
use crate::command::measure::{PATIENCE, check_end};
use crate::config::{Config, Domain, Role};
use crate::console::{Console, Line};
use crate::failure::{Failure, Result};
use crate::progress::Step;
use crate::session::network::Network;
use crate::session::{self, Wish};
use crate::setup::{self, Archive, Linux, Need, Paths, kind};
use crate::workspace;

const LINUX: Linux = Linux::V6_12;
/// Domain 0's memory, and what else it and Xen are told: one CPU for all, and that guests may talk to each other.
const XEN_ARGUMENTS: &str = "dom0_mem=512M dom0_max_vcpus=1 xsm=dummy";
const LINUX_ARGUMENTS: &str = "console=hvc0 quiet cma=0";

/// What Linux prints when it cannot go on: then it would be started again and again.
const PANIC: &str = "Kernel panic";

/// Boots Xen once, creates the guests of each of the configurations in turn, and has `watch` see every line that they or domain 0 print.
/// If there is a `network`, domain 0 has its card.
///
/// # Errors
///
/// Something cannot be fetched or built, or the machine does not come to an end.
pub fn run(
    configurations: &[&str],
    machine: &Machine,
    network: Option<&Network>,
    title: &str,
    mut watch: impl FnMut(&Line),
) -> Result<()> {
    let paths = setup::ensure(&[Need::Qemu, Need::Dtc, Need::Xen, Need::Kernel(LINUX), Need::Dom0])?;
    let scratch = tempfile::tempdir().into_diagnostic().wrap_err("cannot make a temporary directory")?;
    let configurations = configurations.iter().map(|file| Config::load(&workspace::root().join(file), machine.memory));
    let configurations = configurations.collect::<Result<Vec<_>>>()?;
    let ramdisk = scratch.path().join("initramfs");
    pack(&configurations, &paths, &ramdisk)?;
    let mut arguments = arguments(&configurations, machine, &paths, &ramdisk, scratch.path())?;
    arguments.extend(network.into_iter().flat_map(Network::arguments));

    let step = Step::begin(title);
    let mut console = Console::new(Hypervisor::Mote, Vec::new(), io::sink()).watched(|line| {
        step.detail(&line.text);
        watch(line);
        if line.text.contains(PANIC) { Wish::Finish } else { Wish::GoOn }
    });
    check_end(session::run(&arguments, false, Some(PATIENCE), &mut console)?)
}

/// QEMU's arguments for Xen with domain 0.
fn arguments(
    configurations: &[Config],
    machine: &Machine,
    paths: &Paths,
    ramdisk: &Path,
    scratch: &Path,
) -> Result<Vec<String>> {
    let mut tree = Tree::read(&machine.device_tree(scratch)?)?;
    let file = |path: &Path| {
        let size =
            fs::metadata(path).into_diagnostic().wrap_err_with(|| format!("cannot read {}", path.display()))?.len();
        Ok::<_, Failure>(File { node: String::new(), path: path.into(), size })
    };
    let placed = modules::place(tree.ram()?, vec![file(&paths.kernel(LINUX))?, file(ramdisk)?])?;
    let [kernel, ramdisk] = &placed[..] else { return Err(Failure::unable(miette!("domain 0 has no place"))) };
    tree.add_dom0(kernel, ramdisk, XEN_ARGUMENTS, LINUX_ARGUMENTS);
    let dtb = scratch.join("tree.dtb");
    fs::write(&dtb, tree.to_dtb()).into_diagnostic().wrap_err("cannot write a device tree")?;

    let mut arguments = machine.arguments();
    for (option, value) in [("-kernel", paths.xen()), ("-dtb", dtb)] {
        arguments.extend([option.into(), value.display().to_string()]);
    }
    arguments.extend(placed.iter().flat_map(boot::loader));
    let disks = configurations.iter().flat_map(|config| &config.domains).flat_map(|domain| &domain.disks);
    arguments.extend(disks.enumerate().flat_map(boot::disk));
    Ok(arguments)
}

/// Writes domain 0's initramfs with the guests behind it: Linux takes one archive after the other.
fn pack(configurations: &[Config], paths: &Paths, to: &Path) -> Result<()> {
    let mut archive = Archive::default();
    let mut job = String::new();
    for config in configurations {
        setup::ensure(&boot::needs(config, Hypervisor::Xen))?;
        job.push_str("run");
        for domain in guests(config) {
            let (name, kernel) = (unique_name(config, domain), kernel(domain)?);
            // What is written to a text does not fail.
            let _ = write!(job, " {name}");
            add(&mut archive, &format!("guests/{name}"), &fs::read(&kernel.path).into_diagnostic()?)?;
            add(&mut archive, &format!("etc/xen/{name}.cfg"), description(config, domain, &name).as_bytes())?;
        }
        job.push('\n');
    }
    add(&mut archive, "etc/job", job.as_bytes())?;
    let mut bytes = fs::read(paths.dom0()).into_diagnostic().wrap_err("cannot read domain 0's initramfs")?;
    bytes.extend(archive.finish().into_diagnostic()?);
    fs::write(to, bytes).into_diagnostic().wrap_err("cannot write domain 0's initramfs")?;
    Ok(())
}

fn add(archive: &mut Archive, name: &str, content: &[u8]) -> Result<()> {
    archive.add(name, kind::FILE | 0o644, content).into_diagnostic().wrap_err("cannot put the guests together")?;
    Ok(())
}

/// Those that are not there to serve others, which Linux does here.
fn guests(config: &Config) -> impl Iterator<Item = &Domain> {
    config.domains.iter().filter(|domain| !domain.driver)
}

fn unique_name(config: &Config, domain: &Domain) -> String {
    let stem = config.path.file_stem().unwrap_or_default().to_string_lossy();
    format!("{stem}-{}", domain.name)
}

fn kernel(domain: &Domain) -> Result<File> {
    let kernel = domain.modules.iter().find(|module| module.role == Role::Kernel);
    boot::file(kernel.ok_or_else(|| Failure::unable(miette!("{} has no kernel", domain.name)))?)
}

/// A guest as `xl` has it described (`xl.cfg(5)`).
fn description(config: &Config, domain: &Domain, name: &str) -> String {
    let node = config.tree.find_node(&format!("/chosen/{}", domain.name));
    let children = || node.into_iter().flat_map(DeviceTreeNode::children);
    let arguments = children().find_map(|module| text(module, "bootargs")).unwrap_or_default();
    let vcpus = node.and_then(|node| node.property("cpus")?.value().try_into().ok()).map_or(1, u32::from_be_bytes);
    let vifs = children().filter(|child| text(child, "compatible").is_some_and(|kind| kind == "mote,vif"));
    let vifs: Vec<_> = vifs.map(|_| "'bridge=xenbr0,script=vif'".to_owned()).collect();
    let disk = |disk: &crate::config::Disk| {
        let vdev = disk.serial.rsplit('-').next().unwrap_or_default();
        format!("'format=raw,vdev={vdev},access=rw,backendtype=phy,script=disk,target=/dev/disk/{}'", disk.serial)
    };
    let disks: Vec<_> = domain.disks.iter().map(disk).collect();
    let (vifs, disks) = (vifs.join(","), disks.join(","));
    let mebibytes = domain.memory >> 20;
    format!(
        "name='{name}'\ntype='pvh'\nkernel='/guests/{name}'\nextra='{arguments}'\nmemory={mebibytes}\nvcpus={vcpus}\n\
         vuart='sbsa_uart'\nvif=[{vifs}]\ndisk=[{disks}]\n"
    )
}

fn text(node: &DeviceTreeNode, name: &str) -> Option<String> {
    let property = node.property(name)?;
    String::from_utf8(property.value().strip_suffix(&[0])?.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_described_to_xl_as_its_configuration_has_it() {
        let load = |file: &str| Config::load(&workspace::root().join(file), Machine::DEFAULT_MEMORY).expect("correct");
        let config = load("dtb/bench-disk.dts");
        let words = description(&config, guests(&config).next().expect("a guest"), "it");
        assert!(words.contains("memory=16\nvcpus=1\n"), "{words}");
        assert!(words.contains("extra='disk=xvda kilobytes=4096 measure'\n"), "{words}");
        assert!(words.contains("vif=[]\ndisk=['format=raw,vdev=xvda,"), "{words}");
        let config = load("dtb/bench-tcp.dts");
        assert_eq!(guests(&config).count(), 2);
        let words = description(&config, guests(&config).next().expect("a guest"), "it");
        assert!(words.ends_with("vif=['bridge=xenbr0,script=vif']\ndisk=[]\n"), "{words}");
    }
}
