//! Making domains: empty ones for the control domain to fill, and the control domain itself from what the boot loader left.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize};

use mote_core::addr::{Ipa, PAGE_SIZE, PaRange};
use mote_core::console::Output;
use mote_core::events::{self, EventChannels, FEW_PORTS, MAX_PORT};
use mote_core::grants::{GrantTable, Limits};
use mote_core::id::{DomainId, VcpuId};
use mote_core::machine::Modules;
use mote_core::psci::Power;
use mote_core::sched::DEFAULT_WEIGHT;
use mote_core::vgic::{Affinity, VGic};
use mote_core::vpl011::Vpl011;
use mote_platform::lock::Mutex;
use mote_platform::{heap, timer};
use spin::Once;
use xen_abi::arch_arm::RAM0;
use xen_abi::errno::Errno;
use xen_abi::mote::call::Identity;
use xen_abi::mote::{CloneTemplate, flags};

use crate::domain::{Domain, Extras, Origin};
use crate::entropy;
use crate::machine::Machine;
use crate::memory::{FrameRef, GuestMemory, Promise};
use crate::pcpu::nanoseconds;
use crate::stats::Milestones;
use crate::vcpu::{Start, Vcpu, VcpuState};

/// `MPIDR_EL1` beside the affinity: bit 31 is RES1 (Arm ARM D24.2.107).
const MPIDR_RES1: u64 = 1 << 31;
/// SPIs that a domain has at least: the UART's and 31 more, as one register's worth.
pub const MIN_SPIS: u32 = 32;
/// Where the control domain finds what the boot loader left: behind this, at the machine's addresses.
const MODULES: u64 = 0x8_0000_0000;
/// The control domain's limits.
const CONTROL_GRANTS: Limits = Limits { frames: 8, mappings: 8192 };
/// Heap of a domain besides its tables: about what it takes, twice.
const STRUCTURES: u64 = 32 << 10;
const STRUCTURES_OF_VCPU: u64 = 8 << 10;
/// Heap of a clone, and pages of its own that it may have if nobody says how many.
const STRUCTURES_OF_CLONE: u64 = 8 << 10;
const CLONE_PAGES: u32 = 1000;

/// What a domain is to be.
pub struct Specification {
    /// Its number.
    pub id: DomainId,
    /// Its vCPUs, 1 to 128.
    pub vcpus: u32,
    /// Its shared interrupts.
    pub spis: u32,
    /// How far its grant tables may grow.
    pub grants: Limits,
    /// Its greatest port.
    pub ports: u32,
    /// What the control domain knows it by.
    pub handle: [u8; 16],
}

/// What a domain is made of.
struct Parts {
    memory: GuestMemory,
    vgic: VGic,
    events: EventChannels<FrameRef>,
    grants: GrantTable<FrameRef>,
}

/// Makes a domain without memory, paused, which nobody knows yet.
///
/// # Errors
/// If there is no memory for it; then nothing is left of it.
pub fn create(machine: &Machine, asked: &Specification) -> Result<Arc<Domain>, Errno> {
    let created = timer::now();
    let tables = asked.grants.heap_bytes() + events::heap_bytes(asked.ports);
    let promise = Promise::new((tables + STRUCTURES + STRUCTURES_OF_VCPU * u64::from(asked.vcpus)) as usize)?;
    let heap_before = heap::used();
    let memory = GuestMemory::new(asked.id)?;
    let vgic = VGic::new(asked.vcpus, asked.spis.max(MIN_SPIS).next_multiple_of(MIN_SPIS)).ok_or(Errno::ENOMEM)?;
    let events = EventChannels::new(asked.id, asked.vcpus as usize, asked.ports, FrameRef::zeroed()?)?;
    let parts = Parts { memory, vgic, events, grants: GrantTable::new(asked.grants) };
    let mut made = assemble(machine, asked, created, promise, parts, |mpidr| VcpuState::new(mpidr, created))?;
    if let Some(domain) = Arc::get_mut(&mut made) {
        domain.structure_bytes = heap::used().saturating_sub(heap_before) as u64;
    }
    Ok(made)
}

