//! TCP segments from clients.

use alloc::vec::Vec;

use crate::action::{Action, Parcel};
use crate::calls::{Closed, Entry, Key};
use crate::connection::{CLOSING_MAX, Connection, IDLE_MAX, MSS, State, WINDOW, hold};
use crate::cookie::Call;
use crate::flow::after;
use crate::machine::Machine;
use crate::make::Blueprint;
use crate::services::Services;
use crate::slots::{Id, Slots};
use crate::wire::{Segment, flags};
use crate::{Actions, Mac, MachineId, Packet, ServiceId, Summoner, cookie};

/// Milliseconds after a SYN was answered in which ACKs with a wrong cookie are not: if a client's first ACK was lost or overtaken his
/// others look so, and he will send it again while the cookie is good.
const MERCY: u64 = cookie::LIFE;

impl<F: Packet> Summoner<F> {
    /// A segment came for a service's address.
    pub(crate) fn client_sends(&mut self, frame: F, segment: &Segment, now: u64, actions: &mut Actions<F>) {
        let Some(service) = self.services.find(segment.target, segment.target_port) else {
            self.answer_with_reset(segment, now, actions);
            return actions.push_back(Action::Discard(frame));
        };
        let key = Key::new((segment.source, segment.source_port), service);
        match self.calls.find(key) {
            Some(Entry::Live(id)) => self.known_sends(id, frame, segment, now, actions),
            Some(Entry::Closed(closed)) if !segment.has(flags::SYN) && closed.began_with(segment) => {
                self.past_sends(key, &closed, segment, now, actions);
                actions.push_back(Action::Discard(frame));
            }
            Some(Entry::Closed(closed)) => {
                self.stranger_sends(service, Some((key, closed)), frame, segment, now, actions);
            }
            None => self.stranger_sends(service, None, frame, segment, now, actions),
        }
    }

    /// A segment of no connection that there is; there may have been one.
    fn stranger_sends(
        &mut self,
        service: ServiceId,
        past: Option<(Key, Closed)>,
        frame: F,
        segment: &Segment,
        now: u64,
        actions: &mut Actions<F>,
    ) {
        const KINDS: u8 = flags::SYN | flags::ACK | flags::RST;
        match segment.flags & KINDS {
            flags::SYN => self.answer_syn(service, &frame, segment, now, actions),
            flags::ACK => {
                let call = call(segment, segment.sequence.wrapping_sub(1));
                let cookie = segment.acknowledgement.wrapping_sub(1);
                match self.cookies.check(&call, cookie, now).filter(|_| segment.is_intact(&frame)) {
                    Some(mss) => return self.connect(service, mss, frame, segment, now, actions),
                    None => match past {
                        Some((key, closed)) => self.past_sends(key, &closed, segment, now, actions),
                        None => self.answer_wrong_cookie(service, segment, now, actions),
                    },
                }
            }
            _ => {}
        }
        actions.push_back(Action::Discard(frame));
    }

    /// Answers a SYN, of which nothing is kept.
    fn answer_syn(&mut self, service: ServiceId, frame: &F, segment: &Segment, now: u64, actions: &mut Actions<F>) {
        let Some(standing) = self.services.get_mut(service).filter(|_| segment.is_intact(frame)) else { return };
        standing.counters.syns += 1;
        standing.last_syn = Some(now);
        let cookie = self.cookies.make(&call(segment, segment.sequence), segment.mss(frame.head()), now);
        let reply = Blueprint {
            sequence: cookie,
            acknowledgement: segment.sequence.wrapping_add(1),
            flags: flags::SYN | flags::ACK,
            mss: Some(MSS),
            ..answer(segment, standing.mac)
        };
        actions.push_back(Action::ToOutside(Parcel::Short(reply.make())));
    }

    /// Somebody calls who is where he says.
    fn connect(
        &mut self,
        service: ServiceId,
        mss: u16,
        frame: F,
        segment: &Segment,
        now: u64,
        actions: &mut Actions<F>,
    ) {
        let connection = Connection {
            client: (segment.source, segment.source_port),
            peer: segment.from,
            service,
            machine: None,
            waits: false,
            isn: segment.sequence.wrapping_sub(1),
            cookie: segment.acknowledgement.wrapping_sub(1),
            mss,
            window: segment.window,
            called: now,
            deadline: u64::MAX,
            state: State::Early { held: Vec::new(), syns: 0 },
        };
        let id = if self.is_greedy(segment.source, service) { None } else { self.calls.insert(connection) };
        if let Some(standing) = self.services.get_mut(service) {
            standing.counters.connections += 1;
            standing.counters.open += u32::from(id.is_some());
            standing.counters.early += u32::from(id.is_some());
            standing.counters.refused += u64::from(id.is_none());
        }
        let Some(id) = id else {
            self.answer_with_reset(segment, now, actions);
            return actions.push_back(Action::Discard(frame));
        };
        self.keep(id, frame, segment, actions);
        self.place(id, now, actions);
    }

