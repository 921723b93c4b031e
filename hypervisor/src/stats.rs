//! What guests cost, as EL2 counted it.

use xen_abi::mote::EXIT_REASONS;

/// Why a guest came to EL2, in the order of [`EXIT_REASONS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// A Xen hypercall.
    Hypercall,
    /// PSCI and SMCCC.
    Psci,
    /// A load or store to an emulated device.
    Mmio,
    /// A trapped system register.
    SystemRegister,
    /// `WFI` or `WFE`.
    Wait,
    /// A physical interrupt.
    Interrupt,
    /// The first touch of memory whose touches are counted.
    AccessFlag,
    /// An access to nothing, an undefined instruction.
    Fault,
    /// Anything else.
    Other,
}

/// Exits by reason: how many there were for each of [`EXIT_REASONS`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Exits(pub [u64; EXIT_REASONS.len()]);

impl Exits {
    /// Counts one.
    pub const fn count(&mut self, reason: ExitReason) {
        self.0[reason as usize] += 1;
    }
}

/// When things happened to a domain, in ticks of the physical counter; zero if they did not.
#[derive(Debug, Default)]
pub struct Milestones {
    /// Its building began.
    pub created: u64,
    /// It was built: from here on it waits for a pCPU alone.
    pub built: core::sync::atomic::AtomicU64,
    /// It was about to run its first instruction.
    pub first_instruction: core::sync::atomic::AtomicU64,
    /// Its console showed that it is ready for its work.
    pub ready: core::sync::atomic::AtomicU64,
    /// It ended.
    pub ended: core::sync::atomic::AtomicU64,
}
