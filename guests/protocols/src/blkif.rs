//! Block devices (`io/blkif.h`), as a 64-bit guest lays the structures out.
//!
//! Sectors are of 512 bytes everywhere in the protocol, whatever the device's own are.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, transmute};

/// Bytes in a sector of the protocol.
pub const SECTOR: usize = 512;
/// Sectors in a page.
pub const SECTORS_PER_PAGE: u8 = 8;
/// Segments in a request that names them itself (`BLKIF_MAX_SEGMENTS_PER_REQUEST`).
pub const SEGMENTS: usize = 11;
/// Pages of segments that an indirect request can name (`BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST`).
pub const INDIRECT_PAGES: usize = 8;
/// Segments in a page of them.
pub const SEGMENTS_PER_PAGE: usize = 4096 / size_of::<Segment>();
/// Requests in a ring of one page: the largest power of two that fits behind the indices.
pub const RING_ENTRIES: u32 = 32;
/// The value of `protocol` in the frontend's directory for these layouts (`io/protocols.h`).
pub const PROTOCOL: &str = "arm-abi";

/// What a request asks for (`BLKIF_OP_*`).
pub mod operation {
    /// Read.
    pub const READ: u8 = 0;
    /// Write.
    pub const WRITE: u8 = 1;
    /// Write, after all that was asked for before and before all that is asked for later.
    pub const WRITE_BARRIER: u8 = 2;
    /// Put on the medium what was written.
    pub const FLUSH: u8 = 3;
    /// Forget sectors: [`super::Discard`].
    pub const DISCARD: u8 = 5;
    /// Read or write, with the segments in pages of their own: [`super::Indirect`].
    pub const INDIRECT: u8 = 6;
}

/// How a request ended (`BLKIF_RSP_*`).
pub mod status {
    /// Done.
    pub const OKAY: i16 = 0;
    /// Failed.
    pub const ERROR: i16 = -1;
    /// There is no such operation here.
    pub const NOT_SUPPORTED: i16 = -2;
}

/// What kind of disk it is: the backend's `info` (`VDISK_*`).
pub mod info {
    /// A CD.
    pub const CDROM: u32 = 1;
    /// Can be taken out.
    pub const REMOVABLE: u32 = 2;
    /// Cannot be written.
    pub const READ_ONLY: u32 = 4;
}

/// In a discard's flag: the sectors must not be readable again (`BLKIF_DISCARD_SECURE`).
pub const DISCARD_SECURE: u8 = 1;

/// Part of a page: which grant, and its first and last sector (`struct blkif_request_segment`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs, reason = "the structure's comment describes its fields")]
pub struct Segment {
    pub gref: u32,
    pub first_sect: u8,
    pub last_sect: u8,
    pub pad: u16,
}

/// A request, of whatever kind, as it stands in the ring (`struct blkif_request`): which operation, how many segments, which
/// device, the frontend's own number, the first sector, and the segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs, reason = "the structure's comment describes its fields")]
pub struct Request {
    pub operation: u8,
    pub nr_segments: u8,
    pub handle: u16,
    pub pad: u32,
    pub id: u64,
    pub sector_number: u64,
    pub seg: [Segment; SEGMENTS],
}

/// A request whose operation is [`operation::DISCARD`], with what follows it in its place of the ring
/// (`struct blkif_request_discard`): sectors to forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs, reason = "the structure's comment describes its fields")]
pub struct Discard {
    pub operation: u8,
    pub flag: u8,
    pub handle: u16,
    pub pad: u32,
    pub id: u64,
    pub sector_number: u64,
    pub nr_sectors: u64,
    pub rest: [u64; 10],
}

/// A request whose operation is [`operation::INDIRECT`], with what follows it in its place of the ring
/// (`struct blkif_request_indirect`): what to do, with how many segments, and the grants of the pages in which they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs, reason = "the structure's comment describes its fields")]
pub struct Indirect {
    pub operation: u8,
    pub indirect_op: u8,
    pub nr_segments: u16,
    pub pad: u32,
    pub id: u64,
    pub sector_number: u64,
    pub handle: u16,
    pub pad2: u16,
    pub indirect_grefs: [u32; INDIRECT_PAGES],
    pub rest: [u32; 13],
}