    /// Whether a client has as many connections to a service as one may.
    fn is_greedy(&self, ip: [u8; 4], service: ServiceId) -> bool {
        let limit = self.services.get(service).map_or(0, |standing| standing.service.policy.per_client);
        limit > 0 && self.relay != Some(ip) && self.calls.of_client(ip, service) >= limit.into()
    }

    /// Keeps a frame with data until the machine has answered the SYN.
    fn keep(&mut self, id: Id, frame: F, segment: &Segment, actions: &mut Actions<F>) {
        let Some((connection, pages)) = self.calls.get_with_pages(id) else { return };
        connection.window = segment.window;
        let rest = match &mut connection.state {
            State::Early { held, .. } if segment.data > 0 || segment.has(flags::FIN) => {
                hold(held, frame, segment, pages)
            }
            _ => Some(frame),
        };
        actions.extend(rest.map(Action::Discard));
    }

    /// A segment of a connection.
    fn known_sends(&mut self, id: Id, frame: F, segment: &Segment, now: u64, actions: &mut Actions<F>) {
        let Some(connection) = self.calls.get(id) else { return };
        if segment.has(flags::SYN) {
            // He may have forgotten it, and says so if he has (RFC 5961, 4.2).
            if self.limiters.known.allows(now) {
                self.acknowledge(id, actions);
            }
            return actions.push_back(Action::Discard(frame));
        }
        if segment.has(flags::RST) {
            return self.reset_by_client(id, frame, segment, now, actions);
        }
        let right = segment.acknowledgement == connection.cookie.wrapping_add(1);
        match &connection.state {
            State::Early { .. } if segment.has(flags::ACK) && right => self.keep(id, frame, segment, actions),
            State::Open(_) if segment.has(flags::ACK) => self.inward(id, frame, segment, now, actions),
            State::Ending { .. } if segment.has(flags::ACK) => {
                self.survivor_sends(id, segment, now, actions);
                actions.push_back(Action::Discard(frame));
            }
            _ => actions.push_back(Action::Discard(frame)),
        }
    }

    /// Passes a segment on to the machine.
    pub(crate) fn inward(&mut self, id: Id, frame: F, segment: &Segment, now: u64, actions: &mut Actions<F>) {
        let Some(connection) = self.calls.get_mut(id) else { return };
        let State::Open(flow) = &mut connection.state else { return };
        flow.client_sends(segment);
        let (shift, is_over, is_closing) = (flow.shift, flow.is_over(), flow.is_closing());
        // It need not run once more to learn that it was heard.
        let done = connection.machine.filter(|_| flow.is_sent() && segment.data == 0);
        if let Some(machine) = done.filter(|machine| serves_once(&self.machines, &self.services, *machine)) {
            actions.push_back(Action::Discard(frame));
            self.close(id, now, actions);
            return self.end(machine, actions);
        }
        connection.window = segment.window;
        connection.deadline = now + if is_closing { CLOSING_MAX } else { IDLE_MAX };
        match (connection.machine, self.services.get(connection.service)) {
            (Some(machine), Some(standing)) => {
                let parcel = connection.inward(&standing.service, shift, frame, segment);
                actions.push_back(Action::ToMachine(machine, parcel));
            }
            _ => actions.push_back(Action::Discard(frame)),
        }
        if is_over {
            self.finish(id, false, now, actions);
        }
    }

    /// The client wants no more.
    fn reset_by_client(&mut self, id: Id, frame: F, segment: &Segment, now: u64, actions: &mut Actions<F>) {
        let Some(connection) = self.calls.get(id).filter(|connection| connection.takes_reset(segment.sequence)) else {
            return actions.push_back(Action::Discard(frame));
        };
        match &connection.state {
            State::Open(_) => self.inward(id, frame, segment, now, actions),
            State::Early { syns: 1.., .. } => {
                self.reset_early(id, actions);
                actions.push_back(Action::Discard(frame));
            }
            State::Early { .. } | State::Ending { .. } => actions.push_back(Action::Discard(frame)),
        }
        self.finish(id, true, now, actions);
    }

    /// Resets a connection for a machine that has not answered its SYN yet.
    fn reset_early(&self, id: Id, actions: &mut Actions<F>) {
        if let Some(connection) = self.calls.get(id)
            && let Some(machine) = connection.machine
            && let Some(standing) = self.services.get(connection.service)
        {
            let next = connection.isn.wrapping_add(1);
            let segment = connection.to_machine(&standing.service, next, 0, flags::RST);
            actions.push_back(Action::ToMachine(machine, Parcel::Short(segment.make())));
        }
    }