/// Makes a clone of a template, paused if it is to be, which nobody knows yet. `link` is the other end of the port that it is to have: it
/// has granted what its template had then.
///
/// # Errors
/// `EINVAL` if it is no template, `EBUSY` if it is being destroyed, `ENXIO` if there is no entropy, `ENOMEM`.
pub fn clone_of(
    machine: &Machine,
    template: &Arc<Domain>,
    id: DomainId,
    asked: &CloneTemplate,
    link: Option<(DomainId, u32)>,
) -> Result<Arc<Domain>, Errno> {
    let created = timer::now();
    let origin = Origin::new(template.clone())?;
    let grants = Limits { frames: origin.grants.lock().frames(), mappings: 0 };
    let promise = Promise::new((grants.heap_bytes() + STRUCTURES_OF_CLONE) as usize)?;
    let heap_before = heap::used();
    let seed = entropy::seed().ok_or(Errno::ENXIO)?;
    let identity = Identity { domain: id.get(), seed, argument: asked.argument };
    let pages = if asked.pages == 0 { CLONE_PAGES } else { asked.pages };
    // Whoever became a template may still be on its way off a pCPU, and keeps this locked until its registers are here.
    let fork = |_| origin.vcpu(VcpuId(0)).state.lock().fork(&identity, nanoseconds(created));
    let mut parts = Parts {
        memory: origin.memory.lock().clone_of(id, pages.into())?,
        vgic: origin.vgic.lock().clone(),
        events: EventChannels::new(id, 1, FEW_PORTS, FrameRef::zeroed()?)?,
        grants: GrantTable::new(grants),
    };
    if let Some((caller, port)) = link {
        parts.events.connect(asked.port, caller, port)?;
        origin
            .grants
            .lock()
            .pages()
            .try_for_each(|page| parts.grants.add_frame(page.copied()?).map_err(|_| Errno::ENOMEM))?;
    }
    let specification = Specification { id, vcpus: 1, spis: MIN_SPIS, grants, ports: 0, handle: *origin.handle.lock() };
    let mut made = assemble(machine, &specification, created, promise, parts, fork)?;
    // Nobody else has it yet.
    if let Some(domain) = Arc::get_mut(&mut made) {
        domain.uart.call_once(|| origin.uart().map(|_| Mutex::new(Vpl011::new())));
        domain.ephemeral = AtomicBool::new(asked.flags & flags::EPHEMERAL != 0);
        domain.pauses = AtomicU32::new(u32::from(asked.flags & flags::PAUSED != 0));
        domain.milestones.built = AtomicU64::new(timer::now());
        if asked.ticks != 0 {
            domain.pv.last_tick = AtomicU64::new(created.saturating_add(asked.ticks));
        }
        domain.origin = Some(origin);
        domain.structure_bytes = heap::used().saturating_sub(heap_before) as u64;
    }
    Ok(made)
}

fn assemble(
    machine: &Machine,
    asked: &Specification,
    created: u64,
    promise: Promise,
    Parts { memory, vgic, events, grants }: Parts,
    new_state: impl FnMut(u64) -> VcpuState,
) -> Result<Arc<Domain>, Errno> {
    let (root, tag) = memory.translation();
    Ok(Arc::new(Domain {
        id: asked.id,
        serial: machine.serial(),
        handle: Mutex::new(asked.handle),
        output: Mutex::default(),
        uart: Once::new(),
        power: Mutex::new(Power::new(asked.vcpus)),
        alive: AtomicUsize::new(asked.vcpus as usize),
        pauses: AtomicU32::new(1),
        memory: Mutex::new(memory),
        root,
        tag,
        vgic: Mutex::new(vgic),
        events: Mutex::new(events),
        grants: Mutex::new(grants),
        peers: Mutex::new(Vec::new()),
        pv: Extras::default(),
        milestones: Milestones { created, ..Milestones::default() },
        structure_bytes: 0,
        last_on: (0..machine.pcpus()).map(|_| AtomicU8::new(0)).collect(),
        end: Once::new(),
        gone: AtomicBool::new(false),
        ephemeral: AtomicBool::new(false),
        clones: Once::new(),
        origin: None,
        vcpus: make_vcpus(machine, asked.vcpus, new_state)?,
        _promise: promise,
    }))
}

