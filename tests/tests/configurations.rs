//! Configurations with mistakes, put past the tool straight into the machine's device tree.

use std::path::Path;

use dtoolkit::model::{DeviceTreeNode, DeviceTreeProperty};
use mote_tests::{Guest, Until, boot_configuration, configuration, elf, machine};
use mote_tools::cli::Hypervisor;
use mote_tools::config::source::Source;
use mote_tools::config::{Config, Role};
use mote_tools::session::Wish;
use mote_tools::setup::{self, Linux, Need};

/// A mistake: the guest's name, how it is made, and a word of EL2's answer.
type Mistake = (&'static str, fn(&mut DeviceTreeNode), &'static str);

const MISTAKES: [Mistake; 10] = [
    ("no-cpus", |node| set(node, "cpus", &[0, 0, 0, 0]), "cpus"),
    ("many-cpus", |node| set(node, "cpus", &[0, 0, 0, 129]), "cpus"),
    ("odd-cpus", |node| set(node, "cpus", &[1]), "cpus"),
    ("no-memory", |node| drop(node.remove_property("memory")), "memory"),
    ("little-memory", |node| set(node, "memory", &[0, 0, 0, 0, 0, 0, 0, 63]), "memory"),
    ("much-memory", |node| set(node, "memory", &[0xff; 8]), "memory"),
    ("more-than-there-is", |node| set(node, "memory", &[0, 0, 0, 0, 0, 0x40, 0, 0]), "memory"),
    ("no-kernel", |node| drop(node.remove_child("module@0")), "kernel"),
    ("weightless", |node| set(node, "mote,weight", &[0, 0, 0, 0]), "mote,weight"),
    ("static", |node| set(node, "xen,static-mem", &[0; 16]), "xen,static-mem"),
];

fn set(node: &mut DeviceTreeNode, name: &str, value: &[u8]) {
    node.add_property(DeviceTreeProperty::new_unchecked(name, value.to_vec()));
}

fn node<'a>(config: &'a mut Config, name: &str) -> &'a mut DeviceTreeNode {
    config.tree.find_node_mut(&format!("/chosen/{name}")).expect("a guest of the configuration")
}

/// Gives the guest `name` other bytes as its kernel.
fn replace_kernel(config: &mut Config, name: &str, path: &Path) {
    let domain = config.domains.iter_mut().find(|domain| domain.name == name);
    let modules = domain.into_iter().flat_map(|domain| &mut domain.modules);
    for module in modules.filter(|module| module.role == Role::Kernel) {
        module.source = Source::File(path.into());
    }
}

#[test]
fn a_bad_domain_is_named_and_left_out_and_the_others_run() {
    let machine = machine(1, 1024);
    let good = ["first", "last"];
    let bad = MISTAKES.map(|(name, _, _)| name);
    let kernels = ["text", "truncated", "elsewhere"];
    let names = [&good[..1], &bad[..], &kernels[..], &good[1..]].concat();
    let guests: Vec<Guest> = names.iter().map(|name| Guest::unikernel(name, "hello")).collect();
    let mut config = configuration(&guests, &machine);
    for (name, make, _) in MISTAKES {
        make(node(&mut config, name));
    }
    let directory = tempfile::tempdir().expect("a directory");
    for (name, bytes) in [("text", text()), ("truncated", truncated()), ("elsewhere", elsewhere())] {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        replace_kernel(&mut config, name, &path);
    }

    let run = boot_configuration(&config, &machine, Hypervisor::Mote, Until::AllEnded, |_| Wish::GoOn);
    for name in good {
        run.assert_finished(name, "hello: a unikernel");
    }
    let kernels = kernels.map(|name| (name, "kernel"));
    for (name, word) in MISTAKES.map(|(name, _, word)| (name, word)).into_iter().chain(kernels) {
        let reason = run.refusal(name).unwrap_or_else(|| panic!("{name} was not left out\n{run}"));
        assert!(reason.contains(word), "{name}: {reason}");
    }
    assert_eq!(run.heard.domains().count(), good.len(), "{run}");
}

fn text() -> Vec<u8> {
    b"This is no kernel.\n".repeat(100)
}

/// The first half of a real kernel.
fn truncated() -> Vec<u8> {
    let paths = setup::ensure(&[Need::Kernel(Linux::V6_1)]).expect("Debian's kernel");
    let mut bytes = std::fs::read(paths.kernel(Linux::V6_1)).expect("readable");
    bytes.truncate(bytes.len() / 2);
    bytes
}

/// An ELF file for an address where guests have no RAM.
fn elsewhere() -> Vec<u8> {
    elf(0x1000_0000, &[0; 64])
}
