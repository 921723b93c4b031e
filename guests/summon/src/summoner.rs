//! The summoner: all services, connections and machines.

use core::marker::PhantomData;

use crate::{Actions, Counters, MachineId, Packet, Policy, Refusal, Service, ServiceId};

/// How much there may be of what others cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Machines of all services.
    pub machines: u32,
    /// Connections of all services.
    pub connections: u32,
    /// Pages of frames that wait for their machine's answer, of all connections.
    pub pages: usize,
}

/// The summoner.
pub struct Summoner<F>(PhantomData<F>);

impl<F: Packet> Summoner<F> {
    /// Without services. `key` is random, and nobody's but this summoner's.
    #[must_use]
    pub fn new(key: [u8; 16], limits: Limits) -> Self {
        todo!()
    }
    /// Adds a service, and tells the network of its address. `now` is in milliseconds, here and everywhere.
    ///
    /// # Errors
    /// Says why there can be no such service.
    pub fn add(&mut self, service: Service, now: u64, actions: &mut Actions<F>) -> Result<ServiceId, Refusal> {
        todo!()
    }
    /// Gives a service another policy. Machines and connections that are too many for it stay.
    ///
    /// # Errors
    /// Says why that cannot be.
    pub fn change(
        &mut self,
        service: ServiceId,
        policy: Policy,
        now: u64,
        actions: &mut Actions<F>,
    ) -> Result<(), Refusal> {
        todo!()
    }
    /// Resets all connections of a service, ends its machines and forgets it.
    pub fn remove(&mut self, service: ServiceId, now: u64, actions: &mut Actions<F>) {
        todo!()
    }
    /// What happened to a service.
    #[must_use]
    pub fn counters(&self, service: ServiceId) -> Option<Counters> {
        todo!()
    }
    /// A frame came from the network. It comes back if it is not for a service.
    #[must_use]
    pub fn from_outside(&mut self, frame: F, now: u64, actions: &mut Actions<F>) -> Option<F> {
        todo!()
    }
    /// A frame came from a machine.
    pub fn from_machine(&mut self, machine: MachineId, frame: F, now: u64, actions: &mut Actions<F>) {
        todo!()
    }
    /// The machine is there; what follows is for its ring.
    pub fn launched(&mut self, machine: MachineId, now: u64, actions: &mut Actions<F>) {
        todo!()
    }
    /// The machine has ended, or could not be launched.
    pub fn gone(&mut self, machine: MachineId, now: u64, actions: &mut Actions<F>) {
        todo!()
    }
    /// Time has passed.
    pub fn tick(&mut self, now: u64, actions: &mut Actions<F>) {
        todo!()
    }
    /// When `tick` is to be called next; `None` if nothing depends on time.
    #[must_use]
    pub fn next_tick(&self) -> Option<u64> {
        todo!()
    }
}
