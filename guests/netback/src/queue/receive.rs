//! Requests to receive: from frames to the frontend's pages.

use mote_protocols::netif::{Extra, RING_ENTRIES, RxResponse, extra, receive, status};
use mote_protocols::ring::{Broken, Shared};

use super::{Copies, Frontend, Local, Queue, Transfer};
use crate::frame::Reader;
use crate::{Checksum, Frame, Pool};

/// A request that was taken and is not answered.
#[derive(Debug)]
pub(super) struct Slot {
    reference: u32,
    id: u16,
    flags: u16,
    /// Bytes in its page, or how it failed.
    status: i16,
    /// Whether it is the first of its frame.
    first: bool,
    /// If it is no part of a frame, but says that the frame is to be cut into segments of so many bytes.
    extra: Option<u16>,
}

/// How many requests a frame needs.
const fn needs(frame: &Frame) -> u32 {
    (frame.pages() + (frame.segment != 0) as usize) as u32
}

impl<P: Shared, F: Frontend> Queue<P, F> {
    pub(super) fn deliver_backlog(&mut self, pool: &mut Pool) -> Result<(), Broken> {
        // However fast the frontend asks, others have their turns as well.
        let mut budget = RING_ENTRIES;
        while let Some(frame) = self.backlog.front() {
            let needed = needs(frame);
            let waiting = self.receive.waiting()?;
            if waiting < needed {
                if self.receive.arm_for(needed) && budget > 0 {
                    budget -= 1;
                    continue;
                }
                break;
            }
            self.assign(waiting)?;
            self.store();
            self.answer_received(pool);
        }
        Ok(())
    }

    /// Takes frames from the backlog and a request for each part of them, as far as the `waiting` requests go.
    fn assign(&mut self, waiting: u32) -> Result<(), Broken> {
        let mut left = waiting;
        while self.backlog.front().is_some_and(|frame| needs(frame) <= left) {
            let Some(frame) = self.backlog.pop_front() else { break };
            left -= needs(&frame);
            self.backlog_pages = self.backlog_pages.saturating_sub(frame.pages());
            let taken = self.assign_frame(&frame);
            self.scratch.leaving.push(frame);
            taken?;
        }
        Ok(())
    }

    fn assign_frame(&mut self, frame: &Frame) -> Result<(), Broken> {
        let mut flags = match frame.checksum {
            Checksum::Unknown => 0,
            Checksum::Valid => receive::DATA_VALIDATED,
            Checksum::Blank => receive::DATA_VALIDATED | receive::CHECKSUM_BLANK,
        };
        if frame.segment != 0 {
            flags |= receive::EXTRA_INFO;
        }
        let (mut left, mut first) = (frame.pages(), true);
        for len in frame.fragments() {
            left -= 1;
            if left > 0 {
                flags |= receive::MORE_DATA;
            }
            let request = self.receive.next()?.ok_or(Broken)?;
            let (reference, id) = (request.gref, request.id);
            self.scratch.slots.push(Slot { reference, id, flags, status: len as i16, first, extra: None });
            if first && frame.segment != 0 {
                // Its page is not used.
                self.receive.next()?.ok_or(Broken)?;
                let extra = Some(frame.segment);
                self.scratch.slots.push(Slot { reference: 0, id: 0, flags: 0, status: 0, first: false, extra });
            }
            (first, flags) = (false, 0);
        }
        Ok(())
    }

    /// Copies the frames into the pages of the requests.
    fn store(&mut self) {
        let mut frames = self.scratch.leaving.iter();
        let mut reader = Reader::default();
        let mut copies = Copies::new();
        for number in 0..self.scratch.slots.len() {
            let Some(slot) = self.scratch.slots.get(number).filter(|slot| slot.extra.is_none()) else { continue };
            if slot.first {
                reader = frames.next().map(|frame| frame.reader(0)).unwrap_or_default();
            }
            let (reference, mut offset, mut left) = (slot.reference, 0, slot.status.unsigned_abs());
            while left > 0 {
                let local = reader.take(left.into());
                let len = local.len() as u16;
                if len == 0 {
                    break;
                }
                if copies.is_full() {
                    make(&mut self.frontend, &mut copies, &mut self.scratch.slots);
                }
                copies.push(Transfer {
                    reference,
                    offset,
                    local: Local::Store(local),
                    done: false,
                    item: number as u16,
                });
                (offset, left) = (offset + len, left - len);
            }
        }
        make(&mut self.frontend, &mut copies, &mut self.scratch.slots);
    }

    fn answer_received(&mut self, pool: &mut Pool) {
        for slot in self.scratch.slots.drain(..) {
            let response = match slot.extra {
                Some(size) => Extra { kind: extra::GSO, size, segments: extra::TCPV4, ..Extra::default() }.into(),
                None => RxResponse { id: slot.id, offset: 0, flags: slot.flags, status: slot.status },
            };
            self.receive.push(&response);
        }
        if self.receive.publish() {
            self.frontend.notify_receive();
        }
        self.scratch.leaving.drain(..).for_each(|frame| pool.give(frame));
    }
}

/// Makes copies and notes which requests failed.
fn make<F: Frontend>(frontend: &mut F, copies: &mut Copies<'_>, slots: &mut [Slot]) {
    if copies.is_empty() {
        return;
    }
    frontend.copy(copies);
    for copy in copies.drain(..).filter(|copy| !copy.done) {
        if let Some(slot) = slots.get_mut(usize::from(copy.item)) {
            slot.status = status::ERROR;
        }
    }
}
