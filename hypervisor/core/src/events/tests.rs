//! Event channels beside a plain model of them, under random operations of three domains.

use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

use proptest::prelude::*;
use xen_abi::event_channel::ControlBlock;
use xen_abi::xen::SharedInfo;

use super::*;
use crate::testing::Shared;

const DOMAINS: u16 = 3;
const VCPUS: usize = 2;
const PENDING: usize = core::mem::offset_of!(SharedInfo, evtchn_pending);
const MASK: usize = core::mem::offset_of!(SharedInfo, evtchn_mask);

fn domain(number: u16) -> DomainId {
    DomainId::new(number).expect("a small number")
}

/// The model: every port in use, as one table of all domains.
#[derive(Default)]
struct Model {
    ends: BTreeMap<(u16, u32), End>,
    vcpus: BTreeMap<(u16, u32), u8>,
}

impl Model {
    fn add(&mut self, domain: u16, end: End, vcpu: u8) -> Result<u32, Errno> {
        let port = (1..=MAX_PORT).find(|port| !self.ends.contains_key(&(domain, *port)));
        let port = port.ok_or(Errno::ENOSPC)?;
        self.ends.insert((domain, port), end);
        self.vcpus.insert((domain, port), vcpu);
        Ok(port)
    }

    fn bind(&mut self, me: u16, remote: u16, remote_port: u32) -> Result<u32, Errno> {
        let offered = self.ends.get(&(remote, remote_port)) == Some(&End::Unbound(domain(me)));
        let port = self.add(me, End::Interdomain(domain(remote), remote_port), 0)?;
        if !offered {
            self.ends.remove(&(me, port));
            return Err(Errno::EINVAL);
        }
        self.ends.insert((remote, remote_port), End::Interdomain(domain(me), port));
        Ok(port)
    }

    fn close(&mut self, me: u16, port: u32) -> Result<(), Errno> {
        let end = self.ends.remove(&(me, port)).ok_or(Errno::EINVAL)?;
        if let End::Interdomain(remote, other) = end
            && self.ends.contains_key(&(remote.get(), other))
        {
            self.ends.insert((remote.get(), other), End::Unbound(domain(me)));
        }
        Ok(())
    }

    /// Whose port hears it.
    fn send(&self, me: u16, port: u32) -> Result<Option<(u16, u32)>, Errno> {
        match self.ends.get(&(me, port)) {
            Some(End::Interdomain(remote, other)) => Ok(Some((remote.get(), *other))),
            Some(End::Ipi) => Ok(Some((me, port))),
            Some(End::Unbound(_)) => Ok(None),
            _ => Err(Errno::EINVAL),
        }
    }
}

/// A guest: what it has been sent and has not seen yet, by the format that it uses.
struct Guest {
    events: EventChannels<Shared>,
    shared: Shared,
    /// Pages of event words and the vCPUs' control blocks, if it uses queues.
    queues: Option<(Shared, Vec<Shared>)>,
    /// Events that must be found.
    due: BTreeSet<u32>,
    masked: BTreeSet<u32>,
}

impl Guest {
    fn new(number: u16, queues: bool) -> Self {
        let shared = Shared::new();
        let mut events = EventChannels::new(domain(number), VCPUS, MAX_PORT, shared.clone()).expect("memory");
        let info = Shared::new();
        let _ = events.register_vcpu_info(VcpuId(1), info.clone(), 64).expect("none yet");
        info.double(64 + SEL).store(0, Ordering::Relaxed);
        info.word(64).store(0, Ordering::Relaxed);
        let queues = queues.then(|| {
            let controls: Vec<Shared> = (0..VCPUS).map(|_| Shared::new()).collect();
            for (vcpu, control) in (0..).map(VcpuId).zip(&controls) {
                events.init_control(vcpu, control.clone(), 128).expect("none yet");
            }
            let words = Shared::new();
            assert_eq!(events.expand_array(Ok(words.clone())), Ok(Raised::NOBODY));
            (words, controls)
        });
        Self { events, shared, queues, due: BTreeSet::new(), masked: BTreeSet::new() }
    }

    fn set_masked(&mut self, port: u32) {
        self.masked.insert(port);
        match &self.queues {
            None => two_level_bit(&self.shared, MASK, port, true),
            Some((words, _)) => {
                words.word(port as usize * 4).fetch_or(fifo_abi::MASKED, Ordering::Relaxed);
            }
        }
    }