    /// A segment for a machine that has said everything and is gone.
    fn survivor_sends(&mut self, id: Id, segment: &Segment, now: u64, actions: &mut Actions<F>) {
        let Some(connection) = self.calls.get_mut(id) else { return };
        let State::Ending { flow, .. } = &mut connection.state else { return };
        if segment.data > 0 && after(segment.end(), flow.received) {
            // Nobody will read this.
            return self.break_off(id, now, actions);
        }
        flow.client_sends(segment);
        let is_sent = flow.is_sent();
        if segment.has(flags::FIN) && segment.sequence == flow.received {
            flow.received = segment.end();
        }
        if (segment.has(flags::FIN) || segment.data > 0) && self.limiters.known.allows(now) {
            self.acknowledge(id, actions);
        }
        if is_sent {
            self.finish(id, false, now, actions);
        }
    }

    /// A segment of a connection that is over.
    fn past_sends(&mut self, key: Key, closed: &Closed, segment: &Segment, now: u64, actions: &mut Actions<F>) {
        if segment.has(flags::RST) || (!closed.reset && segment.data == 0 && !segment.has(flags::FIN)) {
            return;
        }
        let only_ends = segment.has(flags::FIN) && segment.data == 0 && segment.sequence == closed.received;
        if closed.reset || (after(segment.end(), closed.received) && !only_ends) {
            return self.answer_with_reset(segment, now, actions);
        }
        let received = if only_ends { segment.end() } else { closed.received };
        self.calls.advance(key, received);
        // It ends once. What comes again is not answered however often it comes.
        if let Some(standing) = self.services.at_ip(segment.target)
            && (only_ends || self.limiters.known.allows(now))
        {
            let (sequence, flags) = (closed.sent, flags::ACK);
            let reply = Blueprint { sequence, acknowledgement: received, flags, ..answer(segment, standing.mac) };
            actions.push_back(Action::ToOutside(Parcel::Short(reply.make())));
        }
    }

    /// Says to a client where his connection stands.
    pub(crate) fn acknowledge(&self, id: Id, actions: &mut Actions<F>) {
        if let Some(connection) = self.calls.get(id)
            && let Some(standing) = self.services.get(connection.service)
        {
            let segment = connection.to_client(&standing.service, standing.mac, flags::ACK);
            actions.push_back(Action::ToOutside(Parcel::Short(segment.make())));
        }
    }

    fn answer_wrong_cookie(&mut self, service: ServiceId, segment: &Segment, now: u64, actions: &mut Actions<F>) {
        let Some(standing) = self.services.get_mut(service) else { return };
        standing.counters.wrong += 1;
        let may_be_early = standing.last_syn.is_some_and(|last| now < last + MERCY);
        if !may_be_early {
            self.answer_with_reset(segment, now, actions);
        }
    }

    /// Answers a segment of no connection (RFC 9293, 3.10.7.1).
    fn answer_with_reset(&mut self, segment: &Segment, now: u64, actions: &mut Actions<F>) {
        let Some(standing) = self.services.at_ip(segment.target) else { return };
        if segment.has(flags::RST) || !self.limiters.strangers.allows(now) {
            return;
        }
        let mut reply = answer(segment, standing.mac);
        if segment.has(flags::ACK) {
            (reply.sequence, reply.flags) = (segment.acknowledgement, flags::RST);
        } else {
            (reply.acknowledgement, reply.flags) = (segment.end(), flags::RST | flags::ACK);
        }
        actions.push_back(Action::ToOutside(Parcel::Short(reply.make())));
    }
}

/// Whether a machine has no more to do when the connection that it has is over.
fn serves_once(machines: &Slots<Machine>, services: &Services, machine: MachineId) -> bool {
    machines.get(machine.0).is_some_and(|machine| {
        let keep = services.get(machine.service).map(|standing| standing.service.policy.keep);
        keep == Some(0) && machine.connections.len() == 1
    })
}

fn call(segment: &Segment, isn: u32) -> Call {
    let client = (segment.source, segment.source_port);
    Call { client, service: (segment.target, segment.target_port), isn }
}

/// A segment to who sent this one.
fn answer(segment: &Segment, from: Mac) -> Blueprint {
    let (source, target) = ((segment.target, segment.target_port), (segment.source, segment.source_port));
    let to = segment.from;
    Blueprint { from, to, source, target, sequence: 0, acknowledgement: 0, flags: 0, window: WINDOW, mss: None }
}
