//! Which machine a connection gets, and what happens to both when it is over.

use crate::action::{Action, Parcel};
use crate::connection::{LAUNCH_MAX, SYN_AGAIN, SYNS_OF_BOOT, State};
use crate::machine::{GRACE, Machine, Stage};
use crate::make::{self, Blueprint};
use crate::slots::Id;
use crate::wire::flags;
use crate::{Actions, MachineId, Packet, Policy, Service, ServiceId, Summoner};

impl<F: Packet> Summoner<F> {
    /// Gives a connection a machine, or has it wait for one, or refuses it.
    pub(crate) fn place(&mut self, id: Id, now: u64, actions: &mut Actions<F>) {
        let Some(service) = self.calls.get(id).map(|connection| connection.service) else { return };
        if let Some(machine) = self.find_machine(service, actions) {
            return self.assign(id, machine, now, actions);
        }
        let Some(standing) = self.services.get_mut(service) else { return self.refuse(id, now, actions) };
        let policy = standing.service.policy;
        if standing.counters.waiting >= u32::from(policy.waiting) {
            return self.refuse(id, now, actions);
        }
        if let Some(connection) = self.calls.get_mut(id) {
            connection.waits = true;
            connection.deadline = now + u64::from(policy.patience);
            standing.counters.waiting += 1;
            standing.waiting.push_back(id);
            // Those who left are still in it, so it is cleared before it is mostly these.
            if standing.waiting.len() > 2 * standing.counters.waiting as usize + 16 {
                standing.waiting.retain(|id| self.calls.get(*id).is_some_and(|connection| connection.waits));
            }
        }
    }

    /// Gives machines to those that wait, as far as there are some.
    pub(crate) fn fill(&mut self, service: ServiceId, now: u64, actions: &mut Actions<F>) {
        while let Some(id) = self.first_waiting(service) {
            let Some(machine) = self.find_machine(service, actions) else { return };
            if let Some(standing) = self.services.get_mut(service) {
                standing.waiting.pop_front();
            }
            self.stop_waiting(id);
            self.assign(id, machine, now, actions);
        }
    }

    /// Who has waited longest.
    fn first_waiting(&mut self, service: ServiceId) -> Option<Id> {
        let standing = self.services.get_mut(service)?;
        loop {
            let first = *standing.waiting.front()?;
            if self.calls.get(first).is_some_and(|connection| connection.waits) {
                return Some(first);
            }
            standing.waiting.pop_front();
        }
    }

    fn stop_waiting(&mut self, id: Id) {
        if let Some(connection) = self.calls.get_mut(id)
            && core::mem::take(&mut connection.waits)
            && let Some(standing) = self.services.get_mut(connection.service)
        {
            standing.counters.waiting = standing.counters.waiting.saturating_sub(1);
        }
    }

    /// A machine that can have another connection: the one that was used last, so that others become idle, or a new one.
    fn find_machine(&mut self, service: ServiceId, actions: &mut Actions<F>) -> Option<MachineId> {
        let standing = self.services.get_mut(service)?;
        while let Some(id) = standing.roomy.pop_back() {
            if let Some(machine) = self.machines.get_mut(id.0) {
                machine.listed = false;
                if machine.has_room(&standing.service.policy) {
                    return Some(id);
                }
            }
        }
        if standing.counters.live >= u32::from(standing.service.policy.machines) {
            return None;
        }
        let machine = MachineId(self.machines.insert(Machine::new(service))?);
        standing.counters.live += 1;
        standing.counters.summoned += 1;
        actions.push_back(Action::Launch { machine, service, template: standing.service.template });
        Some(machine)
    }

    fn assign(&mut self, id: Id, machine: MachineId, now: u64, actions: &mut Actions<F>) {
        let Some(connection) = self.calls.get_mut(id) else { return };
        connection.machine = Some(machine);
        let policy = self.services.get(connection.service).map(|standing| standing.service.policy);
        let boot = policy.filter(|policy| policy.boots).map(|policy| policy.patience.into());
        connection.deadline = now + boot.unwrap_or(LAUNCH_MAX);
        self.with_machine(machine, |machine| {
            machine.connections.push(id);
            machine.deadline = u64::MAX;
        });
        self.list(machine);
        if self.machines.get(machine.0).is_some_and(|machine| machine.stage == Stage::Running) {
            self.greet(id, now, actions);
        }
    }

    /// Has a machine know who calls, and that he does.
    pub(crate) fn greet(&mut self, id: Id, now: u64, actions: &mut Actions<F>) {
        let Some(connection) = self.calls.get_mut(id) else { return };
        let Some(standing) = self.services.get(connection.service) else { return };
        let State::Early { syns, .. } = &mut connection.state else { return };
        let Some(machine) = connection.machine else { return };
        let Policy { boots, patience, .. } = standing.service.policy;
        let pause = if boots { u64::from(patience) / u64::from(SYNS_OF_BOOT) } else { SYN_AGAIN << *syns };
        connection.deadline = now + pause;
        *syns += 1;
        if let Some(neighbour) = neighbour(&standing.service, connection.client.0) {
            let Service { mac, ip, .. } = standing.service;
            let frame = make::arp_reply(crate::connection::ROUTER, neighbour, mac.0, ip);
            actions.push_back(Action::ToMachine(machine, Parcel::Short(frame)));
        }
        actions.push_back(Action::ToMachine(machine, Parcel::Short(connection.syn(&standing.service))));
    }

