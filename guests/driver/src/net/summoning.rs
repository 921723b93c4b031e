//! Services: machines are launched when somebody connects, clones with the interface that their template had, or such as boot, which are
//! [ordered](super::orders). [`mote_summon`] decides, here is what it takes: clones, their rings, and their way to the switch.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::future::poll_fn;
use core::time::Duration;

use mote_netback::{Abilities, Agreement, Events, Frame, Identity, PortId, Queue, QueueKeys};
use mote_protocols::service::Terms;
use mote_protocols::statistics::service as count;
use mote_summon::{
    Action, Actions, Counters, Limits, MachineId, Parcel, Policy, Refusal, Service, ServiceId, Summoner,
};
use mote_unikernel::Machine;
use mote_unikernel::executor::{Either, either, sleep_until, yield_now};
use mote_unikernel::time::{self, Instant};
use mote_unikernel::xen::events::Port;
use mote_unikernel::xen::grants::Mapping;
use mote_unikernel::xen::transfers::Room;
use mote_unikernel::xen::{domains, events};
use xen_abi::mote::{CloneTemplate, flags};

use super::machine::{Heard, Launched, Wire};
use super::orders::Orders;
use super::{SharedLan, Tallied, pages, seconds};
use crate::statistics::Record;

/// Bytes of this domain's memory for each machine that there may be: what one needs, twice.
const BYTES_PER_MACHINE: usize = 2048;
/// The part of the pages for frames in which frames may wait for machines to answer: this many hundredths.
const WAITING: usize = 40;
/// Frames, and events of machines, that are taken by one turn.
const BATCH: usize = 32;
/// The least length of an Ethernet frame without its checksum (IEEE 802.3, 3.2.8).
const SHORTEST: usize = 60;
/// The longest pause between two looks at the time.
const PAUSE: Duration = Duration::from_secs(3600);

/// How a template's interface was connected, as its clones' are.
#[derive(Clone, Copy)]
pub struct Plan {
    /// The grants of its rings, for what it transmits and for what it receives.
    pub rings: [u32; 2],
    /// Its port.
    pub port: u32,
    /// What it takes.
    pub agreement: Agreement,
    /// How it is served.
    pub terms: Terms,
}

impl Plan {
    /// Of an interface whose rings are named by `keys`.
    ///
    /// # Errors
    /// Why its clones could not be connected.
    pub const fn new(keys: QueueKeys, agreement: Agreement, terms: Terms) -> Result<Self, &'static str> {
        let QueueKeys { transmit, receive, events, .. } = keys;
        match events {
            _ if agreement.queues > 1 => Err("an interface with mote,service has one queue, and it asks for several"),
            Events::Two(..) => Err("an interface with mote,service has one event channel, and it offers two"),
            Events::One(port) => Ok(Self { rings: [transmit, receive], port, agreement, terms }),
        }
    }
}

/// All services and their machines. It is borrowed for a turn, never while a task waits.
#[derive(Clone)]
pub struct Summoning(Rc<RefCell<State>>);

struct State {
    lan: SharedLan,
    summoner: Summoner<Frame>,
    actions: Actions<Frame>,
    services: BTreeMap<u16, Standing>,
    machines: Vec<Option<Box<Launched>>>,
    /// In which copies are listed.
    room: Room,
    /// Which machine is at the other end of a port.
    ends: BTreeMap<u32, usize>,
    /// Machines that are to have frames, and frames that are to go out, at the end of a turn.
    waiting: Vec<usize>,
    leaving: Vec<Frame>,
    frames: Vec<Frame>,
    /// Ports of machines that have sent more than was taken.
    behind: Vec<u32>,
    /// Machines that boot.
    orders: Orders,
}

/// A service that there is.
struct Standing {
    service: ServiceId,
    port: PortId,
    /// How its clones are connected. Machines that boot say so themselves.
    plan: Option<Plan>,
    record: Option<Record>,
}

