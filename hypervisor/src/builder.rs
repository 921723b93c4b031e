//! Building a domain from its configuration: everything is had before the domain is, so what fails leaves nothing behind.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

use mote_core::addr::{Ipa, Pa, PaRange};
use mote_core::config::DomainConfig;
use mote_core::events::EventChannels;
use mote_core::grants::GrantTable;
use mote_core::guest_tree::{self, TreeError};
use mote_core::id::{DomainId, VcpuId};
use mote_core::image::{self, ImageError, Kernel};
use mote_core::layout::{Layout, LayoutError};
use mote_core::psci::Power;
use mote_core::random::Seeds;
use mote_core::tree::{Malformed, Tree};
use mote_core::vgic::{Affinity, VGic};
use mote_core::vpl011::Vpl011;
use mote_platform::lock::Mutex;
use mote_platform::{heap, memory, timer};
use spin::Once;
use thiserror::Error;

use crate::console;
use crate::domain::{Domain, Extras, Presence};
use crate::machine::Machine;
use crate::memory::{FrameRef, GuestMemory, MemoryError};
use crate::stats::Milestones;
use crate::vcpu::{Start, Vcpu, VcpuState};

/// `MPIDR_EL1` beside the affinity: bit 31 is RES1 (Arm ARM D24.2.107).
const MPIDR_RES1: u64 = 1 << 31;
/// SPIs of a domain: the UART's and 31 more, as one register's worth.
const SPIS: u32 = 32;

