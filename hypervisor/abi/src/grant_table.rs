//! Grant tables (`grant_table.h`), version 1.

use crate::wire;

/// Operations (`GNTTABOP_*`).
pub mod op {
    /// [`super::Map`], an array.
    pub const MAP: u64 = 0;
    /// [`super::Unmap`], an array.
    pub const UNMAP: u64 = 1;
    /// [`super::SetupTable`].
    pub const SETUP_TABLE: u64 = 2;
    /// [`super::DumpTable`].
    pub const DUMP_TABLE: u64 = 3;
    /// [`super::Transfer`], an array.
    pub const TRANSFER: u64 = 4;
    /// [`super::Copy`], an array.
    pub const COPY: u64 = 5;
    /// [`super::QuerySize`].
    pub const QUERY_SIZE: u64 = 6;
    /// [`super::UnmapAndReplace`], an array.
    pub const UNMAP_AND_REPLACE: u64 = 7;
    /// [`super::SetVersion`].
    pub const SET_VERSION: u64 = 8;
    /// [`super::GetStatusFrames`].
    pub const GET_STATUS_FRAMES: u64 = 9;
    /// [`super::GetVersion`].
    pub const GET_VERSION: u64 = 10;
    /// [`super::SwapGrantRef`], an array.
    pub const SWAP_GRANT_REF: u64 = 11;
    /// [`super::CacheFlush`], an array.
    pub const CACHE_FLUSH: u64 = 12;
}

/// A grant entry's flags (`GTF_*`).
pub mod flags {
    /// Its type.
    pub const TYPE: u16 = 3;
    /// The frame may be mapped.
    pub const PERMIT_ACCESS: u16 = 1;
    /// The frame may be mapped for reading alone.
    pub const READ_ONLY: u16 = 4;
    /// The frame is mapped.
    pub const READING: u16 = 8;
    /// The frame is mapped for writing.
    pub const WRITING: u16 = 16;
}

/// How to map (`GNTMAP_*`).
pub mod map {
    /// For devices.
    pub const DEVICE: u32 = 1;
    /// For the CPU.
    pub const HOST: u32 = 2;
    /// For reading alone.
    pub const READ_ONLY: u32 = 4;
    /// For applications: not with translated memory.
    pub const APPLICATION: u32 = 8;
    /// At a page-table entry: not with translated memory.
    pub const CONTAINS_PTE: u32 = 16;
}

/// What a copy's ends are (`GNTCOPY_*`), and what a flush does (`GNTTAB_CACHE_*`).
pub mod option {
    /// The source is a grant.
    pub const SOURCE_GREF: u16 = 1;
    /// The target is a grant.
    pub const DEST_GREF: u16 = 2;
    /// Write back.
    pub const CACHE_CLEAN: u32 = 1;
    /// Forget.
    pub const CACHE_INVALIDATE: u32 = 2;
    /// The page is named by a grant.
    pub const CACHE_SOURCE_GREF: u32 = 1 << 31;
}

/// How one operation ended (`GNTST_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
#[allow(missing_docs, reason = "the names say it")]
pub enum GrantStatus {
    Okay = 0,
    GeneralError = -1,
    BadDomain = -2,
    BadGrantReference = -3,
    BadHandle = -4,
    BadVirtualAddress = -5,
    NoDeviceSpace = -7,
    PermissionDenied = -8,
    BadPage = -9,
    BadCopyArgument = -10,
    Again = -12,
    NoSpace = -13,
}

/// Entries in a frame of the table.
pub const ENTRIES_PER_FRAME: u32 = 512;
/// Entries that the toolstack hands out before the guest runs (`GNTTAB_NR_RESERVED_ENTRIES`).
pub const RESERVED_ENTRIES: u32 = 8;

