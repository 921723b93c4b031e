//! What a request asks for, checked against the disk.

use alloc::vec::Vec;
use core::ops::Range;

use mote_protocols::blkif::{
    DISCARD_SECURE, Discard, Indirect, Request, SECTOR, SECTORS_PER_PAGE, SEGMENTS, Segment, operation, status,
};
use zerocopy::FromBytes;

use crate::Geometry;

/// Segments in an indirect request at most. They fit into a page's first sector.
pub const INDIRECT_SEGMENTS: usize = 32;

/// Sectors of a page of the guest's. They are in the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    gref: u32,
    // first < end ≤ SECTORS_PER_PAGE
    first: u8,
    end: u8,
}

impl Part {
    /// The grant of the page.
    #[must_use]
    pub const fn gref(&self) -> u32 {
        self.gref
    }

    /// The bytes of the page.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        usize::from(self.first) * SECTOR..usize::from(self.end) * SECTOR
    }

    fn new(segment: &Segment, geometry: &Geometry) -> Result<Self, Refused> {
        let end = segment.last_sect.checked_add(1).filter(|end| *end <= SECTORS_PER_PAGE).ok_or(ERROR)?;
        let part = Self { gref: segment.gref, first: segment.first_sect, end };
        let bytes = part.range();
        let size = geometry.sector_size as usize;
        let aligned = bytes.start.is_multiple_of(size) && bytes.end.is_multiple_of(size);
        if bytes.is_empty() || !aligned { Err(ERROR) } else { Ok(part) }
    }

    const fn sectors(&self) -> u64 {
        self.end as u64 - self.first as u64
    }
}

/// Why a request is not done: its [`status`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused(pub i16);

const ERROR: Refused = Refused(status::ERROR);
const NOT_SUPPORTED: Refused = Refused(status::NOT_SUPPORTED);

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// This.
    Work(Work),
    /// What a page of the frontend's says.
    Indirection(Indirection),
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Flush,
    /// From this sector on, so many.
    Discard(u64, u64),
    Transfer(Transfer),
}

/// What moves data: from this sector on, between the disk and these parts of the frontend's memory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Transfer {
    pub kind: Kind,
    pub sector: u64,
    pub parts: Vec<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Write,
    FlushAndWrite,
}

/// A transfer whose segments are elsewhere.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Indirection {
    kind: Kind,
    sector: u64,
    segments: usize,
    gref: u32,
}

/// The operation with which `request` is answered: an indirect one is answered as what it is underneath, as Linux wants it.
pub(crate) fn answered_as(request: &Request) -> u8 {
    match request.operation {
        operation::INDIRECT => Indirect::from(*request).indirect_op,
        other => other,
    }
}

/// What `request` asks of a disk with this geometry.
pub(crate) fn asked(request: &Request, geometry: &Geometry) -> Result<Asked, Refused> {
    let work = match request.operation {
        operation::READ => transfer(Kind::Read, request, geometry)?,
        operation::WRITE => transfer(Kind::Write, request, geometry)?,
        operation::FLUSH if !geometry.flush => return Err(NOT_SUPPORTED),
        operation::FLUSH if request.nr_segments == 0 => Work::Flush,
        operation::FLUSH => transfer(Kind::FlushAndWrite, request, geometry)?,
        operation::DISCARD => discard(&Discard::from(*request), geometry)?,
        operation::INDIRECT => return indirect(&Indirect::from(*request)).map(Asked::Indirection),
        _ => return Err(NOT_SUPPORTED),
    };
    Ok(Asked::Work(work))
}

fn transfer(kind: Kind, request: &Request, geometry: &Geometry) -> Result<Work, Refused> {
    let segments = request.seg.get(..request.nr_segments.into()).ok_or(ERROR)?;
    checked(kind, request.sector_number, segments, geometry)
}

/// A transfer between `segments` and as many sectors from `sector` on.
fn checked(kind: Kind, sector: u64, segments: &[Segment], geometry: &Geometry) -> Result<Work, Refused> {
    if segments.is_empty() || geometry.read_only && kind != Kind::Read {
        return Err(ERROR);
    }
    let parts = segments.iter().map(|segment| Part::new(segment, geometry)).collect::<Result<Vec<_>, _>>()?;
    on_disk(sector, parts.iter().map(Part::sectors).sum(), geometry)?;
    Ok(Work::Transfer(Transfer { kind, sector, parts }))
}

