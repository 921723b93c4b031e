//! Everything that Rust would not let a program do.

mod untranslated;

pub use untranslated::{Untranslated, untranslated};

use core::arch::asm;

use mote_unikernel::xen::Errno;
use mote_unikernel::{
    Machine,
    exceptions::{Fault, attempt},
};

/// An address at which nothing of this program lies: reading it is harmless to Rust, and writing it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wild(usize);

/// Ways to touch an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    LoadByte,
    LoadHalf,
    LoadWord,
    LoadDouble,
    LoadPair,
    LoadVector,
    LoadPostIndexed,
    LoadExclusive,
    StoreByte,
    StoreHalf,
    StoreWord,
    StoreDouble,
    StorePair,
    StoreVector,
    StorePostIndexed,
    StoreExclusive,
    CleanLine,
    InvalidateLine,
    ZeroLine,
}

impl Access {
    /// Every load.
    pub const LOADS: [Self; 8] = [
        Self::LoadByte,
        Self::LoadHalf,
        Self::LoadWord,
        Self::LoadDouble,
        Self::LoadPair,
        Self::LoadVector,
        Self::LoadPostIndexed,
        Self::LoadExclusive,
    ];
    /// Every store.
    pub const STORES: [Self; 8] = [
        Self::StoreByte,
        Self::StoreHalf,
        Self::StoreWord,
        Self::StoreDouble,
        Self::StorePair,
        Self::StoreVector,
        Self::StorePostIndexed,
        Self::StoreExclusive,
    ];
}

impl Wild {
    /// `address`, or `None` if it is in the domain's memory.
    pub fn new(machine: &Machine, address: usize) -> Option<Self> {
        let end = address.checked_add(64)?;
        machine.memory().all(|bank| end <= bank.start || bank.end <= address).then_some(Self(address))
    }

    /// Touches the address. A load's value, or 0; a store's data is `value`.
    pub fn touch(self, access: Access, value: u64) -> Result<u64, Fault> {
        let mut result = 0;
        // SAFETY: nothing of Rust's is at the address, and every output has a value before the instruction that may fault.
        let fault = unsafe { attempt(|| result = self.access(access, value)) };
        fault.map_or(Ok(result), Err)
    }

    /// # Safety
    ///
    /// It may fault.
    unsafe fn access(self, access: Access, value: u64) -> u64 {
        let Self(address) = self;
        let mut result = 0_u64;
        /// One instruction of the given form on the address, the result and the value.
        macro_rules! instruction {
            ($($text:literal),+) => {
                asm!($($text),+,
                    address = inout(reg) address => _, result = inout(reg) result, value = in(reg) value,
                    out("v0") _, options(nostack))
            };
        }
        // SAFETY: the caller's.
        unsafe {
            match access {
                Access::LoadByte => instruction!("ldrb {result:w}, [{address}] // {value}"),
                Access::LoadHalf => instruction!("ldrh {result:w}, [{address}] // {value}"),
                Access::LoadWord => instruction!("ldr {result:w}, [{address}] // {value}"),
                Access::LoadDouble => instruction!("ldr {result}, [{address}] // {value}"),
                Access::LoadPair => instruction!("ldp {result:w}, wzr, [{address}] // {value}"),
                Access::LoadVector => instruction!("ldr q0, [{address}] // {value} {result}"),
                Access::LoadPostIndexed => {
                    instruction!("ldr {result:w}, [{address}], #4 // {value}")
                }
                Access::LoadExclusive => instruction!("ldxr {result:w}, [{address}] // {value}"),
                Access::StoreByte => instruction!("strb {value:w}, [{address}] // {result}"),
                Access::StoreHalf => instruction!("strh {value:w}, [{address}] // {result}"),
                Access::StoreWord => instruction!("str {value:w}, [{address}] // {result}"),
                Access::StoreDouble => instruction!("str {value}, [{address}] // {result}"),
                Access::StorePair => {
                    instruction!("stp {value:w}, {value:w}, [{address}] // {result}")
                }
                Access::StoreVector => instruction!("str q0, [{address}] // {value} {result}"),
                Access::StorePostIndexed => {
                    instruction!("str {value:w}, [{address}], #4 // {result}")
                }
                Access::StoreExclusive => {
                    instruction!("ldxr {result:w}, [{address}]", "stxr {result:w}, {value:w}, [{address}]")
                }
                Access::CleanLine => instruction!("dc civac, {address} // {value} {result}"),
                Access::InvalidateLine => instruction!("dc ivac, {address} // {value} {result}"),
                Access::ZeroLine => instruction!("dc zva, {address} // {value} {result}"),
            }
        }
        result
    }
}

/// Asks the CPU to translate `address` (AT S1E1R): PAR_EL1.
pub fn translate(address: Wild) -> u64 {
    let par;
    // SAFETY: changes PAR_EL1 alone.
    unsafe {
        asm!("at s1e1r, {}", "isb", "mrs {}, par_el1", in(reg) address.0, out(reg) par, options(nostack));
    }
    par
}

