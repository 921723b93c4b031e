//! Memory (`memory.h`).

use crate::wire;

/// Operations (`XENMEM_*`), in the low six bits; above them is where a call goes on.
pub mod op {
    /// More memory: not with translated memory.
    pub const INCREASE_RESERVATION: u64 = 0;
    /// Less memory.
    pub const DECREASE_RESERVATION: u64 = 1;
    /// The machine's last frame.
    pub const MAXIMUM_RAM_PAGE: u64 = 2;
    /// Frames that a domain has.
    pub const CURRENT_RESERVATION: u64 = 3;
    /// Frames that it may have.
    pub const MAXIMUM_RESERVATION: u64 = 4;
    /// Memory for frames that have none.
    pub const POPULATE_PHYSMAP: u64 = 6;
    /// [`super::AddToPhysmap`].
    pub const ADD_TO_PHYSMAP: u64 = 7;
    /// [`super::Exchange`].
    pub const EXCHANGE: u64 = 11;
    /// The domain's last frame.
    pub const MAXIMUM_GPFN: u64 = 14;
    /// [`super::RemoveFromPhysmap`].
    pub const REMOVE_FROM_PHYSMAP: u64 = 15;
    /// [`super::AddToPhysmapBatch`].
    pub const ADD_TO_PHYSMAP_BATCH: u64 = 23;
}

/// What is put into a domain's map (`XENMAPSPACE_*`).
pub mod space {
    /// The shared page.
    pub const SHARED_INFO: u16 = 0;
    /// A frame of the grant table.
    pub const GRANT_TABLE: u16 = 1;
    /// A frame of another domain.
    pub const GMFN_FOREIGN: u16 = 4;
    /// A device.
    pub const DEV_MMIO: u16 = 5;
}

wire! {
    /// `struct xen_memory_reservation`.
    Reservation {
        /// An array of frame numbers.
        extent_start: u64,
        /// How many.
        nr_extents: u64,
        /// Of how many pages each, as a power of two.
        extent_order: u32,
        /// Wishes about the place.
        mem_flags: u32,
        /// Whose.
        domid: u16,
        /// Padding.
        pad: [u16; 3],
    }

    /// `struct xen_memory_exchange`.
    Exchange {
        /// What is given up.
        input: Reservation,
        /// What is wanted.
        output: Reservation,
        /// Answered: how much was done.
        nr_exchanged: u64,
    }

    /// `struct xen_add_to_physmap`.
    AddToPhysmap {
        /// Whose map.
        domid: u16,
        /// Frames of a range.
        size: u16,
        /// [`space`].
        space: u32,
        /// Which of the space.
        idx: u64,
        /// Where.
        gpfn: u64,
    }

    /// `struct xen_add_to_physmap_batch`.
    AddToPhysmapBatch {
        /// Whose map.
        domid: u16,
        /// [`space`].
        space: u16,
        /// How many.
        size: u16,
        /// The domain whose frames are mapped.
        foreign_domid: u16,
        /// An array: which of the space.
        idxs: u64,
        /// An array: where.
        gpfns: u64,
        /// An array: answered errors.
        errs: u64,
    }

    /// `struct xen_remove_from_physmap`.
    RemoveFromPhysmap {
        /// Whose map.
        domid: u16,
        /// Padding.
        pad: [u16; 3],
        /// What.
        gpfn: u64,
    }
}