    /// Changes a machine, and the number of those that are idle.
    pub(crate) fn with_machine(&mut self, id: MachineId, change: impl FnOnce(&mut Machine)) {
        let Some(machine) = self.machines.get_mut(id.0) else { return };
        let before = machine.is_idle();
        change(machine);
        if let Some(standing) = self.services.get_mut(machine.service) {
            let idle = &mut standing.counters.idle;
            *idle = (*idle + u32::from(machine.is_idle())).saturating_sub(u32::from(before));
        }
    }

    /// Remembers that a machine can have another connection, if it can.
    fn list(&mut self, id: MachineId) {
        let Some(machine) = self.machines.get_mut(id.0) else { return };
        let Some(standing) = self.services.get_mut(machine.service) else { return };
        if !machine.listed && machine.has_room(&standing.service.policy) {
            machine.listed = true;
            standing.roomy.push_back(id);
        }
    }

    /// A machine has one connection less, or none yet.
    pub(crate) fn settle(&mut self, id: MachineId, now: u64, actions: &mut Actions<F>) {
        let Some(machine) = self.machines.get_mut(id.0) else { return };
        let service = machine.service;
        let policy = self.services.get(service).map(|standing| standing.service.policy).unwrap_or_default();
        let keep = policy.keep;
        if machine.stage == Stage::Launching && policy.boots && keep == 0 && machine.connections.is_empty() {
            // Who called has left, and it would boot for nobody.
            return self.end(id, actions);
        }
        if machine.is_idle() {
            machine.deadline = match keep {
                0 if machine.used => now + GRACE,
                0 => return self.end(id, actions),
                keep => now + u64::from(keep),
            };
        }
        self.list(id);
        self.fill(service, now, actions);
    }

    /// Has a machine end.
    pub(crate) fn end(&mut self, id: MachineId, actions: &mut Actions<F>) {
        let mut stage = Stage::Ending;
        self.with_machine(id, |machine| {
            machine.deadline = u64::MAX;
            stage = core::mem::replace(&mut machine.stage, Stage::Ending);
        });
        if stage != Stage::Ending {
            actions.push_back(Action::End(id));
        }
    }

    /// A connection is over. It is not over for its machine if that is still there: it has been told, or will have been.
    pub(crate) fn finish(&mut self, id: Id, reset: bool, now: u64, actions: &mut Actions<F>) {
        self.stop_waiting(id);
        let Some(connection) = self.calls.close(id, reset, now) else { return };
        if let Some(standing) = self.services.get_mut(connection.service) {
            standing.counters.open = standing.counters.open.saturating_sub(1);
            if matches!(connection.state, State::Early { .. }) {
                standing.counters.early = standing.counters.early.saturating_sub(1);
            }
        }
        if let State::Early { held, .. } = connection.state {
            actions.extend(held.into_iter().map(Action::Discard));
        }
        let Some(machine) = connection.machine else { return };
        self.with_machine(machine, |machine| {
            machine.connections.retain(|other| *other != id);
            machine.used |= machine.stage == Stage::Running;
        });
        self.settle(machine, now, actions);
    }

    /// Ends a connection against the client's will.
    pub(crate) fn reset(&mut self, id: Id, now: u64, actions: &mut Actions<F>) {
        if let Some(connection) = self.calls.get(id)
            && let Some(standing) = self.services.get(connection.service)
        {
            // It counts if it has the number that the client expects, which is the one behind what is on its way if that arrives.
            let segment = connection.to_client(&standing.service, standing.mac, flags::RST | flags::ACK);
            actions.push_back(Action::ToOutside(Parcel::Short(segment.make())));
            let acked = connection.acked();
            if acked != segment.sequence {
                let segment = Blueprint { sequence: acked, ..segment };
                actions.push_back(Action::ToOutside(Parcel::Short(segment.make())));
            }
        }
        self.finish(id, true, now, actions);
    }

    /// The same because there is no machine for it.
    pub(crate) fn refuse(&mut self, id: Id, now: u64, actions: &mut Actions<F>) {
        self.count(id, |counters| counters.refused += 1);
        self.reset(id, now, actions);
    }

    /// The same because its machine did not serve it to its end.
    pub(crate) fn break_off(&mut self, id: Id, now: u64, actions: &mut Actions<F>) {
        self.count(id, |counters| counters.broken += 1);
        self.reset(id, now, actions);
    }

    pub(crate) fn count(&mut self, id: Id, count: impl FnOnce(&mut crate::Counters)) {
        if let Some(connection) = self.calls.get(id)
            && let Some(standing) = self.services.get_mut(connection.service)
        {
            count(&mut standing.counters);
        }
    }
}

/// Whom a machine has to know to answer a client: him or its gateway.
fn neighbour(service: &Service, client: [u8; 4]) -> Option<[u8; 4]> {
    let difference = u32::from_be_bytes(service.ip) ^ u32::from_be_bytes(client);
    let network = service.network?;
    let is_near = difference.leading_zeros() >= u32::from(network.prefix);
    if is_near { Some(client) } else { network.gateway }
}
