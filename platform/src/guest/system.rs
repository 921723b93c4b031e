//! What makes the CPU a given vCPU, besides its general registers: system registers, floating point, and the traps that keep
//! it within bounds.

use core::arch::asm;

use aarch64_cpu::asm::barrier;

use crate::register::{pairs, read, saved_registers};
use crate::stage2;

saved_registers! {
    /// The system registers that a vCPU owns while it runs. The guest goes on at `elr_el2` with PSTATE `spsr_el2`.
    pub struct SystemRegisters {
        elr_el2 spsr_el2 vmpidr_el2 cntvoff_el2
        sp_el0 sp_el1 elr_el1 spsr_el1
        sctlr_el1 cpacr_el1 ttbr0_el1 ttbr1_el1 tcr_el1
        esr_el1 afsr0_el1 afsr1_el1 far_el1 mair_el1 amair_el1 vbar_el1
        contextidr_el1 tpidr_el0 tpidr_el1 tpidrro_el0 par_el1 csselr_el1
        cntkctl_el1 cntv_cval_el0 cntv_ctl_el0
    }
}

/// `SPSR_EL2`: EL1 with its own stack pointer; D, A, I and F masked.
const PSTATE_EL1H_MASKED: u64 = 0x3c5;
/// `SCTLR_EL1` as Xen hands a vCPU over: RES1 bits set, MMU and caches off.
const SCTLR_RESET: u64 = 0x00c5_0078;

impl SystemRegisters {
    /// A vCPU at `entry`, just switched on, that reads `mpidr` as its own and counts virtual time from
    /// physical tick `time_origin`.
    pub fn at_reset(entry: u64, mpidr: u64, time_origin: u64) -> Self {
        Self {
            elr_el2: entry,
            spsr_el2: PSTATE_EL1H_MASKED,
            vmpidr_el2: mpidr,
            cntvoff_el2: time_origin,
            sctlr_el1: SCTLR_RESET,
            ..Self::default()
        }
    }

    /// Takes the registers from the calling CPU, and keeps the virtual timer from asserting for nobody.
    pub fn save(&mut self) {
        self.read();
        // SAFETY: switches the virtual timer's output off.
        unsafe { asm!("msr cntv_ctl_el0, xzr", "isb", options(nomem, nostack, preserves_flags)) };
    }

    /// Puts the registers into the calling CPU.
    pub fn load(&self) {
        self.write();
        barrier::isb(barrier::SY);
    }
}

/// Assembly that stores or loads q0 to q31 at `{at}`.
macro_rules! vectors {
    ($access:literal) => {
        pairs!($access, "q", 16, "{at}, #0": 0 1, 2 3, 4 5, 6 7, 8 9, 10 11, 12 13, 14 15, 16 17, 18 19, 20 21, 22 23,
            24 25, 26 27, 28 29, 30 31)
    };
}

/// The SIMD and floating-point registers. EL2 itself uses none, so they change hands only with the vCPU. By default all zero.
#[repr(C, align(16))]
#[derive(Clone, Default)]
pub struct FloatingPoint {
    vectors: [u128; 32],
    control: u64,
    status: u64,
}

impl FloatingPoint {
    /// Takes the registers from the calling CPU.
    pub fn save(&mut self) {
        // SAFETY: writes the 512 bytes of `vectors`.
        unsafe {
            asm!(
                ".arch_extension fp", ".arch_extension simd", vectors!("stp"), "mrs {control}, fpcr", "mrs {status}, fpsr",
                ".arch_extension nosimd", ".arch_extension nofp", at = in(reg) &raw mut self.vectors,
                control = out(reg) self.control, status = out(reg) self.status, options(nostack, preserves_flags)
            );
        }
    }

    /// Puts the registers into the calling CPU.
    pub fn load(&self) {
        // SAFETY: reads the 512 bytes of `vectors`; EL2 keeps nothing in these registers.
        unsafe {
            asm!(
                ".arch_extension fp", ".arch_extension simd", vectors!("ldp"), "msr fpcr, {control}", "msr fpsr, {status}",
                ".arch_extension nosimd", ".arch_extension nofp", at = in(reg) &raw const self.vectors,
                control = in(reg) self.control, status = in(reg) self.status, options(nostack, preserves_flags)
            );
        }
    }
}

/// `HCR_EL2` (Arm ARM D24.2.53). All that later versions of the architecture added (pointer authentication, tagging,
/// nesting …) stays off, so its use is undefined.
const HCR: u64 = 0b111 // VM, SWIO, PTW: stage 2 on
    | 0b111 << 3 // FMO, IMO, AMO: interrupts and SErrors to EL2
    | 0b11 << 9 // FB, BSU: barriers and invalidations reach the inner shareable domain
    | 0b11 << 13 // TWI, TWE: WFI and WFE to EL2
    | 0b1111 << 18 // TID3, TSC, TIDCP, TACR: ID registers, SMC, implementation-defined and auxiliary registers to EL2
    | 1 << 31 // RW: EL1 is AArch64
    | 0b11 << 35; // TLOR, TERR: LORegion and error-record registers to EL2

/// `CPTR_EL2` without VHE: RES1 bits, and TZ, TSM, TTA, TAM, TCPAC off: SVE, SME, trace and activity monitors trap; floating point does not.
const CPTR: u64 = 0x00ff & !(1 << 10) | 1 << 8 | 1 << 9 | 1 << 12 | 1 << 13 | 1 << 20 | 1 << 30;
/// `MDCR_EL2`: TPMCR, TPM, TDA, TDOSA, TDRA, TPMS, TTRF: debug, OS lock, ROM, performance monitors, profiling, trace filter
/// to EL2; no counters for EL2.
const MDCR: u64 = 0b11 << 5 | 0b111 << 9 | 1 << 14 | 1 << 19;
/// `CNTHCTL_EL2` without VHE: the physical counter may be read, the physical timer traps.
const CNTHCTL: u64 = 1;
/// `HSTR_EL2`: AArch32 accesses to CP15's c15 trap; the rest goes where its AArch64 twin goes.
const HSTR: u64 = 1 << 15;

/// Sets everything on the calling CPU that bounds a guest and is the same for all of them.
pub fn configure_traps() {
    stage2::configure();
    // SAFETY: these registers govern EL1 and EL0 alone.
    unsafe {
        asm!(
            "msr hcr_el2, {hcr}", "msr cptr_el2, {cptr}", "msr mdcr_el2, {mdcr}",
            "msr cnthctl_el2, {cnthctl}", "msr hstr_el2, {hstr}", "msr mdscr_el1, xzr",
            "mrs {midr}, midr_el1", "msr vpidr_el2, {midr}", "isb",
            hcr = in(reg) HCR, cptr = in(reg) CPTR, mdcr = in(reg) MDCR,
            cnthctl = in(reg) CNTHCTL, hstr = in(reg) HSTR, midr = out(reg) _,
            options(nomem, nostack, preserves_flags)
        );
    }
    let has_extended_controls = read!("id_aa64mmfr1_el1") >> 40 & 0xf != 0;
    if has_extended_controls {
        // SAFETY: as above; all extensions that HCRX_EL2 can allow stay off.
        unsafe { asm!("msr s3_4_c1_c2_2, xzr", "isb", options(nomem, nostack, preserves_flags)) };
    }
}