wire! {
    /// `struct grant_entry_v1`.
    Entry {
        /// [`flags`].
        flags: u16,
        /// Who may use it.
        domid: u16,
        /// What it grants.
        frame: u32,
    }

    /// `struct gnttab_map_grant_ref`.
    Map {
        /// Where to map: on Arm an IPA.
        host_addr: u64,
        /// [`map`].
        flags: u32,
        /// The grant.
        gref: u32,
        /// Whose it is.
        dom: u16,
        /// Answered.
        status: i16,
        /// Answered: what to unmap.
        handle: u32,
        /// Answered: the page for devices.
        dev_bus_addr: u64,
    }

    /// `struct gnttab_unmap_grant_ref`.
    Unmap {
        /// Where it is mapped.
        host_addr: u64,
        /// Where devices see it.
        dev_bus_addr: u64,
        /// What the mapping answered.
        handle: u32,
        /// Answered.
        status: i16,
        /// Padding.
        pad: u16,
    }

    /// `struct gnttab_setup_table`.
    SetupTable {
        /// Whose.
        dom: u16,
        /// Padding.
        pad: u16,
        /// How many frames it is to have.
        nr_frames: u32,
        /// Answered.
        status: i16,
        /// Padding.
        pad2: [u16; 3],
        /// Where to list them.
        frame_list: u64,
    }

    /// `struct gnttab_dump_table`.
    DumpTable {
        /// Whose.
        dom: u16,
        /// Answered.
        status: i16,
    }

    /// `struct gnttab_transfer`.
    Transfer {
        /// What.
        mfn: u64,
        /// To whom.
        domid: u16,
        /// Padding.
        pad: u16,
        /// Into what.
        gref: u32,
        /// Answered.
        status: i16,
        /// Padding.
        pad2: [u16; 3],
    }

    /// `struct gnttab_copy_ptr`.
    CopyEnd {
        /// A grant reference, in the lower half, or a frame number.
        place: u64,
        /// Whose.
        domid: u16,
        /// Bytes into the page.
        offset: u16,
        /// Padding.
        pad: u32,
    }

    /// `struct gnttab_copy`.
    Copy {
        /// From where.
        source: CopyEnd,
        /// To where.
        dest: CopyEnd,
        /// Bytes.
        len: u16,
        /// [`option`].
        flags: u16,
        /// Answered.
        status: i16,
        /// Padding.
        pad: u16,
    }

    /// `struct gnttab_query_size`.
    QuerySize {
        /// Whose.
        dom: u16,
        /// Padding.
        pad: u16,
        /// Answered: frames there are.
        nr_frames: u32,
        /// Answered: and can be.
        max_nr_frames: u32,
        /// Answered.
        status: i16,
        /// Padding.
        pad2: u16,
    }

    /// `struct gnttab_unmap_and_replace`.
    UnmapAndReplace {
        /// Where it is mapped.
        host_addr: u64,
        /// What is to be there instead.
        new_addr: u64,
        /// What the mapping answered.
        handle: u32,
        /// Answered.
        status: i16,
        /// Padding.
        pad: u16,
    }

    /// `struct gnttab_set_version`.
    SetVersion {
        /// Wanted, and answered.
        version: u32,
    }

    /// `struct gnttab_get_status_frames`.
    GetStatusFrames {
        /// How many.
        nr_frames: u32,
        /// Whose.
        dom: u16,
        /// Answered.
        status: i16,
        /// Where to list them.
        frame_list: u64,
    }

    /// `struct gnttab_get_version`.
    GetVersion {
        /// Whose.
        dom: u16,
        /// Padding.
        pad: u16,
        /// Answered.
        version: u32,
    }

    /// `struct gnttab_swap_grant_ref`.
    SwapGrantRef {
        /// One.
        ref_a: u32,
        /// And the other.
        ref_b: u32,
        /// Answered.
        status: i16,
        /// Padding.
        pad: u16,
    }

    /// `struct gnttab_cache_flush`.
    CacheFlush {
        /// An address, or a grant reference in the lower half.
        place: u64,
        /// Bytes into the page.
        offset: u16,
        /// Bytes.
        length: u16,
        /// [`option`].
        op: u32,
    }
}
