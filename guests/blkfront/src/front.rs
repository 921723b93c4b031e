//! Requests on their way.

use alloc::vec::Vec;

use mote_protocols::blkif::{
    Discard, RING_ENTRIES, Request, Response, SECTOR, SECTORS_PER_PAGE, Segment, operation, status,
};
use mote_protocols::ring::{self, Broken, Shared};

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was done.
    Done,
    /// It failed.
    Failed,
    /// The backend cannot do such things.
    NotSupported,
}

/// A request that was asked, until its end is taken. Not to be copied, so that an end is taken once.
#[derive(Debug, PartialEq, Eq)]
pub struct Token(u64);

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    operation: u8,
    sector: u64,
    /// Of a discard.
    count: u64,
    /// Bytes of data, in the slot's pages.
    len: usize,
}

/// A place for a request.
struct Slot {
    /// The number of the request in it: the place and, above, how many there were before.
    id: u64,
    state: State,
    /// Pages with its data.
    pages: Vec<u16>,
}

#[derive(Clone, Copy)]
enum State {
    Free,
    Asked(Asked),
    /// Asked, and nobody waits for it any more.
    Abandoned(Asked),
    Ended(Ended),
}

/// One disk's requests. The fields are private because a page belongs to one slot, or is free.
pub struct Front<P> {
    ring: Option<ring::Front<P, Request, Response>>,
    /// By page: its grant.
    grants: Vec<u32>,
    free: Vec<u16>,
    slots: Vec<Slot>,
    asked: u64,
}

/// Places, as many as fit into the ring, so that all can be asked again.
const SLOTS: u64 = RING_ENTRIES as u64;

impl<P: Shared> Front<P> {
    /// A disk with `pages` pages for data, which is not connected.
    #[must_use]
    pub fn new(pages: u16) -> Self {
        let slot = |id| Slot { id, state: State::Free, pages: Vec::new() };
        Self {
            ring: None,
            grants: Vec::new(),
            free: (0..pages).rev().collect(),
            slots: (0..SLOTS).map(slot).collect(),
            asked: 0,
        }
    }

    /// Begins with a ring in page `page` and these grants of the pages for data, in their order. What was asked and not answered is asked
    /// again, in its order.
    pub fn connect(&mut self, page: P, grants: Vec<u32>) {
        self.grants = grants;
        let ring = self.ring.insert(ring::Front::new(page));
        let mut again: Vec<&Slot> = self.slots.iter().filter(|slot| slot.asked().is_some()).collect();
        again.sort_unstable_by_key(|slot| slot.id / SLOTS);
        for slot in again {
            // A new ring has room for all places.
            let _ = slot.asked().is_none_or(|asked| ring.push(&slot.request(&asked, &self.grants)));
        }
    }

    /// Ends the connection; what was asked waits for the next.
    pub fn disconnect(&mut self) {
        self.ring = None;
    }

