//! What happens because nothing happened.

use crate::action::{Action, Parcel};
use crate::connection::{FIN_AGAIN, FINS_MAX, SYNS_MAX, SYNS_OF_BOOT, State};
use crate::slots::Id;
use crate::wire::flags;
use crate::{Actions, MachineId, Packet, Summoner};

/// Milliseconds between looks at what may have waited long enough.
const TICK: u64 = 100;
/// How many connections and machines are looked at each time: all that there usually are, and no more than is done in passing.
const BATCH: usize = 1_024;

/// How far the last look went.
#[derive(Default)]
pub struct Clock {
    looked: u64,
    connection: usize,
    machine: usize,
}

impl<F: Packet> Summoner<F> {
    /// Time has passed.
    pub fn tick(&mut self, now: u64, actions: &mut Actions<F>) {
        self.clock.looked = now;
        self.calls.forget(now);
        let places = self.calls.places();
        for place in turn(&mut self.clock.connection, places) {
            if let Some((id, _)) = self.calls.at(place).filter(|(_, connection)| connection.deadline <= now) {
                self.expire(id, now, actions);
            }
        }
        let places = self.machines.places();
        for place in turn(&mut self.clock.machine, places) {
            if let Some((id, _)) = self.machines.at(place).filter(|(_, machine)| machine.deadline <= now) {
                self.end(MachineId(id), actions);
            }
        }
    }

    /// When `tick` is to be called next; `None` if nothing depends on time.
    #[must_use]
    pub fn next_tick(&self) -> Option<u64> {
        let idle = self.calls.is_empty() && self.machines.len() == 0;
        (!idle).then_some(self.clock.looked + TICK)
    }

    /// A connection's deadline has come.
    fn expire(&mut self, id: Id, now: u64, actions: &mut Actions<F>) {
        let Some(connection) = self.calls.get_mut(id) else { return };
        let machine = connection.machine;
        let syns_max = if self.services.boots(connection.service) { SYNS_OF_BOOT } else { SYNS_MAX };
        match &mut connection.state {
            State::Early { .. } if machine.is_none() => self.refuse(id, now, actions),
            State::Early { syns, .. } if (1..syns_max).contains(syns) => self.greet(id, now, actions),
            State::Early { .. } => {
                // Whatever it does, it does not serve.
                machine.into_iter().for_each(|machine| self.end(machine, actions));
                self.break_off(id, now, actions);
            }
            State::Open(_) => {
                self.reset_machine(id, actions);
                self.reset(id, now, actions);
            }
            State::Ending { flow, fins } => {
                let only_end_is_missing = flow.machine_end == Some(flow.acked.wrapping_add(1));
                *fins += 1;
                connection.deadline = now + (FIN_AGAIN << *fins);
                if *fins > FINS_MAX {
                    self.break_off(id, now, actions);
                } else if only_end_is_missing {
                    self.send_fin(id, actions);
                }
            }
        }
    }

    /// Resets a connection for its machine.
    pub(crate) fn reset_machine(&self, id: Id, actions: &mut Actions<F>) {
        if let Some(connection) = self.calls.get(id)
            && let State::Open(flow) = &connection.state
            && let Some(machine) = connection.machine
            && let Some(standing) = self.services.get(connection.service)
        {
            let acknowledgement = flow.sent.wrapping_sub(flow.shift);
            let flags = flags::RST | flags::ACK;
            let segment = connection.to_machine(&standing.service, flow.received, acknowledgement, flags);
            actions.push_back(Action::ToMachine(machine, Parcel::Short(segment.make())));
        }
    }

    /// Sends a FIN once more in place of a machine that is gone.
    fn send_fin(&self, id: Id, actions: &mut Actions<F>) {
        if let Some(connection) = self.calls.get(id)
            && let Some(standing) = self.services.get(connection.service)
        {
            let mut segment = connection.to_client(&standing.service, standing.mac, flags::FIN | flags::ACK);
            segment.sequence = segment.sequence.wrapping_sub(1);
            actions.push_back(Action::ToOutside(Parcel::Short(segment.make())));
        }
    }
}

/// The next places to look at of so many, once around.
fn turn(next: &mut usize, places: usize) -> core::ops::Range<usize> {
    let start = if *next < places { *next } else { 0 };
    let end = places.min(start + BATCH);
    *next = end;
    start..end
}
