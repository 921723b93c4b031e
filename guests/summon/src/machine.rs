//! Machines: what they were launched for, and whether they can have more.

use alloc::vec::Vec;

use crate::slots::Id;
use crate::{Policy, ServiceId};

/// Milliseconds that a machine has to end itself after its last connection.
pub const GRACE: u64 = 2_000;

/// How far a machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It is being launched.
    Launching,
    /// It has a ring.
    Running,
    /// It was told to end, or is about to be.
    Ending,
}

/// A machine.
pub struct Machine {
    pub service: ServiceId,
    pub stage: Stage,
    /// Its connections.
    pub connections: Vec<Id>,
    /// Whether it has had a connection that is over.
    pub used: bool,
    /// Whether it is in its service's list of those that can have more.
    pub listed: bool,
    /// When it is ended, in milliseconds. Those with connections are not.
    pub deadline: u64,
}

impl Machine {
    pub const fn new(service: ServiceId) -> Self {
        let connections = Vec::new();
        Self { service, stage: Stage::Launching, connections, used: false, listed: false, deadline: u64::MAX }
    }

    /// Whether it can have another connection.
    pub fn has_room(&self, policy: &Policy) -> bool {
        let goes_on = !self.connections.is_empty() || policy.keep > 0;
        goes_on && self.stage != Stage::Ending && self.connections.len() < usize::from(policy.connections)
    }

    /// Whether it waits for a connection.
    pub fn is_idle(&self) -> bool {
        self.connections.is_empty() && self.stage == Stage::Running
    }
}
