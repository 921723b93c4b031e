//! A domain's definition, as a device tree that a client sends.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use mote_builder::addr::{Pa, PaRange};
use mote_builder::config::{CONTROL, ConfigError, Definition};
use mote_builder::tree::{Node, Tree};

use crate::domains::printable;
use crate::problem::Problem;
use crate::toolstack::{Modules, Toolstack};

/// Bytes of a tree that is read.
pub const MAX_TREE: usize = 64 << 10;

/// What is sent if not this.
const FORM: &str = "send a compiled device tree (dtc -O dtb) with one node compatible = \"xen,domain\" in /chosen";

/// Reads the definition of the one domain in the tree. Its modules are images that `toolstack` has.
pub fn read(body: &[u8], toolstack: &dyn Toolstack) -> Result<(Definition, Modules), Problem> {
    if body.len() > MAX_TREE {
        let error = format!("a tree of {} bytes is larger than a definition can be", body.len());
        return Err(Problem::new(413, error, format!("send at most {MAX_TREE} bytes: modules go to /images")));
    }
    // Where a tree may lie: at a multiple of 8, as a vector of its own does and the middle of a request does not.
    let body = body.to_vec();
    let tree =
        Tree::check(&body).map_err(|error| Problem::new(400, format!("the body is no device tree: {error}"), FORM))?;
    let node = domain(&tree)?;
    let modules = modules(node, toolstack)?;
    let size = |module: Node<'_>, kind| {
        let image = module.string("mote,image").and_then(|name| toolstack.image(name));
        image.and_then(|image| PaRange::new(Pa(0), image.size)).ok_or(ConfigError::ModulePlace(kind))
    };
    let definition = Definition::read_with(node, &size).map_err(|error| impossible(node, error))?;
    check(&definition, toolstack)?;
    Ok((definition, modules))
}

/// The tree's one domain.
fn domain<'a>(tree: &Tree<'a>) -> Result<Node<'a>, Problem> {
    let chosen = tree.node("/chosen").ok_or_else(|| Problem::new(422, "the tree has no node /chosen", FORM))?;
    let domains: Vec<_> = chosen.children().filter(|node| node.is_compatible("xen,domain")).collect();
    match domains[..] {
        [domain] => Ok(domain),
        [] => Err(Problem::new(422, "the tree has no domain", FORM)),
        _ => Err(Problem::new(422, "the tree has several domains", "send them one by one; `mote create` does")),
    }
}

/// The images that its modules are, all of which must be whole.
fn modules(node: Node<'_>, toolstack: &dyn Toolstack) -> Result<Modules, Problem> {
    let mut found = Modules::default();
    for module in node.children().filter(|child| child.is_compatible("multiboot,module")) {
        let name = module.string("mote,image").ok_or_else(|| {
            let error = format!("the module {} has no mote,image", printable(module.name()));
            Problem::new(422, error, "name an image of GET /images: mote,image = \"name\";")
        })?;
        let shown = printable(name);
        let image = toolstack.image(name).ok_or_else(|| {
            Problem::new(422, format!("there is no image `{shown}`"), format!("PUT /images/{shown} first"))
        })?;
        if image.present < image.size {
            let error = format!("of the image `{shown}` only {} of {} bytes are there", image.present, image.size);
            return Err(Problem::new(409, error, format!("PUT the rest to /images/{shown}")));
        }
        let name = String::from(name);
        // What is of no kind, or twice of one, is told of by who reads the node.
        match module.strings("compatible").next() {
            Some("multiboot,kernel") => found.kernel = name,
            Some("multiboot,ramdisk") => found.ramdisk = Some(name),
            Some("multiboot,device-tree") => found.device_tree = Some(name),
            _ => {}
        }
    }
    Ok(found)
}

/// What a machine that runs can give.
fn check(definition: &Definition, toolstack: &dyn Toolstack) -> Result<(), Problem> {
    let name = &definition.name;
    if name == CONTROL || toolstack.find(name).is_some() {
        let error = format!("there is a domain `{name}`");
        return Err(Problem::new(409, error, "give the new one another name, or destroy the other"));
    }
    if !definition.channels.is_empty() {
        let hint = "they are for domains that the machine starts with; let the two find each other by xenstore";
        return Err(Problem::new(
            422,
            "xen,evtchn: a domain of a running machine has no channels from the start",
            hint,
        ));
    }
    let machine = toolstack.machine();
    let (asked, all, free) = (definition.memory >> 10, machine.memory_kib, machine.free_kib);
    if asked > all {
        let error = format!("{name} is to have {asked} KiB of memory, the whole machine has {all} KiB");
        return Err(Problem::new(422, error, "ask for less"));
    }
    if asked > free {
        let error = format!("{name} is to have {asked} KiB of memory, {free} KiB are free");
        return Err(Problem::new(409, error, "ask for less, or destroy another domain"));
    }
    Ok(())
}

fn impossible(node: Node<'_>, error: ConfigError) -> Problem {
    let hint = "dtb/README.md describes what a domain's node may say; `mote check` finds every mistake";
    Problem::new(422, format!("{}: {}", printable(node.name()), error), hint)
}
