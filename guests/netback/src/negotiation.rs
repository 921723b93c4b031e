//! What the two ends write into xenstore for each other (`io/netif.h`), but for the state.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use mote_protocols::netif::node;

/// Pairs of rings that one interface may have.
pub const QUEUES_MAX: u32 = 4;

/// What whoever takes a frame does itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// It completes checksums.
    pub checksum: bool,
    /// It cuts large TCP frames over IPv4 into segments, or has no need to.
    pub segments: bool,
}

/// What was agreed upon with a frontend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agreement {
    /// What it takes.
    pub abilities: Abilities,
    /// Whether a frame it takes may be of several pages.
    pub scatter_gather: bool,
    /// Its pairs of rings.
    pub queues: u32,
}

/// A frontend that cannot be served, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfit(pub &'static str);

impl Agreement {
    /// The nodes that [`Agreement::new`] asks for.
    pub const NODES: [&str; 6] = [
        node::REQUEST_COPY,
        node::RECEIVE_NOTIFY,
        node::SCATTER_GATHER,
        node::GSO_TCPV4,
        node::NO_CHECKSUM_OFFLOAD,
        node::QUEUES,
    ];

    /// From what the frontend has in its directory.
    ///
    /// # Errors
    /// If it cannot be served.
    pub fn new<'a>(read: impl Fn(&str) -> Option<&'a str>) -> Result<Self, Unfit> {
        let is_on = |name| read(name).is_some_and(|value| value.trim().parse() == Ok(1u32));
        if !is_on(node::REQUEST_COPY) {
            return Err(Unfit("it does not want copies, and there is no other way"));
        }
        if !is_on(node::RECEIVE_NOTIFY) {
            return Err(Unfit("it does not say when it asks to receive"));
        }
        let queues = match read(node::QUEUES) {
            None => 1,
            Some(number) => number
                .trim()
                .parse()
                .ok()
                .filter(|number| (1..=QUEUES_MAX).contains(number))
                .ok_or(Unfit("so many queues"))?,
        };
        let scatter_gather = is_on(node::SCATTER_GATHER);
        let checksum = !is_on(node::NO_CHECKSUM_OFFLOAD);
        let segments = is_on(node::GSO_TCPV4) && scatter_gather && checksum;
        Ok(Self { abilities: Abilities { checksum, segments }, scatter_gather, queues })
    }

    /// The directory of queue `number` below the frontend's.
    #[must_use]
    pub fn queue_directory(&self, number: u32) -> String {
        if self.queues == 1 { String::new() } else { format!("queue-{number}/") }
    }
}

/// A frontend's ports for a pair of rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Events {
    /// One for both.
    One(u32),
    /// One for the ring of requests to transmit, one for the ring of requests to receive.
    Two(u32, u32),
}

/// Where a pair of rings is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueKeys {
    /// The grant of the ring of requests to transmit.
    pub transmit: u32,
    /// The grant of the ring of requests to receive.
    pub receive: u32,
    /// The ports.
    pub events: Events,
}

impl QueueKeys {
    /// The nodes that [`QueueKeys::new`] asks for, in the queue's directory.
    pub const NODES: [&str; 5] =
        [node::TRANSMIT_RING, node::RECEIVE_RING, node::EVENTS, node::TRANSMIT_EVENTS, node::RECEIVE_EVENTS];

    /// From what the frontend has in the queue's directory; `None` if something is missing or no number.
    #[must_use]
    pub fn new<'a>(read: impl Fn(&str) -> Option<&'a str>) -> Option<Self> {
        let number = |name| read(name)?.trim().parse().ok();
        let split = number(node::TRANSMIT_EVENTS).zip(number(node::RECEIVE_EVENTS));
        let events = match split {
            Some((transmit, receive)) if transmit != receive => Events::Two(transmit, receive),
            Some((both, _)) => Events::One(both),
            None => Events::One(number(node::EVENTS)?),
        };
        Some(Self { transmit: number(node::TRANSMIT_RING)?, receive: number(node::RECEIVE_RING)?, events })
    }
}

/// A node's name and its value.
pub type Node = (&'static str, String);

/// What is there when the backend says that it waits for the frontend: how the two can work together. Of a service there are clones, who
/// are connected as their template was, by one queue with one event channel.
#[must_use]
pub fn before_connection(is_service: bool) -> Vec<Node> {
    let queues = if is_service { 1 } else { QUEUES_MAX };
    let flag = |name, on: bool| (name, u32::from(on).to_string());
    Vec::from([
        flag(node::SCATTER_GATHER, true),
        flag(node::GSO_TCPV4, true),
        flag(node::RECEIVE_COPY, true),
        flag(node::RECEIVE_FLIP, false),
        flag(node::SPLIT_EVENTS, !is_service),
        (node::QUEUES_MAX, queues.to_string()),
    ])
}
