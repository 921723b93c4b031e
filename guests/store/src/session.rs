//! What the server knows of each of its clients.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use mote_protocols::xs_wire::{Header, kind};
use zerocopy::IntoBytes;

use crate::transaction::Transaction;

/// A client: a domain with a ring, or a part of the server's own program, which counts as domain 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// A domain.
    Domain(u16),
    /// A part of the program.
    Local(u32),
}

impl Name {
    /// The domain for which it acts.
    #[must_use]
    pub const fn domain(self) -> u16 {
        match self {
            Self::Domain(domain) => domain,
            Self::Local(_) => 0,
        }
    }

    /// Whether it may everything.
    #[must_use]
    pub const fn privileged(self) -> bool {
        self.domain() == 0
    }
}

/// What a message needs besides its payload, in bytes, roughly.
const OVERHEAD: usize = 96;

/// Something that waits for a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Reply(Header, Vec<u8>),
    Event { path: Box<str>, token: Box<[u8]> },
}

impl Message {
    /// Bytes that it takes up: as it is sent, and what it needs besides, roughly.
    pub fn size(&self) -> usize {
        let payload = match self {
            Self::Reply(_, payload) => payload.len(),
            Self::Event { path, token } => path.len() + token.len() + 2,
        };
        OVERHEAD + payload
    }

    /// As it is sent.
    pub fn encode(self) -> Vec<u8> {
        match self {
            Self::Reply(header, payload) => [header.as_bytes(), &payload].concat(),
            Self::Event { path, token } => {
                let length = (path.len() + token.len() + 2) as u32;
                let header = Header { kind: kind::WATCH_EVENT, request: 0, transaction: 0, length };
                [header.as_bytes(), path.as_bytes(), &[0], &token, &[0]].concat()
            }
        }
    }
}

/// What waits for a client, in order.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    // Private: `bytes` is their sum.
    messages: VecDeque<Message>,
    bytes: usize,
}

impl Outbox {
    pub fn push(&mut self, message: Message) {
        self.bytes += message.size();
        self.messages.push_back(message);
    }

    pub fn pop(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.size();
        Some(message)
    }

    /// Answers among them, in order.
    pub fn replies(&self) -> impl Iterator<Item = (&Header, &[u8])> {
        self.messages.iter().filter_map(|message| match message {
            Message::Reply(header, payload) => Some((header, payload.as_slice())),
            Message::Event { .. } => None,
        })
    }

    pub fn len(&self) -> usize {
        self.messages.len()
    }

    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the very same waits already, so that once more would tell nothing new.
    pub fn contains(&self, message: &Message) -> bool {
        self.messages.contains(message)
    }
}

/// A client's state.
#[derive(Debug, Default)]
pub(crate) struct Session {
    pub outbox: Outbox,
    pub transactions: BTreeMap<u32, Transaction>,
    /// The number that was given last.
    pub last_transaction: u32,
}

impl Session {
    /// A number for a transaction that no other has and that is not 0.
    pub fn transaction_number(&mut self) -> u32 {
        loop {
            self.last_transaction = self.last_transaction.wrapping_add(1);
            if self.last_transaction != 0 && !self.transactions.contains_key(&self.last_transaction) {
                return self.last_transaction;
            }
        }
    }
}