    /// Everything that is announced, as the guest would take it.
    fn take(&mut self) -> BTreeSet<u32> {
        let Some((words, controls)) = &self.queues else { return self.take_bits() };
        let mut taken = BTreeSet::new();
        let ready = core::mem::offset_of!(ControlBlock, ready);
        let head = core::mem::offset_of!(ControlBlock, head);
        for control in controls {
            let queues = control.word(128 + ready).swap(0, Ordering::Relaxed);
            for queue in (0..16).filter(|queue| queues >> queue & 1 != 0) {
                let mut port = control.word(128 + head + queue * 4).load(Ordering::Relaxed);
                while port != 0 {
                    let word = words.word(port as usize * 4);
                    let link = word.load(Ordering::Relaxed) & fifo_abi::LINK;
                    word.fetch_and(!(fifo_abi::LINK | fifo_abi::LINKED), Ordering::Relaxed);
                    let state = word.load(Ordering::Relaxed);
                    if state & fifo_abi::PENDING != 0 && state & fifo_abi::MASKED == 0 {
                        word.fetch_and(!fifo_abi::PENDING, Ordering::Relaxed);
                        taken.insert(port);
                    }
                    port = link;
                }
            }
        }
        taken
    }

    fn take_bits(&mut self) -> BTreeSet<u32> {
        let mut taken = BTreeSet::new();
        let pages = [(self.shared.clone(), 0), (self.events.info(VcpuId(1)).expect("registered").0.clone(), 64)];
        for (page, at) in pages {
            page.word(at).store(0, Ordering::Relaxed);
            let words = page.double(at + SEL).swap(0, Ordering::Relaxed);
            for word in (0..64).filter(|word| words >> word & 1 != 0) {
                let mask = self.shared.double(MASK + word * 8).load(Ordering::Relaxed);
                let bits = self.shared.double(PENDING + word * 8).fetch_and(mask, Ordering::Relaxed);
                let found = (0..64).filter(|bit| (bits & !mask) >> bit & 1 != 0);
                taken.extend(found.map(|bit| word as u32 * 64 + bit));
            }
        }
        taken
    }
}

fn two_level_bit(page: &Shared, base: usize, port: u32, set: bool) {
    let (word, bit) = (page.double(base + port as usize / 64 * 8), 1 << (port % 64));
    if set {
        word.fetch_or(bit, Ordering::Relaxed);
    } else {
        word.fetch_and(!bit, Ordering::Relaxed);
    }
}

fn pair<'a>(guests: &'a mut [Guest], me: u16, other: u16) -> Pair<'a, Shared> {
    let (me, other) = (usize::from(me), usize::from(other));
    if me == other {
        return Pair { local: &mut guests[me].events, remote: None };
    }
    let [local, remote] = guests.get_disjoint_mut([me, other]).expect("two");
    Pair { local: &mut local.events, remote: Some(&mut remote.events) }
}

fn close(guests: &mut [Guest], me: u16, port: u32) -> Result<(), Errno> {
    match guests[usize::from(me)].events.peer(port)? {
        Some(remote) => pair(guests, me, remote.get()).close(port).map(|raised| assert_eq!(raised, Raised::NOBODY)),
        None => guests[usize::from(me)].events.close_alone(port, None),
    }
}

