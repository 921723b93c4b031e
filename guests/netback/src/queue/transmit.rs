//! Requests to transmit: from the frontend's ring to frames.

use alloc::vec::Vec;

use arrayvec::ArrayVec;
use mote_protocols::netif::{Extra, RING_ENTRIES, SLOTS_MIN, TxRequest, TxResponse, extra, status, transmit};
use mote_protocols::ring::{Broken, Shared};

use super::{Copies, Frontend, Local, Queue, Transfer};
use crate::frame::{FIRST_MAX, Writer};
use crate::packet::ETHERNET_HEADER;
use crate::pool::PAGE;
use crate::{Checksum, Frame, Pool, Turn};

/// Frames that are taken by one turn.
const BATCH: usize = 32;
/// Requests of a frame at which a frontend is no longer only out of date.
const SLOTS_MAX: usize = 20;
/// Extras of a frame: no more than one of each type.
const EXTRAS_MAX: u8 = 4;

/// Bytes that a frame's first page has, if there are so many: the headers of Ethernet, IPv4 and TCP without options.
const HEAD_MIN: usize = 54;

/// A request that was taken and is not answered.
#[derive(Debug)]
pub(super) struct Part {
    reference: u32,
    offset: u16,
    len: u16,
    id: u16,
    /// Extras that came after it.
    extras: u8,
    /// Whether it belongs to a frame that is wanted, and whether it is the first of its frame.
    wanted: bool,
    first: bool,
    status: i16,
}

/// What a frame's first request and its extras say of it.
struct Description {
    checksum: Checksum,
    segment: u16,
    /// It is no frame but something that was not offered.
    refused: bool,
}

impl<P: Shared, F: Frontend> Queue<P, F> {
    pub(super) fn take_batch(&mut self, pool: &mut Pool, frames: &mut Vec<Frame>) -> Result<Turn, Broken> {
        self.scratch.parts.clear();
        let old = frames.len();
        let mut turn = Ok(Turn::Again);
        while frames.len() - old < BATCH && self.scratch.parts.len() < RING_ENTRIES as usize {
            match self.transmit.next() {
                Ok(Some(first)) => {
                    if let Err(broken) = self.take_frame(first, pool, frames) {
                        turn = Err(broken);
                        break;
                    }
                }
                Ok(None) if self.transmit.arm() => {}
                Ok(None) => {
                    turn = Ok(Turn::Wait);
                    break;
                }
                Err(broken) => {
                    turn = Err(broken);
                    break;
                }
            }
        }
        if turn.is_ok() {
            self.fetch(frames.get_mut(old..).unwrap_or_default());
        } else {
            // Nothing of a batch in which something makes no sense.
            frames.drain(old..).for_each(|frame| pool.give(frame));
            return turn;
        }
        self.answer(frames, old, pool);
        turn
    }

    /// Takes the rest of the frame that begins with `first`.
    fn take_frame(&mut self, first: TxRequest, pool: &mut Pool, frames: &mut Vec<Frame>) -> Result<(), Broken> {
        let begin = self.scratch.parts.len();
        let (description, extras) = self.describe(&first)?;
        let (mut last, mut beyond) = (first, 0u32);
        self.scratch.parts.push(part(&first, extras));
        while last.flags & transmit::MORE_DATA != 0 {
            last = self.transmit.next()?.ok_or(Broken)?;
            if self.scratch.parts.len() - begin >= SLOTS_MAX {
                return Err(Broken);
            }
            beyond += u32::from(last.size);
            self.scratch.parts.push(part(&last, 0));
        }
        let parts = self.scratch.parts.get_mut(begin..).unwrap_or_default();
        // The first request has the size of the whole.
        let len = usize::from(first.size);
        let first_len = u32::from(first.size).checked_sub(beyond).filter(|len| *len > 0);
        let sane = len >= ETHERNET_HEADER && parts.len() <= SLOTS_MIN && !description.refused;
        let (Some(first_len), true) = (first_len, sane) else {
            parts.iter_mut().for_each(|part| part.status = status::ERROR);
            return Ok(());
        };
        if let Some(part) = parts.first_mut() {
            part.len = first_len as u16;
            part.first = true;
        }
        if parts.iter().any(|part| usize::from(part.offset) + usize::from(part.len) > PAGE) {
            return Err(Broken);
        }
        let Some(mut frame) = frame_for(parts, pool) else {
            parts.iter_mut().for_each(|part| part.status = status::DROPPED);
            return Ok(());
        };
        parts.iter_mut().for_each(|part| part.wanted = true);
        (frame.checksum, frame.segment) = (description.checksum, description.segment);
        frames.push(frame);
        Ok(())
    }