impl Summoning {
    /// Without services.
    pub fn new(machine: &Machine, lan: &SharedLan) -> Self {
        Self(Rc::new(RefCell::new(State {
            lan: lan.clone(),
            summoner: Summoner::new(&machine.key().to_ne_bytes(), limits(machine)),
            actions: Actions::new(),
            services: BTreeMap::new(),
            machines: Vec::new(),
            room: Room::default(),
            ends: BTreeMap::new(),
            waiting: Vec::new(),
            leaving: Vec::new(),
            frames: Vec::new(),
            behind: Vec::new(),
            orders: Orders::default(),
        })))
    }

    /// Who has this address calls services for others.
    pub fn trust_relay(&self, ip: [u8; 4]) {
        self.0.borrow_mut().summoner.trust_relay(ip);
    }

    /// From now on machines are launched for those who connect to the address of `template`: clones of it by its plan, or such as boot.
    ///
    /// # Errors
    /// Says why not.
    pub fn add(
        &self,
        template: u16,
        identity: Identity,
        terms: &Terms,
        plan: Option<Plan>,
        (tally, record): (Tallied, Option<Record>),
    ) -> Result<(), Refusal> {
        let mut state = self.0.borrow_mut();
        let state = &mut *state;
        let service = Service {
            template,
            mac: identity.mac,
            ip: identity.ip.ok_or(Refusal::Address)?,
            port: terms.port,
            // They send to whom they were sent to.
            network: None,
            policy: policy(terms),
        };
        let abilities = plan.map_or_else(Abilities::default, |plan| plan.agreement.abilities);
        let proxy = state.lan.borrow_mut().add_proxy(identity, abilities, tally);
        let port = proxy.ok_or(Refusal::Taken)?;
        match state.summoner.add(service, now(), &mut state.actions) {
            Ok(service) => drop(state.services.insert(template, Standing { service, port, plan, record })),
            Err(refusal) => {
                state.lan.borrow_mut().remove(port);
                return Err(refusal);
            }
        }
        state.act();
        Ok(())
    }

    /// Ends a template's service and all its machines.
    pub fn remove(&self, template: u16) {
        let mut state = self.0.borrow_mut();
        let state = &mut *state;
        let Some(Standing { service, port, .. }) = state.services.remove(&template) else { return };
        state.summoner.remove(service, now(), &mut state.actions);
        state.act();
        state.lan.borrow_mut().remove(port);
    }

    /// Does something with what was ordered.
    pub fn with_orders<T>(&self, action: impl FnOnce(&mut Orders) -> T) -> T {
        action(&mut self.0.borrow_mut().orders)
    }

    /// The machine that was ordered by `number` has connected its interface: domain `domain`, at the other end of `port`. Whether it is still
    /// wanted.
    pub fn connect(
        &self,
        number: u32,
        domain: u16,
        port: Port,
        queue: impl FnOnce(Wire) -> Queue<Mapping, Wire>,
    ) -> bool {
        let state = &mut *self.0.borrow_mut();
        let Some(id) = state.orders.machine(number) else { return false };
        let end = port.number();
        let launched = Launched::new(id, domain, port, false, &state.room, queue);
        state.welcome(launched);
        // What it said before its port was known.
        state.hear(end);
        state.act();
        true
    }

    /// The machine that was ordered by `number` is there no more, or of no more use.
    pub fn lose(&self, number: u32) {
        let state = &mut *self.0.borrow_mut();
        if let Some(id) = state.orders.machine(number) {
            state.forget(id);
            state.act();
        }
    }

    /// Serves all services, for ever.
    pub async fn serve(self) {
        loop {
            let (is_behind, due) = {
                let mut state = self.0.borrow_mut();
                (state.turn(), state.summoner.next_tick())
            };
            if is_behind {
                yield_now().await;
                continue;
            }
            let deadline = due.map_or_else(|| Instant::now() + PAUSE, at);
            let lan = self.0.borrow().lan.clone();
            let called = poll_fn(|context| lan.borrow_mut().poll_called(context));
            match either(either(called, events::gathered()), sleep_until(deadline)).await {
                Either::First(Either::First(frame)) => self.0.borrow_mut().call(frame),
                Either::First(Either::Second(port)) => self.0.borrow_mut().hear(port),
                Either::Second(()) => {}
            }
        }
    }
}

