//! Building one domain: everything about it is worked out before it is made, and what fails then leaves nothing behind.

use alloc::vec::Vec;

use mote_builder::addr::{BLOCK_SIZE, Ipa, PAGE_SIZE};
use mote_builder::config::{DEFAULT_WEIGHT, Definition};
use mote_builder::layout::IpaRange;
use mote_builder::passthrough::Devices;
use mote_builder::plan::{Images, Plan, PlanError};
use mote_builder::random::SEED;
use mote_builder::sorted;
use mote_unikernel::xen::foreign::Window;
use mote_unikernel::xen::{Errno, domains};
use thiserror::Error;
use xen_abi::Zeroed;
use xen_abi::domctl::{ArchConfig, CoreRegs, CreateDomain, VGCF_ONLINE, VcpuContext, create};
use xen_abi::mote::flags;

use crate::console;
use crate::domains::handle;
use crate::orders::Order;
use crate::record::Kept;
use crate::stock;

/// Pages in a block, as a power of two.
const BLOCK_ORDER: u32 = (BLOCK_SIZE / PAGE_SIZE).trailing_zeros();
/// Extents of memory that are asked for at once.
const PART: usize = 128;
/// Bytes of the rings that a domain has for console and xenstore, besides its memory.
const MAGIC: u64 = 2 * PAGE_SIZE;
/// SPIs that a domain has without devices: the UART's and 31 more.
const SPIS: u32 = 32;
/// `SPSR_EL2` of a vCPU that starts: EL1h, everything masked (Arm ARM C5.2.19).
const START_STATE: u64 = 0x3c5;
/// `SCTLR_EL1` of a vCPU that starts, as on Xen: no MMU, no caches.
const START_CONTROL: u64 = 0x00c5_0078;

/// Why a domain was not built.
#[derive(Debug, Error)]
pub enum BuildError {
    /// It cannot be as it is asked for.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Its modules are not there any more.
    #[error("its modules are not in memory")]
    Modules,
    /// The machine lacks memory for it.
    #[error("the machine has not enough memory left")]
    Memory,
    /// There is to be none.
    #[error("{0}")]
    Unwanted(&'static str),
    /// The hypervisor refuses something.
    #[error("the hypervisor refuses {0}: error {1}")]
    Refused(&'static str, i32),
}

/// What is asked for besides the definition.
#[derive(Clone, Copy, Default)]
pub struct Wishes {
    /// The number it is to have.
    pub id: Option<u16>,
    /// A seed for its random numbers.
    pub seed: Option<[u8; SEED]>,
    /// Who asked for it, if a driver domain did.
    pub order: Option<Order>,
}

/// A domain that is being built. Dropped, it is destroyed.
struct Unfinished(u16);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // It is there until then: nothing else can keep it.
        let _ = domains::destroy(self.0);
    }
}

impl Unfinished {
    fn finish(self) -> u16 {
        let id = self.0;
        core::mem::forget(self);
        id
    }
}

/// A domain that was built.
pub struct Built {
    /// Its number.
    pub id: u16,
    /// Where the registers of its virtio devices are in the machine.
    pub virtio: Vec<u64>,
}

/// Builds a domain, which stays paused.
///
/// # Errors
/// Why it was not built; then nothing is left of it.
pub fn build(
    definition: &Definition,
    images: Images<'_>,
    wishes: Wishes,
    window: &mut Window,
) -> Result<Built, BuildError> {
    let plan = Plan::new(definition, images)?;
    let placed = if definition.direct_map { None } else { Some(plan.place(plan.banks()?, wishes.seed)?) };
    let domain = Unfinished(create(definition, wishes, plan.devices())?);
    let id = domain.0;
    let contents = match placed {
        Some(placed) => {
            plan.banks()?.iter().try_for_each(|bank| populate(id, *bank))?;
            placed
        }
        None => plan.place(populate_anywhere(id, definition.memory)?, wishes.seed)?,
    };
    if definition.enhanced {
        let mut pages = [console::FRAME, console::FRAME + 1];
        domains::populate(id, &mut pages, 0).map_err(|_| BuildError::Memory)?;
    }
    give_devices(id, plan.devices())?;
    let loaded = contents.pieces.iter().try_for_each(|(at, bytes)| window.write(id, at.0, bytes));
    // Else it could not be destroyed.
    window.close();
    loaded.map_err(refused("to load it"))?;
    start(id, contents.entry, contents.tree)?;
    Ok(Built { id: domain.finish(), virtio: plan.devices().virtio.clone() })
}

/// Makes a domain that never runs, and puts images in its memory, for others to be built from. The answer is its number and where they are.
///
/// # Errors
/// Why it was not made; then nothing is left of it.
pub fn shelve(
    definition: &Definition,
    images: &Images<'_>,
    wishes: Wishes,
    window: &mut Window,
) -> Result<(u16, Kept), BuildError> {
    // Such as cannot be built is not kept.
    Plan::new(definition, *images)?;
    let kept = stock::plan(images);
    let range = kept.range();
    let shelf = Definition::bare(&definition.name, range.size, definition.kernel);
    let domain = Unfinished(create(&shelf, wishes, &Devices::default())?);
    populate(domain.0, range)?;
    let mut parts = kept.offsets().into_iter().zip(stock::parts(images));
    let written = parts.try_for_each(|(at, bytes)| window.write(domain.0, range.base.0 + at, bytes));
    window.close();
    written.map_err(refused("to load it"))?;
    Ok((domain.finish(), kept))
}

