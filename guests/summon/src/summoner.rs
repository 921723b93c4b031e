//! The summoner: all services, connections and machines, and what becomes of machines.

use alloc::vec::Vec;

use crate::action::{Action, Parcel};
use crate::calls::Calls;
use crate::connection::{FIN_AGAIN, State};
use crate::cookie::Cookies;
use crate::limiter::Limiters;
use crate::machine::{Machine, Stage};
use crate::make;
use crate::services::Services;
use crate::slots::{Id, Slots};
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

/// The summoner. Fields are private because services, connections and machines name each other.
pub struct Summoner<F> {
    pub(crate) cookies: Cookies,
    pub(crate) services: Services,
    pub(crate) calls: Calls<F>,
    pub(crate) machines: Slots<Machine>,
    pub(crate) limiters: Limiters,
    pub(crate) clock: crate::time::Clock,
    /// A client that calls for others, and counts these itself.
    pub(crate) relay: Option<[u8; 4]>,
}

impl<F: Packet> Summoner<F> {
    /// Without services. `key` is random, and nobody's but this summoner's.
    #[must_use]
    pub fn new(key: &[u8; 16], limits: Limits) -> Self {
        Self {
            cookies: Cookies::new(key),
            services: Services::new(),
            calls: Calls::new(limits.connections, limits.pages),
            machines: Slots::new(limits.machines),
            limiters: Limiters::new(),
            clock: crate::time::Clock::default(),
            relay: None,
        }
    }

    /// From now on the client with this address has as many connections as it likes ([`Policy::per_client`]): it calls for others.
    pub const fn trust_relay(&mut self, ip: [u8; 4]) {
        self.relay = Some(ip);
    }

    /// Adds a service, and tells the network of its address. `now` is in milliseconds, here and everywhere, and never goes back.
    ///
    /// # Errors
    /// Says why there can be no such service.
    pub fn add(&mut self, service: Service, now: u64, actions: &mut Actions<F>) -> Result<ServiceId, Refusal> {
        let id = self.services.add(service, now)?;
        self.announce(id, actions);
        Ok(id)
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
        self.services.change(service, policy)?;
        self.fill(service, now, actions);
        Ok(())
    }

    /// Resets all connections of a service, ends its machines and forgets it.
    pub fn remove(&mut self, service: ServiceId, now: u64, actions: &mut Actions<F>) {
        if let Some(standing) = self.services.get_mut(service) {
            // No connection that ends makes room for another.
            standing.waiting.clear();
        }
        for place in 0..self.calls.places() {
            if let Some((id, _)) = self.calls.at(place).filter(|(_, connection)| connection.service == service) {
                self.reset(id, now, actions);
            }
        }
        for place in 0..self.machines.places() {
            if let Some((id, _)) = self.machines.at(place).filter(|(_, machine)| machine.service == service) {
                self.end(MachineId(id), actions);
            }
        }
        self.services.remove(service);
    }

    /// What happened to a service.
    #[must_use]
    pub fn counters(&self, service: ServiceId) -> Option<Counters> {
        self.services.get(service).map(|standing| standing.counters)
    }

    /// The machine is there; what follows is for its ring.
    pub fn launched(&mut self, machine: MachineId, now: u64, actions: &mut Actions<F>) {
        let mut greeted = 0;
        self.with_machine(machine, |machine| {
            if machine.stage == Stage::Launching {
                machine.stage = Stage::Running;
            }
        });
        while let Some(id) = self.connection_of(machine, greeted) {
            self.greet(id, now, actions);
            greeted += 1;
        }
        if greeted == 0 {
            self.settle(machine, now, actions);
        }
    }

    fn connection_of(&self, machine: MachineId, index: usize) -> Option<Id> {
        let machine = self.machines.get(machine.0).filter(|machine| machine.stage == Stage::Running)?;
        machine.connections.get(index).copied()
    }

    /// The machine has ended, or could not be launched.
    pub fn gone(&mut self, machine: MachineId, now: u64, actions: &mut Actions<F>) {
        // It is idle no more when it ends.
        let mut stage = Stage::Ending;
        self.with_machine(machine, |machine| stage = core::mem::replace(&mut machine.stage, Stage::Ending));
        let Some(machine) = self.machines.remove(machine.0) else { return };
        if let Some(standing) = self.services.get_mut(machine.service) {
            standing.counters.vanished += 1;
            standing.counters.live = standing.counters.live.saturating_sub(1);
        }
        for id in machine.connections {
            if let Some(connection) = self.calls.get_mut(id) {
                connection.machine = None;
                self.bereave(id, stage, machine.used, now, actions);
            }
        }
        self.fill(machine.service, now, actions);
    }

    /// The machine of a connection is gone. It had others before if it is `used`.
    fn bereave(&mut self, id: Id, stage: Stage, used: bool, now: u64, actions: &mut Actions<F>) {
        let Some(connection) = self.calls.get_mut(id) else { return };
        match &mut connection.state {
            // It ended when it was given this one.
            State::Early { syns, .. } if used => {
                *syns = 0;
                self.place(id, now, actions);
            }
            // It did not even read what the client sent, who will send it again.
            State::Open(flow) if used && flow.is_untouched(connection.cookie, connection.isn) => {
                connection.state = State::Early { held: Vec::new(), syns: 0 };
                self.count(id, |counters| counters.early += 1);
                self.place(id, now, actions);
            }
            State::Early { .. } if stage == Stage::Launching => self.refuse(id, now, actions),
            // What it said of the client's end may be lost.
            State::Open(flow) if flow.is_sent() => self.close(id, now, actions),
            State::Open(flow) if flow.machine_end.is_some() => {
                connection.state = State::Ending { flow: *flow, fins: 0 };
                connection.deadline = now + FIN_AGAIN;
            }
            State::Early { .. } | State::Open(_) | State::Ending { .. } => self.break_off(id, now, actions),
        }
    }

    /// Ends a connection whose machine has said everything, and was heard: the client's end is acknowledged here.
    pub(crate) fn close(&mut self, id: Id, now: u64, actions: &mut Actions<F>) {
        if let Some(State::Open(flow)) = self.calls.get_mut(id).map(|connection| &mut connection.state)
            && flow.client_end == Some(flow.received.wrapping_add(1))
        {
            flow.received = flow.received.wrapping_add(1);
            self.acknowledge(id, actions);
        }
        self.finish(id, false, now, actions);
    }

    /// Tells the network of a service's address.
    pub(crate) fn announce(&self, service: ServiceId, actions: &mut Actions<F>) {
        if let Some(standing) = self.services.get(service) {
            let frame = make::announcement(standing.mac, standing.service.ip);
            actions.push_back(Action::ToOutside(Parcel::Short(frame)));
        }
    }
}
