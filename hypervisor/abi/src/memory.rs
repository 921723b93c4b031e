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
    /// What is saved by pages that domains share copies of: none on Arm.
    pub const GET_SHARING_FREED_PAGES: u64 = 18;
    /// How many such pages there are.
    pub const GET_SHARING_SHARED_PAGES: u64 = 19;
    /// [`super::AddToPhysmapBatch`].
    pub const ADD_TO_PHYSMAP_BATCH: u64 = 23;
}

/// What is put into a domain's map (`XENMAPSPACE_*`).
pub mod space {
    /// The shared page.
    pub const SHARED_INFO: u16 = 0;
    /// A frame of the grant table.
    pub const GRANT_TABLE: u16 = 1;
    /// A range of frames: not on Arm.
    pub const GMFN_RANGE: u16 = 3;
    /// A frame of another domain.
    pub const GMFN_FOREIGN: u16 = 4;
    /// A device.
    pub const DEV_MMIO: u16 = 5;
}

wire! {
    /// `struct xen_memory_reservation`: an array of frame numbers, how many, of how many pages each as a power of two, wishes about
    /// the place, and whose.
    Reservation { extent_start: u64, nr_extents: u64, extent_order: u32, mem_flags: u32, domid: u16, pad: [u16; 3] }

    /// `struct xen_memory_exchange`: what is given up, what is wanted, and how much was done.
    Exchange { input: Reservation, output: Reservation, nr_exchanged: u64 }

    /// `struct xen_add_to_physmap`: whose map, frames of a range, the [`space`], which of it, and where.
    AddToPhysmap { domid: u16, size: u16, space: u32, idx: u64, gpfn: u64 }

    /// `struct xen_add_to_physmap_batch`: whose map, the [`space`], how many, and the domain whose frames are mapped; then arrays:
    /// which of the space, where, and the answered errors.
    AddToPhysmapBatch { domid: u16, space: u16, size: u16, foreign_domid: u16, idxs: u64, gpfns: u64, errs: u64 }

    /// `struct xen_remove_from_physmap`: whose map, and what.
    RemoveFromPhysmap { domid: u16, pad: [u16; 3], gpfn: u64 }
}
