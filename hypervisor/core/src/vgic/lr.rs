//! The virtual CPU interface: list registers and the control registers beside them.

use super::intid::IntId;

/// Most list registers a CPU can have (`ICH_VTR_EL2.ListRegs`, IHI0069 §12.4.6).
pub const MAX_LIST_REGISTERS: usize = 16;

/// `ICH_LR<n>_EL2` (IHI0069 §12.4.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListRegister(pub u64);

impl ListRegister {
    /// No interrupt.
    pub const EMPTY: Self = Self(0);

    /// The guest has yet to acknowledge it.
    pub const PENDING: u64 = 1 << 62;
    /// The guest has acknowledged it and not ended it.
    pub const ACTIVE: u64 = 1 << 63;
    /// A maintenance interrupt comes when the guest ends it. Not together with [`Self::backed_by`]: the
    /// bit is part of the physical number there.
    pub const MAINTAINED: u64 = 1 << 41;
    const HARDWARE: u64 = 1 << 61;
    const GROUP1: u64 = 1 << 60;
    const PRIORITY_SHIFT: u32 = 48;
    const PHYSICAL_SHIFT: u32 = 32;

    /// An interrupt of group 1 of this number and priority, neither pending nor active.
    pub const fn new(intid: IntId, priority: u8) -> Self {
        Self(Self::GROUP1 | (priority as u64) << Self::PRIORITY_SHIFT | intid.get() as u64)
    }

    /// The same with more of the bits above.
    pub const fn with(self, bits: u64) -> Self {
        Self(self.0 | bits)
    }

    /// The same, deactivating the physical interrupt `physical` when the guest deactivates it.
    pub const fn backed_by(self, physical: u16) -> Self {
        Self(self.0 | Self::HARDWARE | (physical as u64) << Self::PHYSICAL_SHIFT)
    }

    /// Which interrupt it has.
    pub const fn intid(self) -> Option<IntId> {
        IntId::new(self.0 as u32)
    }

    /// Whether the guest has yet to acknowledge it.
    pub const fn is_pending(self) -> bool {
        self.0 & Self::PENDING != 0
    }

    /// Whether the guest has acknowledged it and not ended it.
    pub const fn is_active(self) -> bool {
        self.0 & Self::ACTIVE != 0
    }
}

/// `ICH_HCR_EL2` (IHI0069 §12.4.3) as the virtual GIC wants it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hcr(pub u64);

impl Hcr {
    const ENABLE: u64 = 1 << 0;
    const TRAP_DEACTIVATE: u64 = 1 << 14;
    /// A maintenance interrupt comes once the guest ends an interrupt that is in no list register.
    pub const COUNTED: u64 = 1 << 2;
    /// A maintenance interrupt comes once no list register is pending.
    pub const REFILLED: u64 = 1 << 3;

    /// The interface on, and writes of `ICC_DIR_EL1` trapped: [`super::VGic::deactivate`] does
    /// them. Only guests that split end of interrupt and deactivation make any.
    pub const BASE: Self = Self(Self::ENABLE | Self::TRAP_DEACTIVATE);

    /// The same with one of the bits above, if it `shall` be.
    pub const fn with(self, bit: u64, shall: bool) -> Self {
        Self(if shall { self.0 | bit } else { self.0 })
    }
}

/// `ICH_VMCR_EL2` (IHI0069 §12.4.8): what the guest set in its CPU interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vmcr(pub u64);

impl Vmcr {
    const GROUP1: u64 = 1 << 1;
    const SPLIT_END: u64 = 1 << 9;
    const PRIORITY_MASK_SHIFT: u32 = 24;

    /// Whether the interface signals an interrupt of this priority (`ICC_PMR_EL1`, `ICC_IGRPEN1_EL1`).
    pub const fn signals(self, priority: u8) -> bool {
        self.0 & Self::GROUP1 != 0 && priority < (self.0 >> Self::PRIORITY_MASK_SHIFT) as u8
    }

    /// EOImode: whether the end of an interrupt only drops its priority, and `ICC_DIR_EL1`
    /// deactivates it.
    pub const fn splits_end(self) -> bool {
        self.0 & Self::SPLIT_END != 0
    }
}

/// The virtual CPU interface that belongs to one vCPU: the CPU's registers while the vCPU is
/// loaded on this CPU, or the saved ones.
pub trait ListRegisters {
    /// How many list registers there are: at most [`MAX_LIST_REGISTERS`] are used.
    fn count(&self) -> usize;
    /// `ICH_LR<n>_EL2`.
    fn get(&self, n: usize) -> ListRegister;
    /// Sets `ICH_LR<n>_EL2`.
    fn set(&mut self, n: usize, register: ListRegister);
    /// `ICH_ELRSR_EL2`: a bit for each list register that may be reused at once.
    fn empty(&self) -> u32;
    /// Reads `ICH_HCR_EL2.EOIcount` and sets the field to 0.
    fn take_end_count(&mut self) -> u32;
    /// Sets `ICH_HCR_EL2`.
    fn set_control(&mut self, control: Hcr);
    /// `ICH_VMCR_EL2`.
    fn vmcr(&self) -> Vmcr;
}
