//! All connections by who calls whom, and what is remembered of those that are over.
//!
//! A connection that is over is remembered for as long as its cookie is good: a frame of it that comes late, or once more, would launch
//! another machine. And a client whose last frames were lost is answered in place of a machine that has long ended.

use alloc::collections::VecDeque;
use alloc::collections::btree_map::{self, BTreeMap};

use crate::connection::{Connection, State};
use crate::cookie;
use crate::slots::{Id, Slots};
use crate::wire::Segment;
use crate::{Packet, ServiceId};

/// Connections that are over and remembered: 2,000 a second for half of a cookie's life. About 1 MiB.
const CLOSED_MAX: usize = 16_384;
/// How many of these are forgotten at once.
const FORGET_MAX: usize = 2_048;

/// Who calls whom: a client's address and port, and a service's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(u64);

impl Key {
    pub const fn new((ip, port): ([u8; 4], u16), service: ServiceId) -> Self {
        Self((u32::from_be_bytes(ip) as u64) << 32 | (port as u64) << 16 | service.0.place() as u64 & 0xffff)
    }
}

/// A connection that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Its first sequence numbers: ours and the client's.
    pub cookie: u32,
    pub isn: u32,
    /// The number of ours that the client expects.
    pub sent: u32,
    /// The client's that is expected.
    pub received: u32,
    /// Whether it was reset: then everything that comes is answered so.
    pub reset: bool,
    /// In milliseconds, and a name of its own among those with the same key.
    expires: u64,
}

impl Closed {
    /// Whether a segment is a repetition of the one that began it.
    pub const fn began_with(&self, segment: &Segment) -> bool {
        segment.acknowledgement == self.cookie.wrapping_add(1) && segment.sequence == self.isn.wrapping_add(1)
    }
}

/// What is known of a call.
#[derive(Clone, Copy)]
pub enum Entry {
    Live(Id),
    Closed(Closed),
}

/// The connections. Fields are private because each connection has an entry, and each entry a connection or a place among the closed.
pub struct Calls<F> {
    connections: Slots<Connection<F>>,
    entries: BTreeMap<Key, Entry>,
    closed: VecDeque<(Key, u64)>,
    /// How many connections each client has to each service, by a key without a port.
    clients: BTreeMap<Key, u32>,
    /// How many pages may still be kept.
    pub pages: usize,
}

impl<F: Packet> Calls<F> {
    pub const fn new(limit: u32, pages: usize) -> Self {
        Self {
            connections: Slots::new(limit),
            entries: BTreeMap::new(),
            closed: VecDeque::new(),
            clients: BTreeMap::new(),
            pages,
        }
    }

    pub fn find(&self, key: Key) -> Option<Entry> {
        self.entries.get(&key).copied()
    }

    pub fn get(&self, id: Id) -> Option<&Connection<F>> {
        self.connections.get(id)
    }

    pub fn get_mut(&mut self, id: Id) -> Option<&mut Connection<F>> {
        self.connections.get_mut(id)
    }

    /// One to be changed, and the pages that may still be kept.
    pub fn get_with_pages(&mut self, id: Id) -> Option<(&mut Connection<F>, &mut usize)> {
        Some((self.connections.get_mut(id)?, &mut self.pages))
    }

    /// A connection, if there may be one more. A closed one's place is taken.
    pub fn insert(&mut self, connection: Connection<F>) -> Option<Id> {
        let key = Key::new(connection.client, connection.service);
        let client = connection.client_key();
        let id = self.connections.insert(connection)?;
        *self.clients.entry(client).or_default() += 1;
        self.entries.insert(key, Entry::Live(id));
        Some(id)
    }

    /// How many connections a client has to a service.
    pub fn of_client(&self, ip: [u8; 4], service: ServiceId) -> u32 {
        self.clients.get(&Key::new((ip, 0), service)).copied().unwrap_or(0)
    }

    fn forget_client(&mut self, client: Key) {
        if let btree_map::Entry::Occupied(mut count) = self.clients.entry(client) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// Forgets a connection, but for that it is over.
    pub fn close(&mut self, id: Id, reset: bool, now: u64) -> Option<Connection<F>> {
        let connection = self.connections.remove(id)?;
        self.forget_client(connection.client_key());
        if let State::Early { held, .. } = &connection.state {
            self.pages += held.iter().map(F::pages).sum::<usize>();
        }
        let (sent, received) = connection.numbers();
        let expires = now + cookie::LIFE;
        let closed = Closed { cookie: connection.cookie, isn: connection.isn, sent, received, reset, expires };
        if self.closed.len() >= CLOSED_MAX {
            self.forget_first();
        }
        let key = Key::new(connection.client, connection.service);
        self.entries.insert(key, Entry::Closed(closed));
        self.closed.push_back((key, expires));
        Some(connection)
    }

    /// The client has sent more of a connection that is over.
    pub fn advance(&mut self, key: Key, received: u32) {
        if let Some(Entry::Closed(closed)) = self.entries.get_mut(&key) {
            closed.received = received;
        }
    }

    /// Forgets what is over for long enough.
    pub fn forget(&mut self, now: u64) {
        for _ in 0..FORGET_MAX {
            if self.closed.front().is_none_or(|(_, expires)| *expires > now) {
                break;
            }
            self.forget_first();
        }
        if self.closed.is_empty() {
            self.closed.shrink_to(0);
        }
    }

    fn forget_first(&mut self) {
        let Some((key, expires)) = self.closed.pop_front() else { return };
        if matches!(self.entries.get(&key), Some(Entry::Closed(closed)) if closed.expires == expires) {
            self.entries.remove(&key);
        }
    }

    pub fn places(&self) -> usize {
        self.connections.places()
    }

    pub fn at(&self, place: usize) -> Option<(Id, &Connection<F>)> {
        self.connections.at(place)
    }

    /// Of how many calls something is known.
    #[cfg(test)]
    pub fn known(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is known of anybody.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
