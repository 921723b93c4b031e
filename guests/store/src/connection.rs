//! The server's end of a domain's ring.

use alloc::vec::Vec;
use core::sync::atomic::{Ordering, fence};

use mote_protocols::ring::Shared;
use mote_protocols::xs_wire::page::{CONNECTION, ERROR, RING_SIZE, SERVER_FEATURES};
use mote_protocols::xs_wire::{Header, PAYLOAD_MAX, connection, error, feature};
use zerocopy::{FromBytes, IntoBytes};

use crate::ring::{REQUEST_RING, RESPONSE_RING, load, store};
use crate::saved::{Malformed, Reader, put};
use crate::server::Server;

/// Messages that a turn takes at most in either direction, so that others get theirs.
const MESSAGES_PER_TURN: usize = 16;

/// What a turn came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// The page has changed: the domain is to be sent an event.
    pub notify: bool,
    /// There is more to do at once.
    pub again: bool,
}

/// A domain's ring as the server serves it.
// Private: the indices are this end's own, never read back from the page.
#[derive(Debug)]
pub struct Connection {
    domain: u16,
    requests: u32,
    responses: u32,
    header: Header,
    /// Bytes of the header that have come, then of the payload.
    received: usize,
    payload: Vec<u8>,
    /// A message of which a part has been sent.
    sending: Vec<u8>,
    sent: usize,
    broken: bool,
    /// What the page does not show yet.
    unseen: Option<Unseen>,
}

/// What the page is to show.
#[derive(Clone, Copy, Debug)]
enum Unseen {
    /// Where the indices are.
    Indices,
    /// An empty ring.
    Beginning,
    /// That the domain broke the protocol, one of [`error`].
    Error(u32),
}

impl Connection {
    /// Introduces the domain to the server, and begins with an empty ring.
    #[must_use]
    pub fn new(domain: u16, server: &mut Server, page: &impl Shared) -> Self {
        server.introduce(domain);
        let mut fresh = Self::empty(domain);
        fresh.begin();
        fresh.show(page);
        fresh
    }

    const fn empty(domain: u16) -> Self {
        Self {
            domain,
            requests: 0,
            responses: 0,
            header: Header { kind: 0, request: 0, transaction: 0, length: 0 },
            received: 0,
            payload: Vec::new(),
            sending: Vec::new(),
            sent: 0,
            broken: false,
            unseen: None,
        }
    }

    fn begin(&mut self) {
        *self = Self { unseen: Some(Unseen::Beginning), ..Self::empty(self.domain) };
    }

    /// As if so many bytes had passed both ways.
    #[cfg(test)]
    pub(crate) const fn pretend(&mut self, index: u32) {
        (self.requests, self.responses) = (index, index);
    }

    /// Whether the domain broke the protocol: nothing more is done for it until it asks for a new beginning.
    #[must_use]
    pub const fn is_broken(&self) -> bool {
        self.broken
    }

    /// Sends what waits and takes requests, as far as the ring, the quotas and one turn go. To be called when the domain
    /// sends an event, when the server has something for it, and while a turn asks for another.
    pub fn turn(&mut self, server: &mut Server, page: &impl Shared) -> Turn {
        let mut turn = self.prepare(server, page);
        turn.again |= self.show(page);
        turn
    }

    /// A turn of which the domain sees nothing before [`Connection::show`]: in between it can be written down, so that whoever goes on in
    /// this one's place does neither once more what was done, nor leaves out what the domain believes to have been done.
    pub fn prepare(&mut self, server: &mut Server, page: &impl Shared) -> Turn {
        if load(page, CONNECTION) == connection::RECONNECT {
            server.reset(self.domain);
            self.begin();
            return Turn { notify: true, again: true };
        }
        if self.broken {
            return Turn::default();
        }
        let before = (self.requests, self.responses);
        match self.exchange(server, page) {
            Ok(again) => {
                let notify = before != (self.requests, self.responses);
                self.unseen = notify.then_some(Unseen::Indices);
                Turn { notify, again }
            }
            Err(reason) => {
                server.reset(self.domain);
                self.broken = true;
                self.payload = Vec::new();
                self.sending = Vec::new();
                self.unseen = Some(Unseen::Error(reason));
                Turn { notify: true, again: false }
            }
        }
    }

    /// Whether there is something that the domain does not see yet.
    #[must_use]
    pub const fn has_unseen(&self) -> bool {
        self.unseen.is_some()
    }

    /// Has the domain see what [`Connection::prepare`] did. Whether there is more to do at once: what the domain did meanwhile it may
    /// have done without an event, because it still saw requests that nobody had taken, or a response ring that was not full.
    pub fn show(&mut self, page: &impl Shared) -> bool {
        match self.unseen.take() {
            None => {}
            Some(Unseen::Indices) => {
                // What was sent comes first: who is woken by room for requests finds the answers.
                RESPONSE_RING.show_put(page, self.responses);
                REQUEST_RING.show_taken(page, self.requests);
                // Either the domain sees these, or what it did before is seen here.
                fence(Ordering::SeqCst);
                return self.can_go_on(page);
            }
            Some(Unseen::Beginning) => {
                REQUEST_RING.reset(page);
                RESPONSE_RING.reset(page);
                store(page, SERVER_FEATURES, feature::RECONNECTION | feature::ERROR);
                store(page, ERROR, error::NONE);
                store(page, CONNECTION, connection::CONNECTED);
            }
            Some(Unseen::Error(reason)) => store(page, ERROR, reason),
        }
        false
    }