    /// Whether there is a connection.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        self.ring.is_some()
    }

    /// Pages for `len` bytes of data, if there are as many and a place for a request. They are asked for by [`Front::ask`], or given back.
    pub fn reserve(&mut self, len: usize) -> Option<Vec<u16>> {
        let needed = len.div_ceil(SECTOR * usize::from(SECTORS_PER_PAGE));
        if !self.slots.iter().any(|slot| matches!(slot.state, State::Free)) {
            return None;
        }
        let rest = self.free.len().checked_sub(needed)?;
        Some(self.free.split_off(rest))
    }

    /// Asks to read into (`writes` false) or to write from these pages `len` bytes, a multiple of a sector's, from `sector` on.
    /// `None` if there is no connection or no place; then the pages are free again.
    pub fn transfer(&mut self, writes: bool, sector: u64, len: usize, pages: Vec<u16>) -> Option<Token> {
        let operation = if writes { operation::WRITE } else { operation::READ };
        self.ask(Asked { operation, sector, count: 0, len }, pages)
    }

    /// Asks to put on the medium what was written: all whose end was taken.
    pub fn flush(&mut self) -> Option<Token> {
        self.ask(Asked { operation: operation::FLUSH, sector: 0, count: 0, len: 0 }, Vec::new())
    }

    /// Asks to forget `count` sectors from `sector` on.
    pub fn discard(&mut self, sector: u64, count: u64) -> Option<Token> {
        self.ask(Asked { operation: operation::DISCARD, sector, count, len: 0 }, Vec::new())
    }

    fn ask(&mut self, asked: Asked, pages: Vec<u16>) -> Option<Token> {
        let place = self.slots.iter_mut().find(|slot| matches!(slot.state, State::Free));
        let (Some(slot), Some(ring)) = (place, &mut self.ring) else {
            self.free.extend(pages);
            return None;
        };
        slot.id = self.asked * SLOTS + slot.id % SLOTS;
        self.asked = self.asked.wrapping_add(1) % (u64::MAX / SLOTS);
        (slot.state, slot.pages) = (State::Asked(asked), pages);
        // As many places as the ring has entries: there is room.
        let _ = ring.push(&slot.request(&asked, &self.grants));
        Some(Token(slot.id))
    }

    /// Shows the backend what was asked. True if it is to get an event.
    pub fn publish(&mut self) -> bool {
        self.ring.as_mut().is_some_and(ring::Front::publish)
    }

    /// Takes the answers that there are, and asks for an event at the next. True if there were any: then it is worth another look.
    ///
    /// # Errors
    /// If the backend makes no sense. The connection is at its end then.
    pub fn collect(&mut self) -> Result<bool, Broken> {
        let taken = self.take_answers();
        if taken.is_err() {
            self.ring = None;
        }
        taken
    }

    fn take_answers(&mut self) -> Result<bool, Broken> {
        let mut any = false;
        // A backend that plays with its index gets no more than its share of turns.
        for _ in 0..2 * SLOTS {
            let Some(ring) = &mut self.ring else { return Ok(any) };
            match ring.next()? {
                Some(response) => {
                    self.answer(&response)?;
                    any = true;
                }
                None if ring.arm() => {}
                None => return Ok(any),
            }
        }
        Ok(true)
    }

    fn answer(&mut self, response: &Response) -> Result<(), Broken> {
        let slot = self.slots.get_mut((response.id % SLOTS) as usize).ok_or(Broken)?;
        let asked = slot.asked().ok_or(Broken)?;
        if slot.id != response.id || asked.operation != response.operation {
            return Err(Broken);
        }
        if matches!(slot.state, State::Abandoned(_)) {
            slot.state = State::Free;
            self.free.append(&mut slot.pages);
            return Ok(());
        }
        slot.state = State::Ended(match response.status {
            status::OKAY => Ended::Done,
            status::NOT_SUPPORTED => Ended::NotSupported,
            _ => Ended::Failed,
        });
        Ok(())
    }

    /// How the request ended, and its pages, from which data that was read can be taken and which are to be given back. The token if it has
    /// not ended.
    ///
    /// # Errors
    /// The token.
    pub fn take(&mut self, token: Token) -> Result<(Ended, Vec<u16>), Token> {
        let slot = self.slots.get_mut((token.0 % SLOTS) as usize).filter(|slot| slot.id == token.0);
        let Some(slot) = slot else { return Ok((Ended::Failed, Vec::new())) };
        let State::Ended(ended) = slot.state else { return Err(token) };
        slot.state = State::Free;
        Ok((ended, core::mem::take(&mut slot.pages)))
    }

    /// Gives pages back.
    pub fn give_back(&mut self, pages: Vec<u16>) {
        self.free.extend(pages);
    }

    /// Nobody will take the end of this request.
    pub fn abandon(&mut self, token: Token) {
        let slot = self.slots.get_mut((token.0 % SLOTS) as usize).filter(|slot| slot.id == token.0);
        let Some(slot) = slot else { return };
        match slot.state {
            State::Asked(asked) => slot.state = State::Abandoned(asked),
            State::Ended(_) => {
                slot.state = State::Free;
                self.free.append(&mut slot.pages);
            }
            State::Free | State::Abandoned(_) => {}
        }
    }
}

impl Slot {
    const fn asked(&self) -> Option<Asked> {
        match self.state {
            State::Asked(asked) | State::Abandoned(asked) => Some(asked),
            State::Free | State::Ended(_) => None,
        }
    }

    /// What goes into the ring.
    fn request(&self, asked: &Asked, grants: &[u32]) -> Request {
        let mut request =
            Request { operation: asked.operation, id: self.id, sector_number: asked.sector, ..Request::default() };
        if asked.operation == operation::DISCARD {
            return Discard { nr_sectors: asked.count, ..Discard::from(request) }.into();
        }
        let mut sectors = asked.len / SECTOR;
        for (segment, page) in request.seg.iter_mut().zip(&self.pages) {
            let here = sectors.min(SECTORS_PER_PAGE.into());
            sectors -= here;
            // A page without a grant is one that the backend cannot use: it answers with an error.
            let gref = grants.get(usize::from(*page)).copied().unwrap_or(0);
            *segment = Segment { gref, first_sect: 0, last_sect: (here as u8).saturating_sub(1), pad: 0 };
            request.nr_segments += 1;
        }
        request
    }
}