/// One step of everything; what core says must be what the model says.
fn step(guests: &mut [Guest], model: &mut Model, (what, me, other, port, number): (u8, u16, u16, u32, u32)) {
    let index = usize::from(me);
    match what {
        0 => {
            let expected = model.add(me, End::Unbound(domain(other)), 0);
            assert_eq!(guests[index].events.allocate_unbound(domain(other)), expected);
        }
        1 | 2 => {
            let expected = model.bind(me, other, port);
            let bound = pair(guests, me, other).bind_interdomain(port);
            assert_eq!(bound.map(|(port, _)| port), expected);
            if let Ok(port) = expected {
                guests[index].due.insert(port);
            }
        }
        3 => {
            let vcpu = number % 3;
            let taken =
                |port: &(u16, u32)| port.0 == me && model.ends[port] == End::Virq(1) && model.vcpus[port] == vcpu as u8;
            let expected = match (vcpu < 2, model.ends.keys().any(taken)) {
                (false, _) => Err(Errno::ENOENT),
                (true, true) => Err(Errno::EEXIST),
                (true, false) => model.add(me, End::Virq(1), vcpu as u8),
            };
            assert_eq!(guests[index].events.bind_virq(1, vcpu), expected);
        }
        4 => {
            let expected =
                if number % 3 < 2 { model.add(me, End::Ipi, (number % 3) as u8) } else { Err(Errno::ENOENT) };
            assert_eq!(guests[index].events.bind_ipi(number % 3), expected);
        }
        5 => {
            let expected = match model.ends.get(&(me, port)) {
                _ if number % 3 == 2 => Err(Errno::ENOENT),
                Some(End::Unbound(_) | End::Interdomain(..)) => Ok(()),
                _ => Err(Errno::EINVAL),
            };
            if expected.is_ok() {
                model.vcpus.insert((me, port), (number % 3) as u8);
            }
            assert_eq!(guests[index].events.bind_vcpu(port, number % 3), expected);
        }
        6 => {
            let expected = model.close(me, port);
            assert_eq!(close(guests, me, port), expected);
            if expected.is_ok() {
                guests[index].due.remove(&port);
            }
        }
        7..=9 => {
            let expected = model.send(me, port);
            let sent = guests[index].events.send(port);
            assert_eq!(sent.is_err(), expected.is_err());
            if let Ok(Sent::To(remote, at)) = sent {
                let remote = usize::from(remote.get());
                let _ = guests[remote].events.receive(at, domain(me), port);
            }
            if let Ok(Some((hears, at))) = expected {
                guests[usize::from(hears)].due.insert(at);
            }
        }
        10 => {
            if port > 0 && !guests[index].due.contains(&port) {
                guests[index].set_masked(port);
            }
        }
        11 => {
            assert!(guests[index].events.unmask(port).is_ok());
            guests[index].masked.remove(&port);
        }
        12 => {
            let priority = number % 20;
            let expected = match (&guests[index].queues, priority < 16) {
                (None, _) => Err(Errno::ENOSYS),
                (Some(_), _) if !model.ends.contains_key(&(me, port)) => Err(Errno::EACCES),
                (Some(_), false) => Err(Errno::EINVAL),
                (Some(_), true) => Ok(()),
            };
            assert_eq!(guests[index].events.set_priority(port, priority), expected);
        }
        13 => {
            let _ = guests[index].events.raise_virq(1, VcpuId((number % 2) as u8));
            let is_it = |at: &&(u16, u32)| {
                at.0 == me && model.ends[*at] == End::Virq(1) && u32::from(model.vcpus[*at]) == number % 2
            };
            let bound = model.ends.keys().find(is_it).map(|(_, port)| *port);
            guests[index].due.extend(bound);
        }
        _ => {
            let guest = &mut guests[index];
            let announced: BTreeSet<u32> = guest.due.difference(&guest.masked).copied().collect();
            let taken = guest.take();
            assert!(taken.is_superset(&announced), "{taken:?} lacks some of {announced:?}");
            assert!(taken.is_subset(&announced), "{taken:?} has more than {announced:?}");
            guest.due.retain(|port| !taken.contains(port));
        }
    }
    check(guests, model, me, port);
}

/// What core says of a port is what the model says.
fn check(guests: &[Guest], model: &Model, me: u16, port: u32) {
    let said = guests[usize::from(me)].events.status(me, port).expect("within the first ports");
    let expected = match model.ends.get(&(me, port)) {
        None => (status::CLOSED, 0, 0),
        Some(End::Unbound(remote)) => (status::UNBOUND, remote.get().into(), 0),
        Some(End::Interdomain(remote, other)) => (status::INTERDOMAIN, remote.get().into(), *other),
        Some(End::Virq(number)) => (status::VIRQ, *number, 0),
        Some(End::Ipi) => (status::IPI, 0, 0),
        Some(other) => panic!("{other:?}"),
    };
    assert_eq!((said.status, said.peer, said.peer_port), expected);
    if said.status != status::CLOSED {
        assert_eq!(said.vcpu, u32::from(model.vcpus[&(me, port)]));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50))]

    /// 100,000 steps in all.
    #[test]
    fn core_does_what_the_model_does(steps in prop::collection::vec((0u8..16, 0..DOMAINS, 0..DOMAINS, 0u32..14, any::<u32>()), 2000)) {
        // Domain 0 has bits, the others have queues.
        let mut guests: Vec<Guest> = (0..DOMAINS).map(|number| Guest::new(number, number > 0)).collect();
        let mut model = Model::default();
        for operation in steps {
            step(&mut guests, &mut model, operation);
        }
    }
}

