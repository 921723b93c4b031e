//! Frames from machines. They speak with those who called them, and with nobody else.

use alloc::vec::Vec;

use crate::action::{Action, Parcel};
use crate::calls::{Entry, Key};
use crate::connection::{CLOSING_MAX, Connection, IDLE_MAX, ROUTER, State};
use crate::flow::Flow;
use crate::make::{self, Blueprint};
use crate::slots::Id;
use crate::wire::{Arp, Segment, flags};
use crate::{Actions, MachineId, Packet, ServiceId, Summoner};

impl<F: Packet> Summoner<F> {
    /// A frame came from a machine.
    pub fn from_machine(&mut self, machine: MachineId, frame: F, now: u64, actions: &mut Actions<F>) {
        let Some(service) = self.machines.get(machine.0).map(|machine| machine.service) else {
            return actions.push_back(Action::Discard(frame));
        };
        if let Some(segment) = Segment::of(&frame) {
            return self.segment_from_machine(machine, service, frame, &segment, now, actions);
        }
        if let Some(packet) = Arp::of(frame.head()) {
            self.answer_machine(machine, service, &packet, actions);
        }
        actions.push_back(Action::Discard(frame));
    }

    /// Whoever a machine asks for, it is us: whether it may speak with him is seen when it does. Nobody else has its own address.
    fn answer_machine(&self, machine: MachineId, service: ServiceId, packet: &Arp, actions: &mut Actions<F>) {
        let Some(standing) = self.services.get(service) else { return };
        if packet.operation.get() == Arp::REQUEST && packet.target != standing.service.ip {
            let reply = make::arp_reply(ROUTER, packet.target, standing.service.mac.0, standing.service.ip);
            actions.push_back(Action::ToMachine(machine, Parcel::Short(reply)));
        }
    }

    fn segment_from_machine(
        &mut self,
        machine: MachineId,
        service: ServiceId,
        frame: F,
        segment: &Segment,
        now: u64,
        actions: &mut Actions<F>,
    ) {
        let own = self.services.get(service).map(|standing| (standing.service.ip, standing.service.port));
        let key = Key::new((segment.target, segment.target_port), service);
        let entry = self.calls.find(key).filter(|_| own == Some((segment.source, segment.source_port)));
        match entry {
            Some(Entry::Live(id)) => {
                let connection = self.calls.get(id).filter(|connection| connection.machine == Some(machine));
                match connection.map(|connection| &connection.state) {
                    Some(State::Early { .. }) => self.machine_answers(id, segment, now, actions),
                    Some(State::Open(_)) => return self.outward(machine, id, frame, segment, now, actions),
                    Some(State::Ending { .. }) | None => {}
                }
            }
            // The last acknowledgement was lost on its way to the machine.
            Some(Entry::Closed(closed)) if segment.has(flags::FIN | flags::ACK) && !closed.reset => {
                self.acknowledge_machine(machine, service, segment, actions);
            }
            _ => {}
        }
        actions.push_back(Action::Discard(frame));
    }

    /// A machine has answered our SYN.
    fn machine_answers(&mut self, id: Id, segment: &Segment, now: u64, actions: &mut Actions<F>) {
        const KINDS: u8 = flags::SYN | flags::ACK | flags::RST;
        const ANSWER: u8 = flags::SYN | flags::ACK;
        const REFUSAL: u8 = flags::RST | flags::ACK;
        let Some(connection) = self.calls.get(id) else { return };
        if segment.acknowledgement != connection.isn.wrapping_add(1) {
            return;
        }
        match segment.flags & KINDS {
            ANSWER => self.open(id, segment.sequence, now, actions),
            // One that has just served another may not listen again yet, one that boots not yet; it is asked again.
            REFUSAL if self.was_used(connection) || self.services.boots(connection.service) => {}
            REFUSAL => self.break_off(id, now, actions),
            _ => {}
        }
    }

    fn was_used(&self, connection: &Connection<F>) -> bool {
        connection.machine.and_then(|machine| self.machines.get(machine.0)).is_some_and(|machine| machine.used)
    }

    /// Lets client and machine speak with each other.
    fn open(&mut self, id: Id, machine_isn: u32, now: u64, actions: &mut Actions<F>) {
        let Some((connection, pages)) = self.calls.get_with_pages(id) else { return };
        let (Some(machine), State::Early { held, .. }) = (connection.machine, &mut connection.state) else { return };
        let held: Vec<F> = core::mem::take(held);
        *pages += held.iter().map(F::pages).sum::<usize>();
        connection.deadline = now + IDLE_MAX;
        connection.state = State::Open(Flow::new(connection.cookie, connection.isn, machine_isn));
        if let Some(standing) = self.services.get_mut(connection.service) {
            standing.counters.early = standing.counters.early.saturating_sub(1);
        }
        if held.is_empty() {
            let Some(standing) = self.services.get(connection.service) else { return };
            let sequence = connection.isn.wrapping_add(1);
            let segment = connection.to_machine(&standing.service, sequence, machine_isn.wrapping_add(1), flags::ACK);
            actions.push_back(Action::ToMachine(machine, Parcel::Short(segment.make())));
        }
        for frame in held {
            match Segment::of(&frame) {
                Some(segment) => self.inward(id, frame, &segment, now, actions),
                None => actions.push_back(Action::Discard(frame)),
            }
        }
    }

    /// Passes a segment on to the client.
    fn outward(&mut self, machine: MachineId, id: Id, frame: F, segment: &Segment, now: u64, actions: &mut Actions<F>) {
        let Some(connection) = self.calls.get_mut(id) else { return };
        let State::Open(flow) = &mut connection.state else { return };
        if segment.has(flags::SYN) {
            // Our acknowledgement was lost on its way.
            let service = connection.service;
            self.acknowledge_machine(machine, service, segment, actions);
            return actions.push_back(Action::Discard(frame));
        }
        let waited = flow.is_first(connection.cookie, segment).then(|| now.saturating_sub(connection.called));
        flow.machine_sends(segment);
        let (shift, is_over, is_closing) = (flow.shift, flow.is_over(), flow.is_closing());
        connection.deadline = now + if is_closing { CLOSING_MAX } else { IDLE_MAX };
        match self.services.get_mut(connection.service) {
            Some(standing) => {
                waited.into_iter().for_each(|waited| standing.counters.note_answer(waited));
                let parcel = connection.outward(standing.mac, shift, frame, segment);
                actions.push_back(Action::ToOutside(parcel));
            }
            None => actions.push_back(Action::Discard(frame)),
        }
        if is_over || segment.has(flags::RST) {
            self.finish(id, segment.has(flags::RST), now, actions);
        }
    }

    /// Acknowledges all that a machine has sent, in its own numbers.
    fn acknowledge_machine(&self, machine: MachineId, service: ServiceId, segment: &Segment, actions: &mut Actions<F>) {
        let Some(standing) = self.services.get(service) else { return };
        let reply = Blueprint {
            from: ROUTER,
            to: standing.service.mac,
            source: (segment.target, segment.target_port),
            target: (segment.source, segment.source_port),
            sequence: segment.acknowledgement,
            acknowledgement: segment.end(),
            flags: flags::ACK,
            window: u16::MAX,
            mss: None,
        };
        actions.push_back(Action::ToMachine(machine, Parcel::Short(reply.make())));
    }
}