/// Refuses sectors that are not there, or that begin between two of the disk's.
fn on_disk(sector: u64, count: u64, geometry: &Geometry) -> Result<(), Refused> {
    let end = sector.checked_add(count).ok_or(ERROR)?;
    let aligned = sector.is_multiple_of(u64::from(geometry.sector_size) / SECTOR as u64);
    if end <= geometry.sectors && aligned { Ok(()) } else { Err(ERROR) }
}

fn discard(request: &Discard, geometry: &Geometry) -> Result<Work, Refused> {
    if geometry.discard.is_none() || request.flag & DISCARD_SECURE != 0 {
        return Err(NOT_SUPPORTED);
    }
    on_disk(request.sector_number, request.nr_sectors, geometry)?;
    let fits = request.nr_sectors.is_multiple_of(u64::from(geometry.sector_size) / SECTOR as u64);
    if geometry.read_only || !fits || request.nr_sectors == 0 {
        return Err(ERROR);
    }
    Ok(Work::Discard(request.sector_number, request.nr_sectors))
}

fn indirect(request: &Indirect) -> Result<Indirection, Refused> {
    let kind = match request.indirect_op {
        operation::READ => Kind::Read,
        operation::WRITE => Kind::Write,
        _ => return Err(ERROR),
    };
    let segments = usize::from(request.nr_segments);
    if segments == 0 || segments > INDIRECT_SEGMENTS {
        return Err(ERROR);
    }
    let [gref, ..] = request.indirect_grefs;
    Ok(Indirection { kind, sector: request.sector_number, segments, gref })
}

impl Indirection {
    /// The sector of the frontend's page in which all segments are.
    pub(crate) const fn place(&self) -> Part {
        Part { gref: self.gref, first: 0, end: 1 }
    }

    /// What is asked for, given what is at that place.
    pub(crate) fn resolve(&self, place: &[u8], geometry: &Geometry) -> Result<Work, Refused> {
        let mut segments = [Segment::default(); INDIRECT_SEGMENTS];
        let (entries, _) = place.as_chunks::<{ size_of::<Segment>() }>();
        for (segment, entry) in segments.iter_mut().zip(entries) {
            *segment = Segment::read_from_bytes(entry).map_err(|_| ERROR)?;
        }
        let segments = segments.get(..self.segments).ok_or(ERROR)?;
        checked(self.kind, self.sector, segments, geometry)
    }
}

const _: () = assert!(INDIRECT_SEGMENTS >= SEGMENTS && INDIRECT_SEGMENTS * size_of::<Segment>() <= SECTOR);

#[cfg(test)]
mod tests {
    use super::*;

    const DISK: Geometry = Geometry {
        sectors: 100,
        sector_size: 512,
        read_only: false,
        flush: true,
        discard: Some(crate::Discarding { granularity: 512, sectors_max: 50 }),
    };

    fn one(operation: u8, sector_number: u64, first_sect: u8, last_sect: u8) -> Request {
        let mut request = Request { operation, nr_segments: 1, sector_number, ..Request::default() };
        request.seg[0] = Segment { gref: 9, first_sect, last_sect, pad: 0 };
        request
    }

    #[test]
    fn segments_end_in_their_page() {
        for first in 0..=u8::MAX {
            for last in 0..=u8::MAX {
                let answer = asked(&one(operation::READ, 0, first, last), &DISK);
                assert_eq!(answer.is_ok(), first <= last && last < 8, "{first}..={last}");
            }
        }
    }

    #[test]
    fn sectors_are_on_the_disk() {
        for (sector, last, good) in [(0, 7, true), (92, 7, true), (93, 7, false), (99, 0, true), (100, 0, false)] {
            assert_eq!(asked(&one(operation::WRITE, sector, 0, last), &DISK).is_ok(), good, "{sector}");
        }
        for sector in [u64::MAX, u64::MAX - 7, 1 << 55, 1 << 63] {
            assert_eq!(asked(&one(operation::READ, sector, 0, 7), &DISK), Err(ERROR), "{sector}");
        }
    }

    #[test]
    fn a_read_has_one_to_eleven_segments() {
        for number in 0..=u8::MAX {
            let mut request = one(operation::READ, 0, 0, 0);
            request.seg = [request.seg[0]; SEGMENTS];
            request.nr_segments = number;
            assert_eq!(asked(&request, &DISK).is_ok(), (1..=11).contains(&number), "{number}");
        }
    }