fn one() -> EventChannels<Shared> {
    EventChannels::new(domain(1), VCPUS, MAX_PORT, Shared::new()).expect("memory")
}

#[test]
fn ports_have_an_end() {
    let mut events = one();
    for port in 1..=MAX_PORT {
        assert_eq!(events.allocate_unbound(domain(2)), Ok(port));
    }
    assert_eq!(events.allocate_unbound(domain(2)), Err(Errno::ENOSPC));
    assert_eq!(events.status(1, MAX_PORT + 1), Err(Errno::EINVAL));
    events.close_alone(5, Some(domain(2))).expect("unbound");
    assert_eq!(events.close_alone(6, None), Err(Errno::EAGAIN), "somebody else's");
    assert_eq!(events.close_alone(5, Some(domain(2))), Err(Errno::EINVAL), "closed once");
    events.shut();
    assert_eq!(events.allocate_unbound(domain(2)), Err(Errno::ENOSPC), "it ends");
}

#[test]
fn a_poll_ends_with_its_event_alone() {
    let mut events = one();
    let ports: Vec<u32> = (0..3).map(|_| events.bind_ipi(0).expect("room")).collect();
    assert_eq!(events.poll(VcpuId(1), &[ports[1]]), Ok(true));
    let Ok(Sent::Here(raised)) = events.send(ports[0]) else { panic!("sent") };
    assert!(raised.pollers.is_empty());
    let Ok(Sent::Here(raised)) = events.send(ports[1]) else { panic!("sent") };
    assert!(raised.pollers.contains(VcpuId(1)));
    events.end_poll(VcpuId(1));
    assert_eq!(events.poll(VcpuId(1), &ports), Ok(false), "one is pending");
    assert_eq!(events.poll(VcpuId(1), &[5000]), Err(Errno::EINVAL));
}

#[test]
fn what_was_pending_in_bits_is_pending_in_queues() {
    let mut events = one();
    let port = events.bind_ipi(0).expect("room");
    let Ok(Sent::Here(_)) = events.send(port) else { panic!("sent") };
    let (control, words) = (Shared::new(), Shared::new());
    assert_eq!(events.expand_array(Ok(words.clone())), Err(Errno::EOPNOTSUPP));
    events.init_control(VcpuId(0), control.clone(), 0).expect("none yet");
    assert_eq!(events.init_control(VcpuId(0), control.clone(), 0), Err(Errno::EINVAL));
    let raised = events.expand_array(Ok(words.clone())).expect("room");
    assert_eq!(raised.upcalls, VcpuSet::EMPTY, "it was told of it before");
    assert_eq!(control.word(8 + 7 * 4).load(Ordering::Relaxed), port);
    assert_ne!(words.word(port as usize * 4).load(Ordering::Relaxed) & fifo_abi::PENDING, 0);
}

#[test]
fn an_event_of_a_vcpu_without_queues_is_pending_and_ends_a_poll() {
    let mut events = one();
    let words = Shared::new();
    events.init_control(VcpuId(0), Shared::new(), 0).expect("none yet");
    let _ = events.expand_array(Ok(words.clone())).expect("room");
    let port = events.bind_ipi(1).expect("room");
    assert_eq!(events.poll(VcpuId(1), &[port]), Ok(true));
    let Ok(Sent::Here(raised)) = events.send(port) else { panic!("sent") };
    assert!(raised.pollers.contains(VcpuId(1)) && raised.upcalls.is_empty());
    assert_ne!(words.word(port as usize * 4).load(Ordering::Relaxed) & fifo_abi::PENDING, 0);
}

