//! `create`: more domains for a machine that runs.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use miette::miette;
use mote_api::model::{Domain as Created, Machine};

use super::{say, say_json};
use crate::boot;
use crate::boot::machine::Memory;
use crate::boot::modules::File;
use crate::cli::{Hypervisor, Target};
use crate::config::{Config, Domain};
use crate::failure::{Failure, Result, Status};
use crate::progress::Step;
use crate::running::{self, Client};
use crate::setup::{self, Need};

/// Creates the domains of the configuration at `path`: all, or none if one cannot be.
///
/// # Errors
///
/// No machine runs, the configuration has mistakes, or the machine refuses it.
pub fn create(path: &Path, paused: bool, target: &Target) -> Result<Status> {
    let client = running::connect(target.machine.as_deref())?;
    let (config, trees) = prepare(&client, path)?;
    let mut created = Unfinished { client: &client, domains: Vec::new() };
    for tree in &trees {
        created.domains.push(client.create(tree)?);
    }
    if !paused {
        for domain in &mut created.domains {
            *domain = client.unpause(&domain.id.to_string())?;
        }
    }
    tell(&created.finish(), &config, target);
    Ok(Status::Clean)
}

/// The domains of the configuration at `path` as the machine is asked for them, by their names. Their images are sent.
///
/// # Errors
///
/// The configuration has mistakes, or there is no room for an image.
pub(super) fn trees(client: &Client, path: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let (config, trees) = prepare(client, path)?;
    Ok(config.domains.into_iter().map(|domain| domain.name).zip(trees).collect())
}

fn prepare(client: &Client, path: &Path) -> Result<(Config, Vec<Vec<u8>>)> {
    let machine = client.machine()?;
    let there = client.domains()?.domains.into_iter().map(|domain| domain.name).collect::<Vec<_>>();
    setup::ensure(&[Need::Dtc])?;
    let config = Config::load_for_running(path, memory(&machine), &there)?;
    check(&config, &there)?;
    setup::ensure(&boot::needs(&config, Hypervisor::Mote))?;
    let images = send(client, &boot::files(&config)?)?;
    let trees = config.domains.iter().map(|domain| tree(&config, domain, &images)).collect::<Result<Vec<_>>>()?;
    Ok((config, trees))
}

/// Domains that go again unless all of them can be made.
struct Unfinished<'a> {
    client: &'a Client,
    domains: Vec<Created>,
}

impl Unfinished<'_> {
    fn finish(mut self) -> Vec<Created> {
        std::mem::take(&mut self.domains)
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        for domain in &self.domains {
            // Why it comes to this is what the user hears of.
            let _ = self.client.destroy(&domain.id.to_string());
        }
    }
}

/// The machine's memory, in the unit in which it was asked for.
fn memory(machine: &Machine) -> Memory {
    Memory::from_mib(u32::try_from(machine.memory_kib.div_ceil(1024)).unwrap_or(u32::MAX))
}

/// What a machine that runs can be told from here.
fn check(config: &Config, there: &[String]) -> Result<()> {
    let taken = config.domains.iter().filter(|domain| there.contains(&domain.name));
    let reports = taken.map(|domain| {
        let help = "give the new one another name, or destroy the other: `mote destroy`";
        miette!(help = help, "the machine has a domain `{}`", domain.name)
    });
    let reports: Vec<_> = reports.collect();
    if reports.is_empty() { Ok(()) } else { Err(Failure::misused(reports)) }
}

/// Sends the modules that the machine does not have. The answer is what each is called there, by the path of its node.
fn send(client: &Client, files: &[File]) -> Result<Vec<(String, String)>> {
    let whole = client.images()?.into_iter().filter(|image| image.present == image.size);
    let mut there: HashSet<String> = whole.map(|image| image.name).collect();
    let mut images = Vec::new();
    for File { node, path, .. } in files {
        let bytes =
            fs::read(path).map_err(|error| Failure::unable(miette!("cannot read {}: {error}", path.display())))?;
        let name = image_name(path, &bytes);
        if there.insert(name.clone()) {
            let step = Step::begin(format!("sending {} ({} KiB)", path.display(), bytes.len().div_ceil(1024)));
            client.put_image(&name, &bytes, |sent| step.detail(&format!("{} KiB", sent / 1024)))?;
        }
        images.push((node.clone(), name));
    }
    Ok(images)
}

/// A name that says what is in the image, so that the same bytes are sent once.
fn image_name(path: &Path, bytes: &[u8]) -> String {
    /// What of the file's name is kept.
    const LONGEST: usize = 40;
    // FNV-1a; nobody gains by making two images of one name.
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let kept: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c)).take(LONGEST).collect();
    format!("{kept}-{hash:016x}")
}

/// The tree of one domain, its modules being images.
fn tree(config: &Config, domain: &Domain, images: &[(String, String)]) -> Result<Vec<u8>> {
    let path = format!("/chosen/{}", domain.name);
    let lost = || Failure::unable(miette!("the configuration has no node {path}"));
    let mut node = config.tree.find_node(&path).ok_or_else(lost)?.clone();
    for module in &domain.modules {
        let name = module.node.rsplit('/').next().unwrap_or_default();
        let image = images.iter().find(|(node, _)| *node == module.node).ok_or_else(lost)?;
        let child = node.child_mut(name).ok_or_else(lost)?;
        for source in ["mote,file", "mote,guest", "reg"] {
            child.remove_property(source);
        }
        let value = [image.1.as_bytes(), &[0]].concat();
        child.add_property(DeviceTreeProperty::new_unchecked("mote,image", value));
    }
    let mut chosen = DeviceTreeNode::new_unchecked("chosen");
    chosen.add_child(node);
    let mut tree = DeviceTree::new();
    tree.root.add_child(chosen);
    Ok(tree.to_dtb())
}

fn tell(created: &[Created], config: &Config, target: &Target) {
    for domain in config.domains.iter().filter(|domain| !domain.publish.is_empty()) {
        eprintln!("mote: {}: ports are published only for domains that the machine starts with", domain.name);
    }
    if target.json {
        return say_json(&created);
    }
    for Created { id, name, state, .. } in created {
        say(format!("{name} is domain {id}{}\n", if state.paused { ", paused" } else { "" }));
    }
}
