//! What makes the CPU a given vCPU, besides its general registers: system registers, floating point, and the traps that keep
//! it within bounds.

use aarch64_cpu::asm::barrier;
use core::arch::{asm, global_asm};

use crate::stage2;

/// One list of registers makes the structure, its saving and its loading, so that none is forgotten in one of them.
macro_rules! system_registers {
    ($($(#[$doc:meta])* $field:ident),* $(,)?) => {
        /// The system registers that a vCPU owns while it runs.
        #[derive(Clone, Debug)]
        #[allow(missing_docs, reason = "the fields carry the architecture's names")]
        pub struct SystemRegisters {
            $($(#[$doc])* pub $field: u64,)*
        }

        impl SystemRegisters {
            const ZERO: Self = Self { $($field: 0,)* };

            fn read(&mut self) {
                $({
                    let value: u64;
                    // SAFETY: reading this register has no effect.
                    unsafe { asm!(concat!("mrs {}, ", stringify!($field)), out(reg) value, options(nomem, nostack, preserves_flags)) };
                    self.$field = value;
                })*
            }

            fn write(&self) {
                $({
                    // SAFETY: the register governs EL1 and EL0, where EL2's code never runs, or where
                    // ERET goes from `run`, which is the guest in any case.
                    unsafe { asm!(concat!("msr ", stringify!($field), ", {}"), in(reg) self.$field, options(nostack, preserves_flags)) };
                })*
            }
        }
    };
}

system_registers! {
    /// Where the guest goes on.
    elr_el2,
    /// Its PSTATE.
    spsr_el2,
    vmpidr_el2,
    cntvoff_el2,
    sp_el0,
    sp_el1,
    elr_el1,
    spsr_el1,
    sctlr_el1,
    cpacr_el1,
    ttbr0_el1,
    ttbr1_el1,
    tcr_el1,
    esr_el1,
    afsr0_el1,
    afsr1_el1,
    far_el1,
    mair_el1,
    amair_el1,
    vbar_el1,
    contextidr_el1,
    tpidr_el0,
    tpidr_el1,
    tpidrro_el0,
    par_el1,
    csselr_el1,
    cntkctl_el1,
    cntv_cval_el0,
    cntv_ctl_el0,
}

/// `SPSR_EL2`: EL1 with its own stack pointer; D, A, I and F masked.
const PSTATE_EL1H_MASKED: u64 = 0x3c5;
/// `SCTLR_EL1` as Xen hands a vCPU over: RES1 bits set, MMU and caches off.
const SCTLR_RESET: u64 = 0x00c5_0078;

impl SystemRegisters {
    /// A vCPU at `entry`, just switched on, that reads `mpidr` as its own and counts virtual time from
    /// physical tick `time_origin`.
    #[must_use]
    pub const fn at_reset(entry: u64, mpidr: u64, time_origin: u64) -> Self {
        Self {
            elr_el2: entry,
            spsr_el2: PSTATE_EL1H_MASKED,
            vmpidr_el2: mpidr,
            cntvoff_el2: time_origin,
            sctlr_el1: SCTLR_RESET,
            ..Self::ZERO
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

/// The SIMD and floating-point registers. EL2 itself uses none, so they change hands only with the vCPU.
#[repr(C, align(16))]
#[derive(Clone)]
pub struct FloatingPoint {
    vectors: [u128; 32],
    control: u64,
    status: u64,
}

unsafe extern "C" {
    fn floating_point_save(into: *mut FloatingPoint);
    fn floating_point_load(from: *const FloatingPoint);
}

impl FloatingPoint {
    /// All zero.
    #[must_use]
    pub const fn new() -> Self {
        Self { vectors: [0; 32], control: 0, status: 0 }
    }

    /// Takes the registers from the calling CPU.
    pub fn save(&mut self) {
        // SAFETY: writes the 528 bytes of the structure.
        unsafe { floating_point_save(self) }
    }

    /// Puts the registers into the calling CPU.
    pub fn load(&self) {
        // SAFETY: EL2 keeps nothing in these registers.
        unsafe { floating_point_load(self) }
    }
}

impl Default for FloatingPoint {
    fn default() -> Self {
        Self::new()
    }
}

global_asm!(
    r#"
    .section .text.floating_point, "ax"
    .arch_extension fp
    .arch_extension simd
    .macro EACH_PAIR instruction
    \instruction q0, q1, [x0, #0]
    \instruction q2, q3, [x0, #32]
    \instruction q4, q5, [x0, #64]
    \instruction q6, q7, [x0, #96]
    \instruction q8, q9, [x0, #128]
    \instruction q10, q11, [x0, #160]
    \instruction q12, q13, [x0, #192]
    \instruction q14, q15, [x0, #224]
    \instruction q16, q17, [x0, #256]
    \instruction q18, q19, [x0, #288]
    \instruction q20, q21, [x0, #320]
    \instruction q22, q23, [x0, #352]
    \instruction q24, q25, [x0, #384]
    \instruction q26, q27, [x0, #416]
    \instruction q28, q29, [x0, #448]
    \instruction q30, q31, [x0, #480]
    .endm
    .global floating_point_save
floating_point_save:
    EACH_PAIR stp
    mrs     x1, fpcr
    mrs     x2, fpsr
    add     x0, x0, #512
    stp     x1, x2, [x0]
    ret
    .global floating_point_load
floating_point_load:
    EACH_PAIR ldp
    add     x0, x0, #512
    ldp     x1, x2, [x0]
    msr     fpcr, x1
    msr     fpsr, x2
    ret
    .arch_extension nosimd
    .arch_extension nofp
    "#
);

/// `HCR_EL2` (Arm ARM D24.2.53): stage 2 on; interrupts, SErrors, WFI, WFE, SMC, ID registers, implementation-defined,
/// auxiliary, LORegion and error-record registers to EL2; EL1 is AArch64. All that later versions
/// of the architecture added (pointer authentication, tagging, nesting …) stays off, so its use is undefined.
const HCR: u64 =
    VM | SWIO | PTW | FMO | IMO | AMO | FB | BSU_INNER | TWI | TWE | TID3 | TSC | TIDCP | TACR | RW | TLOR | TERR;
const VM: u64 = 1;
const SWIO: u64 = 1 << 1;
const PTW: u64 = 1 << 2;
const FMO: u64 = 1 << 3;
const IMO: u64 = 1 << 4;
const AMO: u64 = 1 << 5;
const FB: u64 = 1 << 9;
const BSU_INNER: u64 = 1 << 10;
const TWI: u64 = 1 << 13;
const TWE: u64 = 1 << 14;
const TID3: u64 = 1 << 18;
const TSC: u64 = 1 << 19;
const TIDCP: u64 = 1 << 20;
const TACR: u64 = 1 << 21;
const RW: u64 = 1 << 31;
const TLOR: u64 = 1 << 35;
const TERR: u64 = 1 << 36;

/// `CPTR_EL2` without VHE: RES1 bits, and TZ, TSM, TTA, TAM, TCPAC off: SVE, SME, trace and activity monitors trap; floating point does not.
const CPTR: u64 = 0x00ff & !(1 << 10) | 1 << 8 | 1 << 9 | 1 << 12 | 1 << 13 | 1 << 20 | 1 << 30;
/// `MDCR_EL2`: debug, OS lock, ROM, performance monitors, profiling, trace filter to EL2; no counters for EL2.
const MDCR: u64 = TPMCR | TPM | TDA | TDOSA | TDRA | TPMS | TTRF;
const TPMCR: u64 = 1 << 5;
const TPM: u64 = 1 << 6;
const TDA: u64 = 1 << 9;
const TDOSA: u64 = 1 << 10;
const TDRA: u64 = 1 << 11;
const TPMS: u64 = 1 << 14;
const TTRF: u64 = 1 << 19;
/// `CNTHCTL_EL2` without VHE: the physical counter may be read, the physical timer traps.
const CNTHCTL: u64 = 1;
/// `HSTR_EL2`: AArch32 accesses to CP15's c15 trap; the rest goes where its AArch64 twin goes.
const HSTR: u64 = 1 << 15;

/// The calling CPU's traps.
#[derive(Clone, Copy, Debug)]
pub struct Traps;

impl Traps {
    /// Sets everything on the calling CPU that bounds a guest and is the same for all of them.
    pub fn configure() {
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
        if has_extended_controls() {
            // SAFETY: as above; all extensions that this register can allow stay off.
            unsafe { asm!("msr s3_4_c1_c2_2, xzr", "isb", options(nomem, nostack, preserves_flags)) };
        }
    }
}

/// Whether there is an `HCRX_EL2` (`ID_AA64MMFR1_EL1.HCX`).
fn has_extended_controls() -> bool {
    let value: u64;
    // SAFETY: reading an ID register has no effect.
    unsafe { asm!("mrs {}, id_aa64mmfr1_el1", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value >> 40 & 0xf != 0
}