#[test]
fn a_port_closes_whatever_its_peer_does_to_it_meanwhile() {
    let mut guests: Vec<Guest> = (0..2).map(|number| Guest::new(number, false)).collect();
    let port = guests[0].events.allocate_unbound(domain(1)).expect("room");
    // Found unbound, then connected; found connected, then unbound.
    assert_eq!(guests[0].events.peer(port), Ok(Some(domain(1))));
    let (other, _) = pair(&mut guests, 1, 0).bind_interdomain(port).expect("offered");
    assert_eq!(guests[0].events.peer(port), Ok(Some(domain(1))));
    assert_eq!(close(&mut guests, 1, other), Ok(()));
    assert_eq!(pair(&mut guests, 0, 1).close(port), Ok(Raised::NOBODY));
    assert_eq!(pair(&mut guests, 0, 1).close(port), Err(Errno::EINVAL));
}

#[test]
fn a_guest_that_spoils_its_queues_loses_its_own_events_alone() {
    let mut events = one();
    let (control, words) = (Shared::new(), Shared::new());
    events.init_control(VcpuId(0), control, 0).expect("none yet");
    let _ = events.expand_array(Ok(words.clone())).expect("room");
    let ports: Vec<u32> = (0..8).map(|_| events.bind_ipi(0).expect("room")).collect();
    for garbage in [u32::MAX, fifo_abi::LINKED, fifo_abi::LINK, fifo_abi::BUSY | 77, 0] {
        for &port in &ports {
            words.word(port as usize * 4).store(garbage, Ordering::Relaxed);
            let _ = events.send(port).expect("bound");
            let _ = events.unmask(port).expect("a port");
        }
    }
}

#[test]
fn a_domain_s_pages_are_let_go_with_its_channels() {
    let (shared, info) = (Shared::new(), Shared::new());
    let mut events = EventChannels::new(domain(1), VCPUS, MAX_PORT, shared.clone()).expect("memory");
    assert!(events.register_vcpu_info(VcpuId(0), info.clone(), 0).is_ok());
    assert_eq!(events.register_vcpu_info(VcpuId(0), info.clone(), 0), Err(Errno::EBUSY));
    assert!(events.is_told(VcpuId(0)), "everything counts as pending");
    assert_eq!((shared.holders(), info.holders()), (2, 2));
    drop(events);
    assert_eq!((shared.holders(), info.holders()), (1, 1));
}

#[test]
fn who_is_connected_hears_of_a_domain_s_end() {
    let mut guests: Vec<Guest> = (0..2).map(|number| Guest::new(number, false)).collect();
    let offered = guests[0].events.allocate_unbound(domain(1)).expect("room");
    let (other, _) = pair(&mut guests, 1, 0).bind_interdomain(offered).expect("offered");
    guests[1].events.shut();
    let raised = pair(&mut guests, 1, 0).close(other).expect("open");
    assert!(raised.upcalls.contains(VcpuId(0)) && guests[0].events.is_pending(offered));
    assert_eq!(guests[0].events.peer(offered), Ok(Some(domain(1))));
}

#[test]
fn only_queues_have_room_for_more_ports_than_there_are_bits() {
    let mut events = EventChannels::new(domain(1), VCPUS, 10_000, Shared::new()).expect("memory");
    for port in 1..EVENTS_2L {
        assert_eq!(events.allocate_unbound(domain(2)), Ok(port));
    }
    assert_eq!(events.allocate_unbound(domain(2)), Err(Errno::ENOSPC));
    events.init_control(VcpuId(0), Shared::new(), 0).expect("a control block");
    for port in EVENTS_2L..=10_000 {
        assert_eq!(events.allocate_unbound(domain(2)), Ok(port));
    }
    assert_eq!(events.allocate_unbound(domain(2)), Err(Errno::ENOSPC));
    events.close_alone(4_321, Some(domain(2))).expect("open");
    assert_eq!(events.allocate_unbound(domain(2)), Ok(4_321));
    assert_eq!(events.first_open(), Some(1));
}

#[test]
fn the_lowest_free_port_is_taken() {
    let mut events = one();
    let ports: Vec<u32> = (0..200).map(|_| events.allocate_unbound(domain(1)).expect("room")).collect();
    assert_eq!(ports, (1..=200).collect::<Vec<u32>>());
    for port in [150, 3, 77] {
        events.close_alone(port, Some(domain(1))).expect("open");
    }
    let again: Vec<u32> = (0..4).map(|_| events.allocate_unbound(domain(1)).expect("room")).collect();
    assert_eq!(again, [3, 77, 150, 201]);
}
