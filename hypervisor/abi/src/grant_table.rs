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
    /// Giving frames away: not on Arm.
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
}

/// Entries in a frame of the table.
pub const ENTRIES_PER_FRAME: u32 = 512;
/// Entries that the toolstack hands out before the guest runs (`GNTTAB_NR_RESERVED_ENTRIES`).
pub const RESERVED_ENTRIES: u32 = 8;

wire! {
    // Where there is a `status`, it is answered: a [`GrantStatus`].

    /// `struct grant_entry_v1`: [`flags`], who may use it, and the frame that it grants.
    Entry { flags: u16, domid: u16, frame: u32 }

    /// `struct gnttab_map_grant_ref`: where to map (on Arm an IPA) and how ([`map`]), which grant, and whose. Answered are the status,
    /// what to unmap, and the page for devices.
    Map { host_addr: u64, flags: u32, gref: u32, dom: u16, status: i16, handle: u32, dev_bus_addr: u64 }

    /// `struct gnttab_unmap_grant_ref`: where it is mapped, where devices see it, and what the mapping answered.
    Unmap { host_addr: u64, dev_bus_addr: u64, handle: u32, status: i16, pad: u16 }

    /// `struct gnttab_setup_table`: whose table is to have how many frames, and where to list them.
    SetupTable { dom: u16, pad: u16, nr_frames: u32, status: i16, pad2: [u16; 3], frame_list: u64 }

    /// `struct gnttab_copy_ptr`: a grant reference (in the lower half) or a frame number, whose it is, and bytes into the page.
    CopyEnd { place: u64, domid: u16, offset: u16, pad: u32 }

    /// `struct gnttab_copy`: from where to where how many bytes; the flags are an [`option`].
    Copy { source: CopyEnd, dest: CopyEnd, len: u16, flags: u16, status: i16, pad: u16 }

    /// `struct gnttab_query_size`: whose; how many frames there are and can be is answered.
    QuerySize { dom: u16, pad: u16, nr_frames: u32, max_nr_frames: u32, status: i16, pad2: u16 }

    /// `struct gnttab_unmap_and_replace`: where it is mapped, what is to be there instead, and what the mapping answered.
    UnmapAndReplace { host_addr: u64, new_addr: u64, handle: u32, status: i16, pad: u16 }
    /// `struct gnttab_set_version`: the version wanted, and answered.
    SetVersion { version: u32 }

    /// `struct gnttab_get_status_frames`: whose, how many, and where to list them.
    GetStatusFrames { nr_frames: u32, dom: u16, status: i16, frame_list: u64 }

    /// `struct gnttab_get_version`: whose; the version is answered.
    GetVersion { dom: u16, pad: u16, version: u32 }

    /// `struct gnttab_swap_grant_ref`: one, and the other.
    SwapGrantRef { ref_a: u32, ref_b: u32, status: i16, pad: u16 }

    /// `struct gnttab_cache_flush`: an address or a grant reference (in the lower half), bytes into the page, how many, and what
    /// to do ([`option`]).
    CacheFlush { place: u64, offset: u16, length: u16, op: u32 }
}