impl State {
    /// Does what is to be done, at most so much that others have their turns; whether there may be more.
    fn turn(&mut self) -> bool {
        let mut left = 2 * BATCH;
        while left > BATCH {
            let called = self.lan.borrow_mut().called();
            let Some(frame) = called else { break };
            self.call(frame);
            left -= 1;
        }
        for port in core::mem::take(&mut self.behind) {
            self.hear(port);
        }
        while left > 0 {
            let Some(port) = events::take_gathered() else { break };
            self.hear(port);
            left -= 1;
        }
        if self.summoner.next_tick().is_some_and(|due| due <= now()) {
            self.summoner.tick(now(), &mut self.actions);
            self.tell();
        }
        self.act();
        left <= BATCH || !self.behind.is_empty()
    }

    /// Tells of what happened to services.
    fn tell(&self) {
        for Standing { service, record, .. } in self.services.values() {
            let Some((record, counters)) = record.as_ref().zip(self.summoner.counters(*service)) else { continue };
            let Counters { early, refused, answered, answer_sum, answer_most, .. } = counters;
            let all = [
                (count::WAITING, early.into()),
                (count::REFUSED, refused),
                (count::ANSWERED, answered),
                (count::ANSWER_SUM, answer_sum),
                (count::ANSWER_MOST, answer_most),
            ];
            all.into_iter().for_each(|(counter, value)| record.set(counter, value));
        }
    }

    /// A frame came for a service.
    fn call(&mut self, frame: Frame) {
        if let Some(other) = self.summoner.from_outside(frame, now(), &mut self.actions) {
            self.lan.borrow_mut().pool().give(other);
        }
        self.act_first();
    }

    /// A machine sent an event.
    fn hear(&mut self, port: u32) {
        let Some(&place) = self.ends.get(&port) else { return };
        let Some(Some(launched)) = self.machines.get_mut(place) else { return };
        let id = launched.id;
        let mut frames = core::mem::take(&mut self.frames);
        let heard = launched.take(self.lan.borrow_mut().pool(), &mut frames);
        for frame in frames.drain(..) {
            self.summoner.from_machine(id, frame, now(), &mut self.actions);
        }
        self.frames = frames;
        self.act_first();
        match heard {
            Heard::Alive => {}
            Heard::Behind => self.behind.push(port),
            Heard::Gone => self.forget(id),
            Heard::Broken => self.end(id),
        }
    }

    /// Does what the summoner wants done.
    fn act(&mut self) {
        self.act_first();
        while let Some(place) = self.waiting.pop() {
            if let Some(Some(launched)) = self.machines.get_mut(place) {
                launched.deliver(self.lan.borrow_mut().pool());
            }
        }
        if !self.leaving.is_empty() {
            self.lan.borrow_mut().answer(self.leaving.drain(..), seconds());
        }
    }

    /// The same but for frames, which wait for the end of the turn.
    fn act_first(&mut self) {
        while let Some(action) = self.actions.pop_front() {
            match action {
                Action::Launch { machine, template, .. } => self.launch(machine, template),
                Action::End(machine) => self.end(machine),
                Action::ToMachine(machine, parcel) => self.pass_on(machine, parcel),
                Action::ToOutside(parcel) => {
                    let frame = self.frame(parcel);
                    self.leaving.extend(frame);
                }
                Action::Discard(frame) => self.lan.borrow_mut().pool().give(frame),
            }
        }
    }

    fn launch(&mut self, id: MachineId, template: u16) {
        match self.services.get(&template).map(|standing| standing.plan) {
            Some(Some(plan)) => match launch(id, template, &plan, &self.room) {
                Some(launched) => self.welcome(launched),
                None => self.summoner.gone(id, now(), &mut self.actions),
            },
            Some(None) => self.orders.add(id, template),
            None => self.summoner.gone(id, now(), &mut self.actions),
        }
    }

    /// A machine is there. If it is not the first time, its interface begins anew.
    fn welcome(&mut self, launched: Launched) {
        let (id, place) = (launched.id, launched.id.place());
        self.ends.insert(launched.port(), place);
        if self.machines.len() <= place {
            self.machines.resize_with(place + 1, || None);
        }
        if let Some(place) = self.machines.get_mut(place) {
            *place = Some(Box::new(launched));
        }
        self.summoner.launched(id, now(), &mut self.actions);
    }