/// An answer: the request's number and operation, and how it ended, a [`status`] (`struct blkif_response`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs, reason = "the structure's comment describes its fields")]
pub struct Response {
    pub id: u64,
    pub operation: u8,
    pub pad: u8,
    pub status: i16,
    pub pad2: u32,
}

// What the header comes to on arm64.
const _: () = assert!(size_of::<Request>() == 112 && core::mem::offset_of!(Request, seg) == 24);
const _: () = assert!(size_of::<Discard>() == 112 && core::mem::offset_of!(Discard, nr_sectors) == 24);
const _: () = assert!(size_of::<Indirect>() == 112 && core::mem::offset_of!(Indirect, indirect_grefs) == 28);
const _: () = assert!(size_of::<Response>() == 16 && core::mem::offset_of!(Response, status) == 10);

impl From<Request> for Discard {
    fn from(request: Request) -> Self {
        transmute!(request)
    }
}

impl From<Discard> for Request {
    fn from(discard: Discard) -> Self {
        transmute!(discard)
    }
}

impl From<Request> for Indirect {
    fn from(request: Request) -> Self {
        transmute!(request)
    }
}

impl From<Indirect> for Request {
    fn from(indirect: Indirect) -> Self {
        transmute!(indirect)
    }
}

/// The number of the device that a guest calls `name`: `xvda`, `xvda1`, `xvdaa` (Xen's `docs/man/xen-vbd-interface.7`).
/// `None` if it is no such name.
#[must_use]
pub fn device_number(name: &str) -> Option<u32> {
    let rest = name.strip_prefix("xvd")?;
    let letters = rest.bytes().take_while(u8::is_ascii_lowercase).count();
    let (letters, partition) = rest.split_at_checked(letters)?;
    let disk = match letters.as_bytes() {
        [one] => letter(*one),
        [high, low] => (letter(*high) + 1) * 26 + letter(*low),
        _ => return None,
    };
    let partition: u32 = match partition {
        "" => 0,
        digits if digits.starts_with(['0', '+']) => return None,
        digits => digits.parse().ok()?,
    };
    match (disk, partition) {
        // Block major 202, with sixteen minors a disk; what does not fit there has a form of its own.
        (0..16, 0..16) => Some(202 << 8 | disk << 4 | partition),
        (_, 0..256) => Some(1 << 28 | disk << 8 | partition),
        _ => None,
    }
}

/// Place in the alphabet.
fn letter(letter: u8) -> u32 {
    u32::from(letter.wrapping_sub(b'a'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_the_numbers_that_xen_documents() {
        let numbers = [
            ("xvda", 51712),
            ("xvda1", 51713),
            ("xvdb", 51728),
            ("xvdp15", 51967),
            ("xvdq", 1 << 28 | 16 << 8),
            ("xvda16", 1 << 28 | 16),
            ("xvdaa", 1 << 28 | 26 << 8),
        ];
        for (name, number) in numbers {
            assert_eq!(device_number(name), Some(number), "{name}");
        }
        for name in ["", "xvd", "sda", "xvdA", "xvda01", "xvda256", "xvdaaa", "xvda-1", "xvda+1", "xvdä"] {
            assert_eq!(device_number(name), None, "{name}");
        }
    }

    #[test]
    fn a_request_is_what_its_operation_says() {
        let discard = Discard {
            operation: operation::DISCARD,
            flag: 0,
            handle: 0,
            pad: 0,
            id: 7,
            sector_number: 8,
            nr_sectors: 1 << 40,
            rest: [0; 10],
        };
        let request = Request::from(discard);
        assert_eq!((request.operation, request.id, request.sector_number), (operation::DISCARD, 7, 8));
        assert_eq!(Discard::from(request), discard);
        let indirect = Indirect { indirect_grefs: [1, 2, 3, 4, 5, 6, 7, 8], ..Indirect::from(request) };
        assert_eq!(Request::from(indirect).id, 7);
        assert_eq!(Indirect::from(Request::from(indirect)).indirect_grefs[7], 8);
    }
}
