//! Interrupts: a GICv3, of which a vCPU sets up its own part when it asks for its first interrupt.

use core::ptr::NonNull;

use aarch64_cpu::{
    asm::barrier,
    registers::{DAIF, ReadWriteable, Readable, Writeable},
};
use arm_gic::{
    InterruptGroup, UniqueMmioPointer,
    gicv3::{
        GicCpuInterface, GicDistributor, GicRedistributor, GicRedistributorIterator, Group, SgiTarget, SgiTargetGroup,
        registers::{Gicd, GicdCtlr, GicrSgi},
    },
};
use spin::Mutex;

use crate::{Machine, arch};

pub use arm_gic::IntId;

/// What is called for an interrupt: on the vCPU that takes it, with interrupts masked. It may not wait for a lock that
/// other code takes with interrupts unmasked.
pub type Handler = fn(IntId);

/// How many interrupts can have a handler.
const HANDLERS_MAX: usize = 32;
/// Lets interrupts of every priority through (ICC_PMR_EL1).
const LOWEST_PRIORITY: u8 = 0xff;

static HANDLERS: Mutex<[Option<(IntId, Handler)>; HANDLERS_MAX]> = Mutex::new([None; HANDLERS_MAX]);

/// Has `handler` called for `interrupt` from now on, and enables it: an SGI or PPI on this vCPU alone, an SPI for
/// this vCPU.
///
/// # Panics
///
/// If there is no GICv3, no such interrupt, or no room for one more handler.
pub fn register(interrupt: IntId, handler: Handler) {
    masked(|| {
        let mut handlers = HANDLERS.lock();
        let same = |slot: &&mut Option<(IntId, Handler)>| slot.is_none_or(|(id, _)| id == interrupt);
        *handlers.iter_mut().find(same).expect("too many handlers") = Some((interrupt, handler));
        enable(interrupt);
    });
}

/// Sends software-generated interrupt `interrupt` to vCPU `cpu`. Memory written before is seen by its handler.
///
/// # Panics
///
/// If there is no such vCPU, or `interrupt` is no SGI.
pub fn send(interrupt: IntId, cpu: usize) {
    let affinity = Machine::get().and_then(|machine| machine.affinities().nth(cpu)).expect("no such vCPU");
    let [aff0, affinity1, affinity2, _, affinity3, ..] = affinity.to_le_bytes();
    let target = SgiTarget::List { affinity3, affinity2, affinity1, target_list: 1 << aff0 };
    barrier::dsb(barrier::ISHST);
    let sent = GicCpuInterface::send_sgi(interrupt, target, SgiTargetGroup::CurrentGroup1);
    assert!(sent.is_ok(), "not an SGI");
    barrier::isb(barrier::SY);
}

/// Runs `critical` with interrupts masked on this vCPU.
#[inline]
pub fn masked<T>(critical: impl FnOnce() -> T) -> T {
    let before = DAIF.get();
    mask();
    let value = critical();
    DAIF.set(before);
    value
}

/// Masks interrupts on this vCPU.
pub(crate) fn mask() {
    DAIF.modify(DAIF::I::Masked);
}

/// Unmasks interrupts on this vCPU, and SErrors with them.
pub(crate) fn unmask() {
    DAIF.modify(DAIF::I::Unmasked + DAIF::A::Unmasked);
}

/// Calls the handlers of all pending interrupts. The vectors' way in.
pub(crate) extern "C" fn dispatch() {
    while let Some(interrupt) = GicCpuInterface::get_and_acknowledge_interrupt(InterruptGroup::Group1) {
        let handler = HANDLERS.lock().iter().flatten().find(|(id, _)| *id == interrupt).copied();
        if let Some((_, handler)) = handler {
            handler(interrupt);
        }
        GicCpuInterface::end_interrupt(interrupt, InterruptGroup::Group1);
    }
}

/// Enables `interrupt`, and before it what of the GIC this vCPU has not set up yet.
fn enable(interrupt: IntId) {
    let mut redistributor = redistributor().expect("no GICv3");
    // Already awake is as good.
    let _ = redistributor.mark_core_awake();
    GicCpuInterface::set_priority_mask(LOWEST_PRIORITY);
    GicCpuInterface::enable_group1(true);
    let mut distributor = distributor().expect("no GICv3");
    distributor.modify_control(GicdCtlr::ARE_NS | GicdCtlr::EnableGrp1NS, true);
    let enabled = if interrupt.is_private() {
        let group = redistributor.set_group(interrupt, Group::Group1NS);
        group.and_then(|()| redistributor.enable_interrupt(interrupt, true))
    } else {
        let group = distributor.set_group(interrupt, Group::Group1NS);
        group
            .and_then(|()| distributor.set_routing(interrupt, Some(arch::affinity())))
            .and_then(|()| distributor.enable_interrupt(interrupt, true))
    };
    assert!(enabled.is_ok(), "no such interrupt");
}

fn distributor() -> Option<GicDistributor<'static>> {
    let range = Machine::get()?.device("arm,gic-v3").next()?;
    let registers = NonNull::new(range.start as *mut Gicd)?;
    // SAFETY: the device tree says that a distributor is there, and only `enable` uses it, under the handlers' lock.
    Some(GicDistributor::new(unsafe { UniqueMmioPointer::new(registers) }))
}

/// This vCPU's redistributor.
fn redistributor() -> Option<GicRedistributor<'static>> {
    let range = Machine::get()?.device("arm,gic-v3").nth(1)?;
    let first = NonNull::new(range.start as *mut GicrSgi)?;
    // SAFETY: the device tree says that redistributors are there, and only `enable` uses them, under the handlers' lock.
    let mut all = unsafe { GicRedistributorIterator::new(first) }.ok()?;
    all.find(|redistributor| redistributor.typer().core_mpidr() == arch::affinity())
}
