//! The physical GICv3: set up by `arm-gic`, used with priority drop and deactivation apart
//! (EOImode 1), so that an interrupt given to a guest is deactivated by the guest's own EOI.

use core::arch::asm;
use core::ops::Range;
use core::ptr::NonNull;

use aarch64_cpu::asm::barrier;
use alloc::vec::Vec;
use arm_gic::gicv3::registers::{Gicd, GicrSgi};
use arm_gic::gicv3::{
    GicCpuInterface, GicDistributor, GicRedistributor, GicRedistributorIterator, SgiTarget, SgiTargetGroup,
};
use arm_gic::{IntId, InterruptGroup, Trigger, UniqueMmioPointer};
use spin::Once;

use crate::lock::Mutex;
use crate::{cpu, mmu};

/// The SGI by which pCPUs ask each other to look at their run queue and pending interrupts.
pub const KICK: u32 = 0;

/// Size of one redistributor's two frames (GICv3 12.10); GICv4's are a multiple found from `GICR_TYPER`.
const REDISTRIBUTOR_FRAMES: usize = 0x2_0000;
/// Offsets in a redistributor (GICv3 12.11): the SGI frame's set-active and clear-active registers.
const GICR_ISACTIVER0: usize = 0x1_0300;
const GICR_ICACTIVER0: usize = 0x1_0380;

/// The distributor, once the boot CPU has set it up.
static DISTRIBUTOR: Mutex<Option<GicDistributor<'static>>> = Mutex::new(None);
/// Where the machine's regions of redistributors begin; known from then on.
static REDISTRIBUTORS: Once<Vec<usize>> = Once::new();

/// Sets up the distributor, all interrupts off, and remembers the redistributors. Once, on the boot CPU.
///
/// # Errors
/// If their registers cannot be mapped.
pub fn init(distributor: Range<usize>, redistributors: &[Range<usize>]) -> Result<(), mmu::MapError> {
    for region in redistributors {
        mmu::map_device::<GicrSgi>(region)?;
    }
    let registers: NonNull<Gicd> = mmu::map_device(&distributor)?;
    // SAFETY: the range was just mapped as device memory, the device tree says that it is the
    // distributor, and `DISTRIBUTOR` holds the only driver ever made for it.
    let mut distributor = GicDistributor::new(unsafe { UniqueMmioPointer::new(registers) });
    distributor.configure_default_settings();
    *DISTRIBUTOR.lock() = Some(distributor);
    REDISTRIBUTORS.call_once(|| redistributors.iter().map(|region| region.start).collect());
    Ok(())
}

/// The calling CPU's redistributor.
pub struct Redistributor {
    driver: GicRedistributor<'static>,
    base: usize,
}

/// Brings up the calling CPU's interface with all its private interrupts off but the kick; nothing if no redistributor has the
/// CPU's affinity.
pub fn init_this_cpu() -> Option<Redistributor> {
    GicCpuInterface::enable_system_register_el2(true);
    let mut redistributor = find_redistributor()?;
    // An error only says that the core was awake.
    let _ = redistributor.driver.mark_core_awake();
    redistributor.driver.configure_default_settings();
    GicCpuInterface::enable_system_register_el1();
    // SAFETY: ICC_CTLR_EL1.EOImode (GICv3 12.2.9) makes the end of an interrupt a priority drop alone, and changes no memory.
    unsafe { asm!("msr s3_0_c12_c12_4, {}", in(reg) 1_u64 << 1, options(nomem, nostack, preserves_flags)) };
    GicCpuInterface::set_priority_mask(0xff);
    GicCpuInterface::enable_group1(true);
    redistributor.enable(KICK)?;
    barrier::isb(barrier::SY);
    Some(redistributor)
}

fn find_redistributor() -> Option<Redistributor> {
    let affinity = cpu::this_affinity();
    for &region in REDISTRIBUTORS.get()? {
        let frames = NonNull::new(region as *mut GicrSgi)?;
        // SAFETY: `init` mapped the region as device memory; each CPU makes a driver only for
        // the redistributor whose affinity is its own, and reads no more than the others' type.
        let iterator = unsafe { GicRedistributorIterator::new(frames) }.ok()?;
        let mut base = region;
        for driver in iterator {
            let typer = driver.typer();
            if typer.core_mpidr() == affinity {
                return Some(Redistributor { driver, base });
            }
            // GICv4 has two more frames for virtual LPIs (GICv4 12.10).
            base += REDISTRIBUTOR_FRAMES << u32::from(typer.virtual_lpis_supported());
        }
    }
    None
}

impl Redistributor {
    /// Lets a private interrupt through to the calling CPU; nothing if `intid` is not an SGI or PPI.
    pub fn enable(&mut self, intid: u32) -> Option<()> {
        self.driver.enable_interrupt(IntId::try_from(intid).ok()?, true).ok()
    }

    /// Makes a private interrupt active or inactive, as a vCPU that has it in hand comes and goes. `intid` is below 32.
    pub fn set_active(&mut self, intid: u32, active: bool) {
        let register = self.base + if active { GICR_ISACTIVER0 } else { GICR_ICACTIVER0 };
        // SAFETY: the register lies in this CPU's redistributor, mapped as device memory; a
        // write of one bit changes one interrupt's active state and no memory.
        unsafe { core::ptr::write_volatile(register as *mut u32, 1 << (intid & 31)) };
        barrier::dsb(barrier::SY);
    }
}

/// Lets a shared interrupt through to the calling CPU, taken for an edge or a level, or none of it; nothing if `intid` is not an
/// SPI, or the distributor was never set up.
pub fn set_shared(intid: u32, enabled: bool, edge: bool) -> Option<()> {
    let mut distributor = DISTRIBUTOR.lock();
    let distributor = distributor.as_mut()?;
    let intid = IntId::try_from(intid).ok()?;
    distributor.set_routing(intid, Some(cpu::this_affinity())).ok()?;
    distributor.enable_interrupt(intid, false).ok()?;
    distributor.wait_for_pending_write();
    distributor.set_trigger(intid, if edge { Trigger::Edge } else { Trigger::Level }).ok()?;
    if enabled { distributor.enable_interrupt(intid, true).ok() } else { Some(()) }
}

/// Acknowledges the pending interrupt of highest priority and gives its INTID. The running priority is dropped, so that others
/// may be signalled; this one stays active.
pub fn acknowledge() -> Option<u32> {
    let intid = GicCpuInterface::get_and_acknowledge_interrupt(InterruptGroup::Group1)?;
    GicCpuInterface::end_interrupt(intid, InterruptGroup::Group1);
    Some(intid.into())
}

/// Deactivates `intid`, which may be signalled again from then on.
pub fn deactivate(intid: u32) {
    // SAFETY: ICC_DIR_EL1 (GICv3 12.2.10) changes the state of an interrupt of this CPU, no memory.
    unsafe { asm!("msr s3_0_c12_c11_1, {}", "isb", in(reg) u64::from(intid), options(nostack, preserves_flags)) };
}

/// Sends [`KICK`] to the CPU with the given affinity.
pub fn kick(mpidr: u64) {
    let [aff0, affinity1, affinity2, _, affinity3, ..] = mpidr.to_le_bytes();
    // What the waker wrote must be seen by whom it wakes.
    barrier::dsb(barrier::ISHST);
    let target = SgiTarget::List { affinity3, affinity2, affinity1, target_list: 1 << (aff0 & 0xf) };
    // It cannot fail: KICK is an SGI.
    let _ = GicCpuInterface::send_sgi(IntId::sgi(KICK), target, SgiTargetGroup::CurrentGroup1);
    barrier::isb(barrier::SY);
}