    #[test]
    fn a_disk_with_large_sectors_takes_them_whole() {
        let large = Geometry { sector_size: 4096, sectors: 96, ..DISK };
        for (sector, first, last, good) in
            [(0, 0, 7, true), (8, 0, 7, true), (1, 0, 7, false), (0, 0, 0, false), (0, 1, 7, false)]
        {
            assert_eq!(
                asked(&one(operation::READ, sector, first, last), &large).is_ok(),
                good,
                "{sector} {first} {last}"
            );
        }
    }

    #[test]
    fn what_cannot_be_done_is_not_supported_or_an_error() {
        let frozen = Geometry { read_only: true, ..DISK };
        let plain = Geometry { flush: false, discard: None, ..DISK };
        for unknown in (7..=u8::MAX).chain([operation::WRITE_BARRIER, 4]) {
            assert_eq!(asked(&one(unknown, 0, 0, 0), &DISK), Err(NOT_SUPPORTED), "{unknown}");
        }
        assert_eq!(asked(&one(operation::WRITE, 0, 0, 0), &frozen), Err(ERROR));
        assert_eq!(asked(&one(operation::FLUSH, 0, 0, 0), &frozen), Err(ERROR));
        assert_eq!(asked(&one(operation::FLUSH, 0, 0, 0), &plain), Err(NOT_SUPPORTED));
        assert_eq!(asked(&one(operation::DISCARD, 0, 0, 0), &plain), Err(NOT_SUPPORTED));
        assert_eq!(
            asked(&Request { operation: operation::FLUSH, ..Request::default() }, &DISK),
            Ok(Asked::Work(Work::Flush))
        );
    }

    #[test]
    fn a_discard_is_checked_like_a_write() {
        let ask = |sector_number, nr_sectors, flag, disk: &Geometry| {
            let request =
                Discard { sector_number, nr_sectors, flag, ..Discard::from(one(operation::DISCARD, 0, 0, 0)) };
            asked(&request.into(), disk)
        };
        assert_eq!(ask(10, 50, 0, &DISK), Ok(Asked::Work(Work::Discard(10, 50))));
        assert_eq!(ask(10, 50, DISCARD_SECURE, &DISK), Err(NOT_SUPPORTED));
        for (sector, count) in [(0, 0), (60, 41), (u64::MAX, 1), (1, u64::MAX)] {
            assert_eq!(ask(sector, count, 0, &DISK), Err(ERROR), "{sector} {count}");
        }
        assert_eq!(ask(10, 10, 0, &Geometry { read_only: true, ..DISK }), Err(ERROR));
    }

    #[test]
    fn an_indirect_request_reads_or_writes_what_its_page_says() {
        let ask = |indirect_op, nr_segments| {
            let mut request = Indirect::from(one(operation::INDIRECT, 8, 0, 0));
            (request.indirect_op, request.nr_segments, request.indirect_grefs) = (indirect_op, nr_segments, [77; 8]);
            assert_eq!(answered_as(&request.into()), indirect_op);
            asked(&request.into(), &DISK)
        };
        for (operation, number) in [(0, 0), (0, 33), (operation::FLUSH, 1), (operation::INDIRECT, 1), (1, u16::MAX)] {
            assert_eq!(ask(operation, number), Err(ERROR), "{operation} {number}");
        }
        let Ok(Asked::Indirection(two)) = ask(operation::WRITE, 2) else { panic!("an indirect request") };
        assert_eq!(two.place(), Part { gref: 77, first: 0, end: 1 });
        let place: Vec<u8> = [5u32, 0x0700, 6, 0x0101].iter().flat_map(|word| word.to_le_bytes()).collect();
        let parts = vec![Part { gref: 5, first: 0, end: 8 }, Part { gref: 6, first: 1, end: 2 }];
        let write = Transfer { kind: Kind::Write, sector: 8, parts };
        assert_eq!(two.resolve(&place, &DISK), Ok(Work::Transfer(write)));
        assert_eq!(two.resolve(&place, &Geometry { read_only: true, ..DISK }), Err(ERROR));
        assert_eq!(two.resolve(&place, &Geometry { sectors: 10, ..DISK }), Err(ERROR));
    }
}