    /// Ends a machine that has not ended by itself.
    fn end(&mut self, id: MachineId) {
        if let Some(Some(launched)) = self.machines.get(id.place()).filter(|_| !self.orders.has(id)) {
            // It may have ended meanwhile.
            let _ = domains::destroy(launched.domain);
        }
        self.forget(id);
    }

    /// A machine has ended, or is about to be by the toolstack.
    fn forget(&mut self, id: MachineId) {
        let was_ordered = self.orders.cancel(id);
        let launched = self.machines.get_mut(id.place()).and_then(Option::take);
        let was_there = launched.is_some();
        if let Some(mut launched) = launched {
            self.ends.remove(&launched.port());
            launched.empty(self.lan.borrow_mut().pool());
        }
        if was_ordered || was_there {
            self.summoner.gone(id, now(), &mut self.actions);
        }
    }

    fn pass_on(&mut self, id: MachineId, parcel: Parcel<Frame>) {
        let Some(frame) = self.frame(parcel) else { return };
        let mut lan = self.lan.borrow_mut();
        match self.machines.get_mut(id.place()) {
            Some(Some(launched)) => {
                if launched.enqueue(frame, lan.pool()) {
                    self.waiting.push(id.place());
                }
            }
            _ => lan.pool().give(frame),
        }
    }

    /// What is to be sent as a frame, if there is room for it.
    fn frame(&self, parcel: Parcel<Frame>) -> Option<Frame> {
        match parcel {
            Parcel::Frame(frame) => Some(frame),
            Parcel::Short(bytes) => {
                let mut frame = self.lan.borrow_mut().pool().frame(bytes.len().max(SHORTEST))?;
                let (start, rest) = frame.head_mut().split_at_mut_checked(bytes.len())?;
                start.copy_from_slice(&bytes);
                rest.fill(0);
                Some(frame)
            }
        }
    }
}

/// What there may be of machines, connections, and pages of frames that wait for machines to answer.
fn limits(machine: &Machine) -> Limits {
    let machines = (machine.memory_size() / BYTES_PER_MACHINE) as u32;
    Limits { machines, connections: 2 * machines, pages: pages(machine) * WAITING / 100 }
}

/// What is asked of the hypervisor for each clone: it runs when it is let.
fn order(plan: &Plan) -> CloneTemplate {
    let Terms { keep, life, memory, .. } = plan.terms;
    CloneTemplate {
        ticks: time::ticks(Duration::from_millis(life.into())),
        pages: memory.div_ceil(4),
        flags: flags::EPHEMERAL | flags::PAUSED,
        argument: [keep.into(), 0, 0, 0, 0, 0, 0, 0],
        port: plan.port,
        pad: 0,
    }
}

/// Whether clones of a domain can be launched: one is, and ended before it runs.
pub fn is_template(domain: u16, plan: &Plan) -> bool {
    let launched = domains::clone_linked(domain, order(plan));
    launched.is_ok_and(|(clone, _)| domains::destroy(clone).is_ok())
}

/// Clones a template and reaches the clone's rings. Without them it is of no use, and ends.
fn launch(id: MachineId, template: u16, plan: &Plan, room: &Room) -> Option<Launched> {
    let (domain, port) = domains::clone_linked(template, order(plan)).ok()?;
    let ring = |reference| Mapping::new(domain, reference, true);
    let [transmit, receive] = plan.rings;
    match (ring(transmit), ring(receive)) {
        (Ok(transmit), Ok(receive)) => {
            let queue = |wire| Queue::new(transmit, receive, wire, plan.agreement);
            Some(Launched::new(id, domain, port, true, room, queue))
        }
        _ => {
            let _ = domains::destroy(domain);
            None
        }
    }
}

const fn policy(terms: &Terms) -> Policy {
    let Terms { machines, connections, keep, waiting, patience, per_client, boots, .. } = *terms;
    Policy { machines, connections, keep, waiting, patience, per_client, boots }
}

/// The time in milliseconds, as the summoner counts it.
fn now() -> u64 {
    time::duration(Instant::now().ticks()).as_millis() as u64
}

fn at(milliseconds: u64) -> Instant {
    // Not before that.
    Instant::at(time::ticks(Duration::from_millis(milliseconds + 1)))
}