/// Why a domain was not built.
#[derive(Debug, Error)]
pub enum BuildError {
    /// Its kernel is none.
    #[error("its kernel cannot be loaded: {0}")]
    Kernel(#[from] ImageError),
    /// Its content does not fit its memory.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Its partial device tree is malformed.
    #[error("its partial device tree is malformed: {0}")]
    PartialTree(#[from] Malformed),
    /// Its device tree cannot be made.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The machine lacks memory for it.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// EL2 lacks memory for it.
    #[error("the hypervisor has no memory for its structures")]
    Heap,
}

/// What building comes to.
type Result<T> = core::result::Result<T, BuildError>;

/// Builds a domain; the answer is how its first vCPU begins.
///
/// # Errors
/// Why it could not; then nothing is left of it.
pub fn build(machine: &Machine, config: &DomainConfig, peers: Box<[DomainId]>, seeds: &mut Seeds) -> Result<Start> {
    let created = timer::now();
    let heap_before = heap::used();
    let plan = Plan::new(config, seeds)?;
    let memory = plan.fill(config)?;
    let vgic = VGic::new(config.vcpus, SPIS).map_err(|_| BuildError::Heap)?;
    let shared = FrameRef::zeroed()?;
    let events = EventChannels::new(config.id, config.vcpus as usize, shared).map_err(|_| BuildError::Heap)?;
    let vcpus = make_vcpus(machine, config, created)?;
    let mut domain = Domain {
        id: config.id,
        name: config.name.clone(),
        power: Mutex::new(Power::new(config.vcpus)),
        alive: AtomicUsize::new(vcpus.len()),
        _presence: Presence::new(),
        vcpus,
        memory: Mutex::new(memory),
        vgic: Mutex::new(vgic),
        uart: config.vpl011.then(|| Mutex::new(Vpl011::new())),
        events: Mutex::new(events),
        grants: Mutex::new(GrantTable::new(config.grants)),
        peers,
        pv: Extras::default(),
        milestones: Milestones { created, ..Milestones::default() },
        image_bytes: config.kernel.size() + config.ramdisk.map_or(0, PaRange::size),
        structure_bytes: 0,
        last_on: (0..machine.pcpus()).map(|_| AtomicU8::new(0)).collect(),
        end: Once::new(),
    };
    domain.structure_bytes = (heap::used().saturating_sub(heap_before) + size_of::<Domain>()) as u64;
    if config.enhanced
        && let Err(error) = domain.add_console()
    {
        domain.vcpus.iter().for_each(|vcpu| machine.free_slot(vcpu.slot));
        return Err(error.into());
    }
    console::lock().attach(config.id, &config.name, config.ready.clone());
    let domain = Arc::new(domain);
    machine.add(&domain);
    domain.milestones.built.store(timer::now(), Ordering::Relaxed);
    Ok(plan.start())
}

/// Connects two ports, as the configuration asks for it. What cannot be, is said.
pub fn connect(machine: &Machine, [(first, port), (second, peer)]: [(DomainId, u32); 2]) {
    let (Some(first), Some(second)) = (machine.domain(first), machine.domain(second)) else { return };
    let connected = first.events.lock().connect(port, second.id, peer);
    let connected = connected.and_then(|()| second.events.lock().connect(peer, first.id, port));
    match connected {
        // Xen lets the second hear something at once: it might have missed it.
        Ok(()) => second.announce(second.events.lock().receive(peer, first.id, port)),
        Err(error) => console::log(format_args!(
            "port {port} of {} and port {peer} of {} are not connected: error {}",
            first.name,
            second.name,
            error.number()
        )),
    }
}

/// What goes where, before any memory is taken.
struct Plan {
    kernel: Kernel,
    layout: Layout,
    tree: Vec<u8>,
}

impl Plan {
    fn new(config: &DomainConfig, seeds: &mut Seeds) -> Result<Self> {
        let kernel = read_kernel(config.kernel)?;
        let partial = config.device_tree.map(read_module).transpose()?;
        let partial = partial.as_deref().map(Tree::check).transpose()?;
        let size = guest_tree::size(config, partial.as_ref())?;
        let ramdisk = config.ramdisk.map(PaRange::size);
        let layout = Layout::new(config.memory, &kernel, ramdisk, size)?;
        let tree = guest_tree::build(config, &layout, partial.as_ref(), seeds.draw())?;
        Ok(Self { kernel, layout, tree })
    }

    /// The domain's memory with everything in its place.
    fn fill(&self, config: &DomainConfig) -> Result<GuestMemory> {
        let mut memory = GuestMemory::new(config.id)?;
        for &bank in &self.layout.banks {
            memory.populate(bank, config.by_pages)?;
        }
        for segment in &self.kernel.segments {
            let from = Pa(config.kernel.base().0 + segment.offset);
            memory.copy_in(from, self.in_kernel(segment.target), segment.length)?;
        }
        if let (Some(module), Some(place)) = (config.ramdisk, self.layout.ramdisk) {
            memory.copy_in(module.base(), place.base, module.size())?;
        }
        memory.write(self.layout.tree.base, &self.tree)?;
        Ok(memory)
    }

    fn in_kernel(&self, offset: u64) -> Ipa {
        Ipa(self.layout.kernel.base.0 + offset)
    }

    fn start(&self) -> Start {
        Start { entry: self.in_kernel(self.kernel.entry).0, context: self.layout.tree.base.0 }
    }
}

fn read_kernel(module: PaRange) -> Result<Kernel> {
    let mut head = alloc::vec![0; (module.size() as usize).min(image::HEAD)];
    memory::read(module.base().0, &mut head).map_err(|_| MemoryError::BadAddress)?;
    Ok(image::parse(&head, module.size())?)
}

fn read_module(module: PaRange) -> Result<Vec<u8>> {
    let size = module.size().min(guest_tree::MAX_SIZE) as usize;
    memory::boot_bytes(module.base().0, size).map_err(|_| MemoryError::BadAddress.into())
}

fn make_vcpus(machine: &Machine, config: &DomainConfig, created: u64) -> Result<Box<[Vcpu]>> {
    let mut vcpus = Vec::new();
    for number in 0..config.vcpus {
        let Some(slot) = machine.reserve_slot(config.weight) else {
            vcpus.iter().for_each(|vcpu: &Vcpu| machine.free_slot(vcpu.slot));
            return Err(BuildError::Heap);
        };
        let id = VcpuId(number as u8);
        let mpidr = MPIDR_RES1 | u64::from(Affinity::of(id).0);
        vcpus.push(Vcpu {
            id,
            slot,
            state: Mutex::new(VcpuState::new(mpidr, created)),
            start: Mutex::new(None),
            runstate_area: Mutex::new(None),
            gone: AtomicBool::new(false),
        });
    }
    Ok(vcpus.into())
}