/// What the control domain is built from, each time that it is: its image, its tree, its memory in bytes, and the machine's tree.
pub struct Control {
    /// What is its own.
    pub modules: Modules,
    /// What it learns of the machine and of the domains to build.
    pub machine_tree: PaRange,
}

impl Control {
    /// What of RAM stays as the boot loader left it.
    pub fn kept(&self) -> [PaRange; 3] {
        [self.modules.image, self.modules.tree, self.machine_tree]
    }

    /// Builds it and lets it run. The first time it gets all modules; the handle says how many times it was built before.
    ///
    /// # Errors
    /// If there is no memory for it, or too little of its own.
    pub fn build(&self, machine: &Machine, before: u8) -> Result<(), Errno> {
        let (id, handle, grants, ports) = (DomainId::CONTROL, [before; 16], CONTROL_GRANTS, MAX_PORT);
        let asked = Specification { id, vcpus: 1, spis: MIN_SPIS, grants, ports, handle };
        let domain = create(machine, &asked)?;
        let Modules { image, memory: bytes, tree, ref all } = self.modules;
        let (ram, end) = (RAM0.base, RAM0.base + bytes);
        let own_tree = Ipa(end.saturating_sub(tree.size()) & !(PAGE_SIZE - 1));
        let machine_tree = self.machine_tree.in_pages();
        let mut memory = domain.memory.lock();
        memory.allow(bytes + machine_tree.size());
        // Before it gets other memory, which might be theirs.
        let others = all.iter().filter(|module| before == 0 && !self.kept().contains(module));
        others.into_iter().try_for_each(|module| memory.adopt(module.in_pages(), MODULES))?;
        memory.fill(Ipa(ram), bytes)?;
        memory.copy_in(image, Ipa(ram))?;
        memory.copy_in(tree, own_tree)?;
        let place = Ipa(MODULES + machine_tree.base().0);
        memory.fill(place, machine_tree.size())?;
        memory.copy_in(machine_tree, place)?;
        drop(memory);
        domain.uart.call_once(|| None);
        *domain.output.lock() = Output::new("control".into(), "".into());
        machine.add(&domain);
        domain.start(VcpuId(0), Start { entry: ram, context: own_tree.0 });
        domain.unpause();
        Ok(())
    }
}

fn make_vcpus(
    machine: &Machine,
    count: u32,
    mut new_state: impl FnMut(u64) -> VcpuState,
) -> Result<Box<[Vcpu]>, Errno> {
    let mut vcpus = Vec::new();
    // Just so many: to move their states once more takes time.
    vcpus.try_reserve_exact(count as usize).map_err(|_| Errno::ENOMEM)?;
    for number in 0..count {
        let Some(slot) = machine.reserve_slot(DEFAULT_WEIGHT) else {
            vcpus.iter().for_each(|vcpu: &Vcpu| machine.free_slot(vcpu.slot));
            return Err(Errno::ENOMEM);
        };
        let id = VcpuId(number as u8);
        let mpidr = MPIDR_RES1 | u64::from(Affinity::of(id).0);
        vcpus.push(Vcpu {
            id,
            slot,
            state: Mutex::new(new_state(mpidr)),
            start: Mutex::new(None),
            runstate_area: Mutex::new(None),
            gone: AtomicBool::new(false),
        });
    }
    Ok(vcpus.into())
}
