//! The device tree that the guest got.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use mote_unikernel::Machine;
use mote_unikernel::dtoolkit::{Node, Property};

use crate::say;

/// Nodes that a guest of Xen's has, and properties of theirs that are asked for.
const NODES: [(&str, &[&str]); 11] = [
    ("/", &["#address-cells", "#size-cells", "compatible", "model", "interrupt-parent"]),
    ("/chosen", &["bootargs", "stdout-path", "kaslr-seed", "rng-seed"]),
    ("/memory", &["reg", "device_type"]),
    ("/cpus", &["#address-cells", "#size-cells"]),
    ("/cpus/cpu@0", &["reg", "compatible", "device_type", "enable-method"]),
    ("/cpus/cpu@1", &["reg", "compatible", "device_type", "enable-method"]),
    ("/psci", &["compatible", "method", "cpu_on", "cpu_off"]),
    (
        "/interrupt-controller",
        &[
            "compatible",
            "reg",
            "#interrupt-cells",
            "#address-cells",
            "interrupt-controller",
            "linux,phandle",
            "phandle",
        ],
    ),
    ("/timer", &["compatible", "interrupts", "clock-frequency", "interrupt-parent"]),
    ("/sbsa-uart", &["compatible", "reg", "interrupts", "current-speed", "interrupt-parent"]),
    ("/hypervisor", &["compatible", "reg", "interrupts", "interrupt-parent"]),
];

/// Bytes of a value that are printed.
const SHOWN: usize = 32;

/// Asks all of it.
#[inline(never)]
pub fn probe(machine: &Machine) {
    let tree = machine.tree();
    for (path, properties) in NODES {
        let node = tree.find_node(path);
        say(format_args!("tree {path}"), node.as_ref().map_or("absent", |node| node.name()));
        let Some(node) = node else { continue };
        say(format_args!("tree {path} nodes"), names(node.children().map(|child| child.name().to_owned())));
        say(
            format_args!("tree {path} properties"),
            names(node.properties().map(|property| property.name().to_owned())),
        );
        for name in properties {
            let property = node.property(name);
            let value = property.as_ref().map(|property| property.value());
            say(format_args!("tree {path} {name}"), Value(value));
        }
    }
}

/// Names in the order of the alphabet.
fn names(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names.join(" ")
}

/// A property's value: text as text, the rest as bytes.
struct Value<'a>(Option<&'a [u8]>);

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(bytes) = self.0 else { return f.write_str("absent") };
        let is_text = |byte: &u8| *byte == 0 || byte.is_ascii_graphic() || *byte == b' ';
        if bytes.len() > 1 && bytes[0] != 0 && bytes.ends_with(&[0]) && bytes.iter().all(is_text) {
            return bytes.split_inclusive(|byte| *byte == 0).try_for_each(|part| {
                let text = str::from_utf8(&part[..part.len() - 1]).unwrap_or_default();
                write!(f, "`{text}`")
            });
        }
        write!(f, "{} bytes ", bytes.len())?;
        bytes.iter().take(SHOWN).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
