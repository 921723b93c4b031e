//! A domain's end of its ring.

use alloc::vec::Vec;

use mote_protocols::ring::{Broken, Shared};
use mote_protocols::xs_wire::page::{CONNECTION, ERROR};
use mote_protocols::xs_wire::{Header, PAYLOAD_MAX, connection, error, kind};
use zerocopy::{FromBytes, IntoBytes};

use crate::error::Error;
use crate::local::Event;
use crate::ring::{REQUEST_RING, RESPONSE_RING, load};

/// Events that wait to be taken; more are not kept.
const EVENTS_MAX: usize = 1024;

/// A request does not fit into a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

type Answer = Result<Vec<u8>, Error>;

/// Requests under way, and what has come.
// Private: an answer is kept only if somebody waits for it, and the indices are this end's own.
#[derive(Debug)]
pub struct Client {
    requests: u32,
    responses: u32,
    outgoing: Vec<u8>,
    received: Vec<u8>,
    number: u32,
    /// The requests for whose answers somebody waits, with those that have come. Few at a time: in a list they take less code than in a tree.
    awaited: Vec<(u32, Option<Answer>)>,
    events: Vec<Event>,
}

impl Client {
    /// Goes on where the ring is: nothing is under way.
    #[must_use]
    pub fn new(page: &impl Shared) -> Self {
        let ((_, requests), (_, responses)) = (REQUEST_RING.indices(page), RESPONSE_RING.indices(page));
        Self {
            requests,
            responses,
            outgoing: Vec::new(),
            received: Vec::new(),
            number: 0,
            awaited: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Whether nobody serves the ring yet.
    #[must_use]
    pub fn is_unserved(page: &impl Shared) -> bool {
        load(page, CONNECTION) == connection::RECONNECT
    }

    /// Has a request sent, whose payload is `parts` one after the other. Returns its number.
    ///
    /// # Errors
    /// [`TooLong`] if the payload does not fit.
    pub fn send(&mut self, kind: u32, transaction: u32, parts: &[&[u8]]) -> Result<u32, TooLong> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if length > PAYLOAD_MAX {
            return Err(TooLong);
        }
        self.number = self.number.wrapping_add(1);
        let header = Header { kind, request: self.number, transaction, length: length as u32 };
        self.outgoing.extend_from_slice(header.as_bytes());
        parts.iter().for_each(|part| self.outgoing.extend_from_slice(part));
        self.awaited.push((self.number, None));
        Ok(self.number)
    }

    /// Whether there are bytes that the ring had no room for yet, or that nobody has put there.
    #[must_use]
    pub fn has_more_to_send(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Nobody waits for the answer to this request any more.
    pub fn forget(&mut self, number: u32) {
        self.awaited.retain(|(known, _)| *known != number);
    }

    /// Takes the answer to a request, if it has come.
    pub fn answer(&mut self, number: u32) -> Option<Answer> {
        let index = self.awaited.iter().position(|(known, answer)| *known == number && answer.is_some())?;
        self.awaited.swap_remove(index).1
    }

    /// Takes the next event of the watch that has this token.
    pub fn event(&mut self, token: &[u8]) -> Option<Event> {
        let index = self.events.iter().position(|event| event.token == token)?;
        Some(self.events.remove(index))
    }

    /// Forgets what waits for a watch that is no more.
    pub fn forget_events(&mut self, token: &[u8]) {
        self.events.retain(|event| event.token != token);
    }

    /// Moves bytes both ways. Returns whether the server is to be sent an event.
    ///
    /// # Errors
    /// [`Broken`] if the server has given the connection up, or does not keep to the protocol.
    pub fn turn(&mut self, page: &impl Shared) -> Result<bool, Broken> {
        if load(page, ERROR) != error::NONE {
            return Err(Broken);
        }
        let before = (self.requests, self.responses);
        while !self.outgoing.is_empty() {
            let count = REQUEST_RING.put(page, &mut self.requests, &self.outgoing)?;
            if count == 0 {
                break;
            }
            self.outgoing.drain(..count);
        }
        if before.0 != self.requests {
            REQUEST_RING.show_put(page, self.requests);
        }
        while self.receive(page)? {}
        Ok(before != (self.requests, self.responses))
    }

    /// Takes bytes of a message. Returns whether there may be more.
    fn receive(&mut self, page: &impl Shared) -> Result<bool, Broken> {
        let Some((bytes, _)) = self.received.split_first_chunk::<{ size_of::<Header>() }>() else {
            return self.take(page, size_of::<Header>());
        };
        let header = Header::read_from_bytes(bytes).map_err(|_| Broken)?;
        let length = header.length as usize;
        if length > PAYLOAD_MAX {
            return Err(Broken);
        }
        let whole = size_of::<Header>() + length;
        if self.received.len() < whole && !self.take(page, whole)? {
            return Ok(false);
        }
        if self.received.len() == whole {
            let message = core::mem::take(&mut self.received);
            self.deliver(header, message.get(size_of::<Header>()..).unwrap_or_default());
        }
        Ok(true)
    }

    /// Takes bytes until `received` has as many as `whole`, or the ring is empty. Returns whether any came.
    fn take(&mut self, page: &impl Shared, whole: usize) -> Result<bool, Broken> {
        let start = self.received.len();
        self.received.resize(whole, 0);
        let room = self.received.get_mut(start..).unwrap_or_default();
        let count = RESPONSE_RING.take(page, &mut self.responses, room)?;
        self.received.truncate(start + count);
        if count > 0 {
            RESPONSE_RING.show_taken(page, self.responses);
        }
        Ok(count > 0)
    }

    fn deliver(&mut self, header: Header, payload: &[u8]) {
        if header.kind == kind::WATCH_EVENT {
            let mut strings = payload.split(|byte| *byte == 0);
            let (Some(path), Some(token)) = (strings.next(), strings.next()) else { return };
            // A path is ASCII. Whatever else it is, something happened that concerns the token.
            let path = core::str::from_utf8(path).unwrap_or_default();
            let event = Event { path: path.into(), token: token.into() };
            if self.events.len() < EVENTS_MAX && !self.events.contains(&event) {
                self.events.push(event);
            }
        } else if let Some((_, answer)) = self.awaited.iter_mut().find(|(known, _)| *known == header.request) {
            *answer = Some(match header.kind {
                kind::ERROR => Err(Error::named(payload.split(|byte| *byte == 0).next().unwrap_or_default())),
                _ => Ok(payload.to_vec()),
            });
        }
    }
}
