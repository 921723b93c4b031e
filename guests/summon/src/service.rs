//! Services: an address, the template whose clones answer there, and how many there may be.

use mote_netback::Mac;
use thiserror::Error;

use crate::slots::Id;

/// A service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// The domain whose clones serve it.
    pub template: u16,
    /// The template's Ethernet address, which its clones have too. If other services have the same IPv4 address, the network knows that
    /// by the Ethernet address of the one that was added first.
    pub mac: Mac,
    /// Its IPv4 address.
    pub ip: [u8; 4],
    /// Its TCP port.
    pub port: u16,
    /// What the machines believe to be around them, if they look for neighbours at all and do not answer to where they were asked from.
    pub network: Option<Network>,
    /// How many machines there may be, and what for.
    pub policy: Policy,
}

/// The network as a service's machines are configured: to tell them of the neighbour to whom they answer before they ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// How many bits of the address are the network's.
    pub prefix: u8,
    /// Where they send what is for elsewhere.
    pub gateway: Option<[u8; 4]>,
}

/// How a service is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How many machines there are at once, at most.
    pub machines: u16,
    /// How many connections a machine has at once, at most.
    pub connections: u16,
    /// For how many milliseconds a machine without connections waits for the next one. 0: its last connection was its last, and it ends
    /// by itself, or is ended soon.
    pub keep: u32,
    /// How many connections wait if there are as many machines as there may be; beyond that, connections are refused.
    pub waiting: u16,
    /// For how many milliseconds they wait.
    pub patience: u32,
    /// How many connections one client has at once, by its address, at most; beyond that, its connections are refused. 0: there is no limit.
    pub per_client: u16,
    /// Whether machines boot: until one listens, it is asked again and again, for no longer than `patience`.
    pub boots: bool,
}

impl Default for Policy {
    /// A machine for each connection.
    fn default() -> Self {
        Self { machines: u16::MAX, connections: 1, keep: 0, waiting: 0, patience: 0, per_client: 0, boots: false }
    }
}

/// A service's name. It is never another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId(pub(crate) Id);

/// Why a service cannot be added.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Refusal {
    /// Another service has this address and port.
    #[error("another service has this address and port")]
    Taken,
    /// No station can have such an address.
    #[error("no station can have such an address")]
    Address,
    /// There are too many.
    #[error("there are too many services")]
    TooMany,
    /// It was removed.
    #[error("there is no such service")]
    Unknown,
    /// Without machines or connections nothing is served.
    #[error("a policy needs at least one machine and one connection")]
    Policy,
}

impl Counters {
    /// A machine has begun to answer, so many milliseconds after the connection's cookie.
    pub(crate) fn note_answer(&mut self, waited: u64) {
        self.answered += 1;
        self.answer_sum = self.answer_sum.saturating_add(waited);
        self.answer_most = self.answer_most.max(waited);
    }
}

/// What happened to a service since it was added, for who watches it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// SYNs that were answered with a cookie.
    pub syns: u64,
    /// ACKs that came with a wrong one.
    pub wrong: u64,
    /// Connections whose cookie was right.
    pub connections: u64,
    /// Machines that were launched.
    pub summoned: u64,
    /// Machines that have ended.
    pub vanished: u64,
    /// Connections that found no machine and might not wait, or waited too long.
    pub refused: u64,
    /// Connections that were reset because their machine had ended.
    pub broken: u64,
    /// Times that another station said that it has the address.
    pub conflicts: u64,
    /// Machines that there are.
    pub live: u32,
    /// Of these, those that wait for a connection.
    pub idle: u32,
    /// Connections that there are.
    pub open: u32,
    /// Of these, those that wait for a machine.
    pub waiting: u32,
    /// Of these, those that no machine has accepted yet: those that wait among them.
    pub early: u32,
    /// Connections on which the machine has said something.
    pub answered: u64,
    /// Milliseconds from the right cookie to the first byte of the answer, of all of these together.
    pub answer_sum: u64,
    /// The most of any.
    pub answer_most: u64,
}