fn create(definition: &Definition, wishes: Wishes, devices: &Devices) -> Result<u16, BuildError> {
    let interrupts = devices.interrupts.last().map_or(0, |last| (last + 1).saturating_sub(SPIS));
    let arch = ArchConfig { nr_spis: interrupts.max(SPIS).next_multiple_of(SPIS), ..ArchConfig::new_zeroed() };
    let asked = CreateDomain {
        flags: create::HVM | create::HAP,
        max_vcpus: definition.vcpus,
        max_evtchn_port: definition.max_port(),
        max_grant_frames: definition.max_grant_frames as i32,
        max_maptrack_frames: definition.max_maptrack_frames as i32,
        grant_opts: 1,
        arch,
        handle: handle(&definition.name),
        ..CreateDomain::new_zeroed()
    };
    let id = domains::create(wishes.id, asked).map_err(refused("to make it"))?;
    let domain = Unfinished(id);
    let has = [
        (definition.vpl011, flags::VPL011),
        (definition.track_touched, flags::TRACK_TOUCHED),
        (definition.direct_map, flags::DIRECT_MAP),
        (definition.driver, flags::DRIVER),
        (definition.ephemeral, flags::EPHEMERAL),
    ];
    let flags = has.iter().filter(|(has, _)| *has).fold(0, |all, (_, flag)| all | flag);
    let ready = definition.ready.as_deref().unwrap_or("");
    domains::describe(id, &definition.name, ready, flags).map_err(refused("its description"))?;
    domains::set_vcpus(id, definition.vcpus).map_err(refused("its vCPUs"))?;
    domains::limit_memory(id, definition.memory + MAGIC).map_err(refused("its memory"))?;
    if definition.weight != DEFAULT_WEIGHT {
        domains::set_weight(id, definition.weight as u16).map_err(refused("its weight"))?;
    }
    Ok(domain.finish())
}

/// Gives it memory at a place: in blocks where these fit, in as few extents as possible elsewhere.
fn populate(domain: u16, bank: IpaRange) -> Result<(), BuildError> {
    let (mut at, end) = (bank.base.0 / PAGE_SIZE, (bank.base.0 + bank.size) / PAGE_SIZE);
    while at < end {
        let order = (end - at).ilog2().min(at.trailing_zeros()).min(BLOCK_ORDER);
        let fitting = (end - at) >> order;
        // Smaller ones come before and behind blocks, one of each size.
        let count = if order == BLOCK_ORDER { fitting.min(PART as u64) } else { 1 };
        let mut part: Vec<u64> = (0..count).map(|extent| at + (extent << order)).collect();
        domains::populate(domain, &mut part, order).map_err(|_| BuildError::Memory)?;
        at += count << order;
    }
    Ok(())
}

/// Gives it memory where the machine has some. The answer is where that is, in runs.
fn populate_anywhere(domain: u16, memory: u64) -> Result<Vec<IpaRange>, BuildError> {
    let mut frames: Vec<u64> = (0..memory / BLOCK_SIZE).map(|block| block << BLOCK_ORDER).collect();
    for part in frames.chunks_mut(PART) {
        domains::populate(domain, part, BLOCK_ORDER).map_err(|_| BuildError::Memory)?;
    }
    let mut runs: Vec<IpaRange> = Vec::new();
    for frame in sorted(frames) {
        let base = frame * PAGE_SIZE;
        match runs.last_mut().filter(|run| run.base.0 + run.size == base) {
            Some(run) => run.size += BLOCK_SIZE,
            None => runs.push(IpaRange { base: Ipa(base), size: BLOCK_SIZE }),
        }
    }
    Ok(runs)
}

fn give_devices(domain: u16, devices: &Devices) -> Result<(), BuildError> {
    for pages in &devices.pages {
        domains::give_pages(domain, pages.gfn, pages.mfn, pages.count).map_err(refused("a device's registers"))?;
    }
    for &interrupt in &devices.interrupts {
        domains::give_interrupt(domain, interrupt).map_err(refused("a device's interrupt"))?;
    }
    Ok(())
}

/// Has its first vCPU begin where its kernel does, as soon as it is unpaused.
fn start(domain: u16, entry: Ipa, tree: Ipa) -> Result<(), BuildError> {
    let mut registers = CoreRegs { pc64: entry.0, cpsr: START_STATE, ..CoreRegs::new_zeroed() };
    registers.x[0] = tree.0;
    let context =
        VcpuContext { flags: VGCF_ONLINE, user_regs: registers, sctlr: START_CONTROL, ..VcpuContext::new_zeroed() };
    domains::set_vcpu(domain, 0, &context).map_err(refused("its first vCPU"))
}

fn refused(what: &'static str) -> impl Fn(Errno) -> BuildError {
    move |error| match error {
        Errno::ENOMEM => BuildError::Memory,
        error => BuildError::Refused(what, error.number()),
    }
}
