//! Stage 2 as the CPU sees it: which tables are in force, and what its TLBs may still remember
//! (Arm ARM D8.2, D8.17).

use core::arch::asm;
use core::sync::atomic::AtomicU64;

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{ID_AA64MMFR1_EL1, Readable, VTCR_EL2, VTTBR_EL2, Writeable};

use crate::mmu;

/// Bits of an IPA.
const IPA_BITS: u32 = 39;
/// Where `VTTBR_EL2` has the VMID.
const VMID_SHIFT: u32 = 48;

/// Makes the root table at physical address `table`, under `vmid`, the translation of the guest that runs next on the calling CPU. Walks that
/// the guest before has begun are over before its registers change (Arm ARM R_LFHQG).
pub fn load(table: u64, vmid: u16) {
    barrier::dsb(barrier::NSH);
    VTTBR_EL2.set(table | u64::from(vmid) << VMID_SHIFT);
    barrier::isb(barrier::SY);
}

/// Leaves the guest that ran last: until another is loaded, no translation of its is in force on the calling CPU.
pub fn leave_guest() {
    load_nothing(0);
}

/// A table in which nothing is mapped, under this VMID.
fn load_nothing(vmid: u16) {
    /// Atomic, so that it takes no room in the image.
    #[repr(align(4096))]
    struct Nothing([AtomicU64; 512]);
    static NOTHING: Nothing = Nothing([const { AtomicU64::new(0) }; 512]);
    load(NOTHING.0.as_ptr() as u64, vmid);
}

/// Forgets on all CPUs what translations under `vmid` said of the page at `ipa`, and what stage 1 made of it.
pub fn invalidate_page(vmid: u16, ipa: u64) {
    with_vmid(vmid, || {
        // SAFETY: dropping cached translations never changes what the tables say.
        unsafe {
            asm!(
                "dsb ishst", "tlbi ipas2e1is, {}", "dsb ish", "tlbi vmalle1is", "dsb ish", "isb",
                in(reg) ipa >> 12, options(nostack, preserves_flags)
            );
        }
    });
}

/// Forgets on all CPUs all that is tagged with this VMID.
pub fn invalidate_all(vmid: u16) {
    with_vmid(vmid, || {
        // SAFETY: as above.
        unsafe { asm!("dsb ishst", "tlbi vmalls12e1is", "dsb ish", "isb", options(nostack, preserves_flags)) };
    });
}

/// Forgets on all CPUs all that is tagged with any VMID, also in instruction caches that know VMIDs.
pub fn forget_all() {
    // SAFETY: as above.
    unsafe { asm!("dsb ishst", "tlbi alle1is", "ic ialluis", "dsb ish", "isb", options(nostack, preserves_flags)) };
}

/// TLBI by VMID takes the VMID in force. No translation goes with it meanwhile: the tables of whose it is may be gone, or the VMID be
/// another's by now. Under VMID 0 nobody ever ran.
fn with_vmid(vmid: u16, f: impl FnOnce()) {
    let current = VTTBR_EL2.get();
    let loaded = (current >> VMID_SHIFT) as u16;
    if vmid == loaded {
        f();
    } else if vmid != 0 {
        load_nothing(vmid);
        f();
        load(current & !(0xffff << VMID_SHIFT), loaded);
    }
}

/// Forgets what stage 1 of the guest in force said on the calling CPU: another vCPU of the same domain, with
/// tables of its own under the same numbers, is about to run here.
pub fn forget_stage1() {
    // SAFETY: dropping cached translations never changes what the tables say.
    unsafe { asm!("tlbi vmalle1", "ic iallu", "dsb nsh", "isb", options(nostack, preserves_flags)) };
}

/// Makes what was written to tables visible to the walkers of all CPUs.
pub fn publish() {
    barrier::dsb(barrier::ISHST);
}

/// The greatest VMID on this machine, where they have 8 or 16 bits (Arm ARM D8.15.3).
pub fn greatest_vmid() -> u16 {
    if ID_AA64MMFR1_EL1.read(ID_AA64MMFR1_EL1::VMIDBits) == 0b10 { u16::MAX } else { u8::MAX.into() }
}

/// Sets `VTCR_EL2` on the calling CPU (Arm ARM D24.2.191): RES1 bit, inner-shareable write-back walks of 4 KiB tables from
/// level 1, with as many bits of a VMID as there are.
pub(crate) fn configure() {
    const VTCR: u64 = 1 << 31 | 0b11 << 12 | 0b01 << 10 | 0b01 << 8 | 0b01 << 6 | (64 - IPA_BITS) as u64;
    VTCR_EL2.set(VTCR | mmu::physical_size() << 16 | u64::from(greatest_vmid() == u16::MAX) << 19);
}