/// Cache maintenance by set and way, which means the machine's caches and not the guest's.
pub fn maintain_by_set_and_way() -> Option<Fault> {
    // SAFETY: cleans and invalidates, so that nothing is lost. `dc isw` is architecturally a clean as well for a guest.
    unsafe {
        attempt(|| {
            for set_way in [0_u64, 1 << 6, 1 << 31, !0] {
                asm!("dc isw, {0}", "dc csw, {0}", "dc cisw, {0}", in(reg) set_way, options(nostack));
            }
        })
    }
}

/// Instructions that concern every CPU's translations and caches, and those of EL2 that a guest has no right to.
pub fn maintain_translations() -> [Option<Fault>; 2] {
    // SAFETY: drops cached translations and instructions, which come back.
    let own =
        unsafe { attempt(|| asm!("tlbi vmalle1is", "tlbi vmalle1", "ic ialluis", "dsb sy", "isb", options(nostack))) };
    // SAFETY: undefined at EL1.
    let foreign = unsafe { attempt(|| asm!("tlbi alle1", "tlbi alle2", "at s12e1r, xzr", options(nostack))) };
    [own, foreign]
}

/// `SMC #0` with a function number. x0, or the fault.
pub fn smc(function: u64) -> Result<u64, Fault> {
    let mut result = function;
    // SAFETY: an SMC changes the registers that are declared.
    let fault = unsafe {
        attempt(|| {
            asm!("smc #0", inout("x0") result, out("x1") _, out("x2") _, out("x3") _, options(nostack));
        })
    };
    fault.map_or(Ok(result), Err)
}

/// `HVC #0` with a function number and arguments: x0.
pub fn hvc(function: u64, arguments: [u64; 3]) -> u64 {
    let result;
    let [first, second, third] = arguments;
    // SAFETY: no function is called that starts a vCPU at an address or changes memory.
    unsafe {
        asm!(
            "hvc #0",
            inout("x0") function => result, inout("x1") first => _, inout("x2") second => _, inout("x3") third => _,
            options(nostack),
        );
    }
    result
}

/// HVC with immediates that mean nothing.
pub fn hvc_immediates() -> [Option<Fault>; 4] {
    // SAFETY: x0 to x3 are declared, and nobody answers.
    unsafe {
        [
            attempt(|| asm!("hvc #1", out("x0") _, out("x1") _, out("x2") _, out("x3") _, options(nostack))),
            attempt(|| asm!("hvc #0xea0", out("x0") _, out("x1") _, out("x2") _, out("x3") _, options(nostack))),
            attempt(|| asm!("hvc #0xea2", out("x0") _, out("x1") _, out("x2") _, out("x3") _, options(nostack))),
            attempt(|| asm!("hvc #0xffff", out("x0") _, out("x1") _, out("x2") _, out("x3") _, options(nostack))),
        ]
    }
}

/// Xen's hypercall `number` with arguments that point nowhere.
pub fn hypercall(number: u64) -> Result<u64, Errno> {
    // SAFETY: no hypercall takes an argument of all ones for anything but an error.
    unsafe { mote_unikernel::xen::hypercall(number, [u64::MAX; 5]) }
}

/// Hints that may stop the vCPU for a while: an event, an event that is there, and yielding.
pub fn hints() {
    // SAFETY: hints change nothing.
    unsafe { asm!("sev", "wfe", "sevl", "wfe", "yield", options(nomem, nostack)) };
}

/// Acknowledges the interrupt of the highest priority that is pending (ICC_IAR1_EL1).
pub fn acknowledge() -> u64 {
    let interrupt;
    // SAFETY: with interrupts masked nobody else acknowledges.
    unsafe { asm!("mrs {}, icc_iar1_el1", "dsb sy", out(reg) interrupt, options(nostack)) };
    interrupt
}

/// Ends an interrupt, acknowledged or not (ICC_EOIR1_EL1), and deactivates it once more (ICC_DIR_EL1).
pub fn end(interrupt: u64, deactivate: bool) {
    // SAFETY: changes the state of interrupts alone.
    unsafe {
        asm!("msr icc_eoir1_el1, {}", "isb", in(reg) interrupt, options(nostack));
        if deactivate {
            asm!("msr icc_dir_el1, {}", "isb", in(reg) interrupt, options(nostack));
        }
    }
}

/// Writes ICC_SGI1R_EL1.
pub fn send(request: u64) {
    // SAFETY: sends interrupts.
    unsafe { asm!("msr icc_sgi1r_el1, {}", "isb", in(reg) request, options(nostack)) };
}

/// An instruction that never exists.
pub fn undefined() {
    // SAFETY: ends the guest, by way of the library's report.
    unsafe { asm!("udf #0", options(nostack)) };
}

/// Makes every exception lead to the next: the vectors lie where nothing is.
pub fn break_vectors(address: Wild) -> ! {
    // SAFETY: this is the end of Rust in this domain.
    unsafe { asm!("msr vbar_el1, {}", "isb", "udf #0", in(reg) address.0 & !0x7ff, options(noreturn)) };
}