    /// What the first request says of the frame, and how many extras came after it.
    fn describe(&mut self, first: &TxRequest) -> Result<(Description, u8), Broken> {
        let checksum = match first.flags & (transmit::CHECKSUM_BLANK | transmit::DATA_VALIDATED) {
            0 => Checksum::Unknown,
            transmit::DATA_VALIDATED => Checksum::Valid,
            _ => Checksum::Blank,
        };
        let mut description = Description { checksum, segment: 0, refused: false };
        let (mut more, mut extras) = (first.flags & transmit::EXTRA_INFO != 0, 0);
        while more {
            let extra = Extra::from(self.transmit.next()?.ok_or(Broken)?);
            extras += 1;
            match extra.kind {
                extra::GSO if extra.size != 0 && extra.segments == extra::TCPV4 => description.segment = extra.size,
                extra::MULTICAST_ADD | extra::MULTICAST_DELETE => description.refused = true,
                extra::HASH => {}
                _ => return Err(Broken),
            }
            more = extra.flags & extra::MORE != 0;
            if more && extras == EXTRAS_MAX {
                return Err(Broken);
            }
        }
        if description.segment != 0 && description.checksum != Checksum::Blank {
            description.refused = true;
        }
        Ok((description, extras))
    }

    /// Copies what the wanted requests name into the frames, which are as many as there are first ones.
    fn fetch(&mut self, frames: &mut [Frame]) {
        let mut frames = frames.iter_mut();
        let mut writer = Writer::default();
        let mut copies = Copies::new();
        for number in 0..self.scratch.parts.len() {
            let Some(part) = self.scratch.parts.get(number).filter(|part| part.wanted) else { continue };
            if part.first {
                writer = frames.next().map(Frame::writer).unwrap_or_default();
            }
            let (reference, mut offset, mut left) = (part.reference, part.offset, part.len);
            while left > 0 {
                let local = writer.take(left.into());
                let len = local.len() as u16;
                if len == 0 {
                    break;
                }
                if copies.is_full() {
                    make(&mut self.frontend, &mut copies, &mut self.scratch.parts);
                }
                copies.push(Transfer {
                    reference,
                    offset,
                    local: Local::Fetch(local),
                    done: false,
                    item: number as u16,
                });
                (offset, left) = (offset + len, left - len);
            }
        }
        make(&mut self.frontend, &mut copies, &mut self.scratch.parts);
    }

    /// Answers all requests, and drops the frames that could not be copied.
    fn answer(&mut self, frames: &mut Vec<Frame>, old: usize, pool: &mut Pool) {
        let mut failed = 0u32;
        let mut frame = 0;
        for part in &self.scratch.parts {
            frame += u32::from(part.wanted && part.first);
            if part.wanted && part.status != status::OKAY {
                failed |= 1 << (frame - 1);
            }
            self.transmit.push(&TxResponse { id: part.id, status: part.status });
            for _ in 0..part.extras {
                self.transmit.push(&TxResponse { id: 0, status: status::NULL });
            }
        }
        if self.transmit.publish() {
            self.frontend.notify_transmit();
        }
        while failed != 0 {
            // The last first, so that those before it stay where they are.
            let last = failed.ilog2();
            failed &= !(1 << last);
            pool.give(frames.remove(old + last as usize));
        }
    }
}

/// A batch's frames have a bit each.
const _: () = assert!(BATCH <= u32::BITS as usize);

const fn part(request: &TxRequest, extras: u8) -> Part {
    Part {
        reference: request.gref,
        offset: request.offset,
        len: request.size,
        id: request.id,
        extras,
        wanted: false,
        first: false,
        status: status::OKAY,
    }
}

/// A frame in which each part lies in one page, so that one copy is enough for it; small ones share a page.
fn frame_for(parts: &[Part], pool: &mut Pool) -> Option<Frame> {
    let total = parts.iter().map(|part| usize::from(part.len)).sum();
    if total <= FIRST_MAX {
        return pool.frame_of(total, core::iter::empty());
    }
    let mut fragments: ArrayVec<usize, { SLOTS_MIN + 1 }> = ArrayVec::new();
    let (mut here, mut room) = (0, FIRST_MAX);
    for part in parts {
        let mut len = usize::from(part.len);
        if here + len > room {
            // Headers must not be apart.
            let split = if fragments.is_empty() && here < HEAD_MIN { room - here } else { 0 };
            fragments.push(here + split);
            len -= split;
            (here, room) = (0, PAGE);
        }
        here += len;
    }
    fragments.push(here);
    if fragments.len() > SLOTS_MIN {
        // More than a frontend must take.
        return pool.frame(total);
    }
    let (first, rest) = fragments.split_first()?;
    pool.frame_of(*first, rest.iter().copied())
}

/// Makes copies and notes which requests failed.
fn make<F: Frontend>(frontend: &mut F, copies: &mut Copies<'_>, parts: &mut [Part]) {
    if copies.is_empty() {
        return;
    }
    frontend.copy(copies);
    for copy in copies.drain(..).filter(|copy| !copy.done) {
        if let Some(part) = parts.get_mut(usize::from(copy.item)) {
            part.status = status::ERROR;
        }
    }
}
