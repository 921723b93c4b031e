//! The machine that a guest on Arm sees (`arch-arm.h`): where its devices and its memory are.

/// A range of guest physical addresses, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First address.
    pub base: u64,
    /// Length in bytes.
    pub size: u64,
}

impl Window {
    /// The first address past the window.
    pub const fn end(self) -> u64 {
        self.base + self.size
    }
}

/// GICv3 distributor (`GUEST_GICV3_GICD_*`).
pub const GICV3_DISTRIBUTOR: Window = Window { base: 0x0300_1000, size: 0x1_0000 };
/// GICv3 redistributors, 128 KiB for each vCPU (`GUEST_GICV3_GICR0_*`).
pub const GICV3_REDISTRIBUTORS: Window = Window { base: 0x0302_0000, size: 0x100_0000 };
/// Size of one vCPU's redistributor: the architecture's, two frames of 64 KiB.
pub const GICV3_REDISTRIBUTOR_STRIDE: u64 = 0x2_0000;
/// The emulated SBSA UART (`GUEST_PL011_*`).
pub const VPL011: Window = Window { base: 0x2200_0000, size: 0x1000 };
/// SPI of the emulated UART, as an INTID (`GUEST_VPL011_SPI`).
pub const VPL011_INTID: u32 = 32;
/// Where a guest may map its grant table (`GUEST_GNTTAB_*`).
pub const GRANT_TABLE: Window = Window { base: 0x3800_0000, size: 0x100_0000 };
/// Pages that the toolstack places: console, xenstore (`GUEST_MAGIC_*`).
pub const MAGIC_PAGES: Window = Window { base: 0x3900_0000, size: 0x100_0000 };
/// First bank of memory (`GUEST_RAM0_*`).
pub const RAM0: Window = Window { base: 0x4000_0000, size: 0xc000_0000 };
/// Second bank of memory (`GUEST_RAM1_*`).
pub const RAM1: Window = Window { base: 0x2_0000_0000, size: 0xfe_0000_0000 };

/// PPI of the virtual timer, as an INTID (`GUEST_TIMER_VIRT_PPI`).
pub const TIMER_VIRTUAL_INTID: u32 = 27;
/// PPI of the secure physical timer, as an INTID (`GUEST_TIMER_PHYS_S_PPI`).
pub const TIMER_PHYSICAL_SECURE_INTID: u32 = 29;
/// PPI of the non-secure physical timer, as an INTID (`GUEST_TIMER_PHYS_NS_PPI`).
pub const TIMER_PHYSICAL_INTID: u32 = 30;
/// PPI that announces pending event channels, as an INTID (`GUEST_EVTCHN_PPI`).
pub const EVENT_CHANNEL_INTID: u32 = 31;

/// Most vCPUs a domain may have (`GUEST_MAX_VCPUS`).
pub const MAX_VCPUS: u32 = 128;

/// SMCCC immediate of Xen's hypercalls: `HVC #0xEA1` (`XEN_HYPERCALL_TAG`).
pub const HYPERCALL_TAG: u16 = 0xea1;
