//! How a service is served, as the toolstack tells a driver domain in the node `service` of an interface's back end. Mote's own.

use core::fmt;

/// The directory, below a driver domain's own, in which it has a node for each machine that it wants booted: the node's name is a number that
/// it gave no other machine, its value the number of the service's domain. As long as the node is there, so is the machine: if there can be
/// none, or it has ended, the toolstack removes the node, and if the driver domain does, the machine ends.
pub const ORDERS: &str = "data/machines";

/// How clones of a domain serve connections to its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The TCP port that they serve.
    pub port: u16,
    /// How many of them there are at once, at most.
    pub machines: u16,
    /// How many connections each has at once, at most.
    pub connections: u16,
    /// For how many milliseconds one waits for another connection when it has none. 0: it serves one.
    pub keep: u32,
    /// How many connections wait if there are as many machines as there may be.
    pub waiting: u16,
    /// For how many milliseconds they wait.
    pub patience: u32,
    /// How many milliseconds a machine may live. 0: there is no limit.
    pub life: u32,
    /// How many connections one client has at once, by its address, at most. 0: there is no limit.
    pub per_client: u16,
    /// Whether each machine is built and boots like any domain, in place of being a clone of one that is ready.
    pub boots: bool,
    /// How much memory a machine may have of its own, in KiB.
    pub memory: u32,
}

impl Terms {
    /// A machine for each connection to `port`.
    #[must_use]
    pub const fn new(port: u16) -> Self {
        let (keep, waiting, patience, life) = (0, 64, 1000, 10_000);
        let (per_client, boots, memory) = (256, false, 1024);
        Self { port, machines: 1000, connections: 1, keep, waiting, patience, life, per_client, boots, memory }
    }

    /// The same of machines that boot: few, because they are large, and with time to do so.
    #[must_use]
    pub const fn booting(port: u16) -> Self {
        Self { machines: 4, patience: 120_000, life: 600_000, boots: true, ..Self::new(port) }
    }

    /// Reads what [`Display`](fmt::Display) writes; what is not said is as in [`Terms::new`]. `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut terms = Self::new(0);
        for word in text.split_whitespace() {
            let (name, value) = word.split_once('=')?;
            match name {
                "port" => terms.port = value.parse().ok()?,
                "machines" => terms.machines = value.parse().ok()?,
                "connections" => terms.connections = value.parse().ok()?,
                "keep" => terms.keep = value.parse().ok()?,
                "waiting" => terms.waiting = value.parse().ok()?,
                "patience" => terms.patience = value.parse().ok()?,
                "life" => terms.life = value.parse().ok()?,
                "per-client" => terms.per_client = value.parse().ok()?,
                "boots" => terms.boots = value.parse().ok()?,
                "memory" => terms.memory = value.parse().ok()?,
                _ => return None,
            }
        }
        (terms.port != 0).then_some(terms)
    }
}

impl fmt::Display for Terms {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { port, machines, connections, keep, waiting, patience, life, per_client, boots, memory } = self;
        write!(to, "port={port} machines={machines} connections={connections} keep={keep} waiting={waiting} ")?;
        write!(to, "patience={patience} life={life} per-client={per_client} boots={boots} memory={memory}")
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::ToString;

    use super::*;

    #[test]
    fn terms_are_read_as_they_are_written() {
        let terms = Terms { keep: 77, machines: 3, ..Terms::new(8080) };
        for terms in [terms, Terms::booting(80)] {
            assert_eq!(Terms::parse(&terms.to_string()), Some(terms));
        }
        assert_eq!(Terms::parse("port=80"), Some(Terms::new(80)));
    }

    #[test]
    fn what_is_no_terms_is_none() {
        for text in ["", "port", "port=0", "port=65536", "port=80 life=-1", "port=80 what=1", "machines=1", "port=80,"]
        {
            assert_eq!(Terms::parse(text), None, "{text}");
        }
    }
}