    /// Whether there are bytes to take, or there is room for those that are to be sent.
    fn can_go_on(&self, page: &impl Shared) -> bool {
        let (_, requested) = REQUEST_RING.indices(page);
        let (seen, _) = RESPONSE_RING.indices(page);
        let is_full = self.responses.wrapping_sub(seen) == RING_SIZE;
        requested != self.requests || (self.sent < self.sending.len() && !is_full)
    }

    /// Writes down where the connection is and what the server has for the domain, but for events. What the domain does not see is part
    /// of it.
    pub fn save(&self, server: &Server, record: &mut Vec<u8>) {
        let numbers = [self.requests, self.responses, self.received as u32, self.broken.into()];
        numbers.iter().for_each(|number| record.extend(number.to_le_bytes()));
        record.extend(self.header.as_bytes());
        let come = self.received.saturating_sub(size_of::<Header>());
        put(record, self.payload.get(..come).unwrap_or_default());
        put(record, self.sending.get(self.sent..).unwrap_or_default());
        server.save_session(self.domain, record);
    }

    /// Goes on with what [`Connection::save`] has written, whoever it was that served the domain's ring before.
    ///
    /// # Errors
    /// [`Malformed`] if it is not that of a domain whom the server knows as a client.
    pub fn resume(domain: u16, record: &[u8], server: &mut Server) -> Result<Self, Malformed> {
        let mut reader = Reader(record);
        let mut resumed = Self::empty(domain);
        resumed.requests = reader.word()?;
        resumed.responses = reader.word()?;
        resumed.received = reader.word()? as usize;
        resumed.broken = reader.word()? != 0;
        resumed.header = reader.header()?;
        let come = reader.bytes()?;
        if resumed.received >= size_of::<Header>() {
            if resumed.header.length as usize > PAYLOAD_MAX {
                return Err(Malformed);
            }
            resumed.payload = alloc::vec![0; resumed.header.length as usize];
            resumed.payload.get_mut(..come.len()).ok_or(Malformed)?.copy_from_slice(come);
        }
        resumed.sending = reader.bytes()?.to_vec();
        server.resume_session(domain, &mut reader)?;
        resumed.unseen = if resumed.broken { None } else { Some(Unseen::Indices) };
        Ok(resumed)
    }

    /// # Errors
    /// One of [`error`].
    fn exchange(&mut self, server: &mut Server, page: &impl Shared) -> Result<bool, u32> {
        for _ in 0..MESSAGES_PER_TURN {
            let sent = self.send(server, page)?;
            let handled = !server.is_behind(self.domain) && self.receive(server, page)?;
            if !sent && !handled {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Sends a message or the rest of one. Returns whether one was completed.
    fn send(&mut self, server: &mut Server, page: &impl Shared) -> Result<bool, u32> {
        if self.sent == self.sending.len() {
            let Some(message) = server.take_message(self.domain) else { return Ok(false) };
            (self.sending, self.sent) = (message, 0);
        }
        let rest = self.sending.get(self.sent..).unwrap_or_default();
        self.sent += RESPONSE_RING.put(page, &mut self.responses, rest).map_err(|_| error::RING_INDEX)?;
        Ok(self.sent == self.sending.len())
    }

    /// Takes bytes of a request. Returns whether one was handled.
    fn receive(&mut self, server: &mut Server, page: &impl Shared) -> Result<bool, u32> {
        if self.received < size_of::<Header>() {
            let mut bytes = [0; size_of::<Header>()];
            bytes.copy_from_slice(self.header.as_bytes());
            let room = bytes.get_mut(self.received..).unwrap_or_default();
            self.received += take(page, &mut self.requests, room)?;
            self.header = Header::read_from_bytes(&bytes).map_err(|_| error::PROTOCOL)?;
            if self.received < size_of::<Header>() {
                return Ok(false);
            }
            if self.header.length as usize > PAYLOAD_MAX {
                return Err(error::PROTOCOL);
            }
            self.payload = alloc::vec![0; self.header.length as usize];
        }
        let start = self.received - size_of::<Header>();
        let room = self.payload.get_mut(start..).unwrap_or_default();
        self.received += take(page, &mut self.requests, room)?;
        if self.received < size_of::<Header>() + self.payload.len() {
            return Ok(false);
        }
        self.received = 0;
        server.handle(self.domain, self.header, &core::mem::take(&mut self.payload));
        Ok(true)
    }
}

fn take(page: &impl Shared, index: &mut u32, bytes: &mut [u8]) -> Result<usize, u32> {
    REQUEST_RING.take(page, index, bytes).map_err(|_| error::RING_INDEX)
}
