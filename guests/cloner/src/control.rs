//! The control domain's side: it builds the template, and hears of ends.

use alloc::vec::Vec;

use mote_builder::addr::PAGE_SIZE;
use mote_builder::config::{Configuration, Definition};
use mote_builder::plan::{Images, Plan};
use mote_builder::tree::Tree;
use mote_unikernel::xen::boot::BootMemory;
use mote_unikernel::xen::domains::{self, CloneTemplate, End};
use mote_unikernel::xen::events::Port;
use mote_unikernel::xen::foreign::Window;
use mote_unikernel::{Machine, println};
use xen_abi::Zeroed;
use xen_abi::domctl::{ArchConfig, CoreRegs, CreateDomain, VGCF_ONLINE, VcpuContext, create};
use xen_abi::mote::flags;
use xen_abi::xen::virq;

use crate::tries;

/// Memory of the guest, and whom it asked to hear of ends.
pub struct Control {
    /// Hears of ends.
    pub ends: Port,
    /// The template's number.
    pub template: u16,
    /// How many clones are to be there at once.
    pub alive: usize,
    /// How many are to be there at once that all run; then nothing else is tried.
    pub crowd: usize,
    /// Pages of the template's that it wrote to.
    pub ballast: u64,
}

pub fn run(machine: &Machine) {
    let ends = Port::virq(virq::DOM_EXC).expect("the hypervisor tells of ends");
    let boot = BootMemory::take().expect("nobody asked before");
    let place = machine.chosen("mote,machine-tree").expect("a machine's tree");
    let base = u64::from_be_bytes(place.try_into().expect("an address"));
    let size = boot.bytes(base, 8).and_then(|bytes| bytes.last_chunk()).map(|size| u32::from_be_bytes(*size));
    let bytes = boot.bytes(base, size.expect("a header").into()).expect("a tree");
    let tree = Tree::check(bytes).expect("a good tree");
    let is_there = |range: mote_builder::addr::PaRange| boot.bytes(range.base().0, range.size()).is_some();
    let configuration = Configuration::read(&tree, is_there);
    let definition = configuration.domains.first().expect("a template in the configuration");
    let number = |name: &str| {
        let arguments = definition.bootargs.as_deref().unwrap_or("");
        let value = |argument: &str| argument.strip_prefix(name)?.strip_prefix('=')?.parse::<u64>().ok();
        arguments.split_ascii_whitespace().find_map(value).unwrap_or(0)
    };
    let template = build(machine, definition, &boot);
    let (alive, crowd) = (number("alive") as usize, number("crowd") as usize);
    let control = Control { ends, template, alive, crowd, ballast: number("ballast") };
    tries::run(&control);
    println!("cloner: all ok");
}

/// Builds a domain and lets it run.
fn build(machine: &Machine, definition: &Definition, boot: &BootMemory) -> u16 {
    let kernel = definition.kernel;
    let kernel = boot.bytes(kernel.base().0, kernel.size()).expect("its kernel");
    let plan = Plan::new(definition, Images { kernel, ramdisk: None, device_tree: None }).expect("a plan");
    let banks = plan.banks().expect("banks");
    let contents = plan.place(banks.clone(), Some([7; 32])).expect("it fits");
    let asked = CreateDomain {
        flags: create::HVM | create::HAP,
        max_vcpus: 1,
        max_evtchn_port: 1023,
        max_grant_frames: -1,
        max_maptrack_frames: -1,
        grant_opts: 1,
        arch: ArchConfig { nr_spis: 32, ..ArchConfig::new_zeroed() },
        ..CreateDomain::new_zeroed()
    };
    let id = domains::create(None, asked).expect("a domain");
    domains::describe(id, &definition.name, "", flags::VPL011).expect("its description");
    domains::limit_memory(id, definition.memory).expect("its memory");
    for bank in banks {
        let frames: Vec<u64> = (bank.base.0 / PAGE_SIZE..(bank.base.0 + bank.size) / PAGE_SIZE).collect();
        let (blocks, rest) = frames.split_at(frames.len() / 512 * 512);
        let mut blocks: Vec<u64> = blocks.iter().copied().step_by(512).collect();
        domains::populate(id, &mut blocks, 9).expect("blocks");
        domains::populate(id, &mut rest.to_vec(), 0).expect("pages");
    }
    let mut window = Window::new(machine).expect("a window");
    for (at, bytes) in &contents.pieces {
        window.write(id, at.0, bytes).expect("to load it");
    }
    window.close();
    let mut user_regs = CoreRegs { pc64: contents.entry.0, cpsr: 0x3c5, ..CoreRegs::new_zeroed() };
    user_regs.x[0] = contents.tree.0;
    let context = VcpuContext { flags: VGCF_ONLINE, user_regs, sctlr: 0x00c5_0078, ..VcpuContext::new_zeroed() };
    domains::set_vcpu(id, 0, &context).expect("its vCPU");
    domains::unpause(id).expect("to run");
    id
}

/// A clone that is gone when it ends and does `what`.
pub fn ephemeral(what: u64, number: u64) -> CloneTemplate {
    let argument = [what, number, 0, 0, 0, 0, 0, 77];
    CloneTemplate { ticks: 0, pages: 0, flags: flags::EPHEMERAL, argument, port: 0, pad: 0 }
}

impl Control {
    /// Makes a clone.
    pub fn launch(&self, asked: CloneTemplate) -> u16 {
        domains::clone(self.template, asked).expect("a clone")
    }

    /// Waits for the end of so many clones, in the order in which they end.
    pub fn wait(&self, count: usize) -> Vec<End> {
        let mut all = Vec::new();
        self.wait_for(&mut all, count);
        all
    }

    /// The same until there are so many in `all`.
    pub fn wait_for(&self, all: &mut Vec<End>, count: usize) {
        loop {
            let mut room = [End::new_zeroed(); 16];
            let (ended, lost) = domains::ended(&mut room).expect("to be told");
            assert_eq!(lost, 0, "ends that nobody heard of");
            all.extend(room.iter().take(ended).copied());
            if all.len() >= count {
                return;
            }
            if ended < room.len() {
                self.ends.wait();
            }
        }
    }

    /// Has a clone do `what`, and says how it ended.
    pub fn have(&self, asked: CloneTemplate) -> End {
        let id = self.launch(asked);
        let end = self.wait(1)[0];
        assert_eq!((end.domain, end.template), (id, self.template));
        end
    }
}
