//! One interface of one guest, from its offer to its end.

use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;

use mote_netback::{Agreement, Events, Identity, Mac, PortId, Queue, QueueKeys, before_connection};
use mote_protocols::service::Terms;
use mote_protocols::statistics::{Device, Kind, Tally, interface as count};
use mote_protocols::xenbus::State;
use mote_protocols::xenbus::backend::{Next, next};
use mote_unikernel::executor::{Either, Spawner, either};
use mote_unikernel::xen::events::Port;
use mote_unikernel::xen::grants::Mapping;
use mote_unikernel::xen::store::{Store, Watch};

use super::connection::{self, Failure, Fate, Guest, Ports};
use super::summoning::{self, Plan, Summoning};
use super::{DIRECTORY, SharedLan, Tallied};
use crate::complaints::Complaints;
use crate::offers::Purpose;
use crate::statistics::{CONTROL, Statistics};

/// The interface cannot be served: the toolstack took it away, or xenstore is gone.
pub struct Gone;

/// A connection that is being served.
struct Serving {
    /// Its port of the switch. A machine that was ordered has none.
    port: Option<PortId>,
    fate: Rc<Fate>,
    /// How clones of the guest are connected, if it is a service.
    plan: Option<Plan>,
}

/// What is known of an interface.
pub struct Interface<'a> {
    lan: &'a SharedLan,
    summoning: &'a Summoning,
    store: &'a Store,
    spawner: &'a Spawner<'static>,
    statistics: &'a Statistics,
    guest: u16,
    identity: Identity,
    terms: Option<Terms>,
    /// By which number the guest was ordered, if it was.
    machine: Option<u32>,
    tally: Tallied,
    complaints: Complaints,
    /// Its directory, and the frontend's.
    own: String,
    frontend: String,
}

impl Interface<'_> {
    /// Serves the interface until the toolstack takes it away.
    ///
    /// # Errors
    /// If it cannot be served.
    pub async fn serve(
        lan: &SharedLan,
        summoning: &Summoning,
        store: &Store,
        spawner: &Spawner<'static>,
        statistics: &Statistics,
        purpose: Purpose,
    ) -> Result<(), Gone> {
        let own = format!("{DIRECTORY}/{}/{}", purpose.0, purpose.1);
        let node = async |name: &str| store.read_text(&format!("{own}/{name}")).await.ok();
        let frontend = node("frontend").await.ok_or(Gone)?;
        let mac = mac(store, purpose).await.ok_or(Gone)?;
        lan.borrow_mut().expect(purpose, mac);
        let ip = match node("ip").await {
            // What is no address must not be taken for none.
            Some(ip) if !ip.trim().is_empty() => Some(address(ip.trim()).ok_or(Gone)?),
            _ => None,
        };
        // What is the control domain's is no guest's to reach.
        let identity = Identity { mac, ip, apart: purpose.0 == CONTROL };
        if let Some(ip) = ip.filter(|_| purpose.0 == CONTROL) {
            summoning.trust_relay(ip);
        }
        let terms = match node("service").await {
            Some(terms) => Some(Terms::parse(&terms).ok_or(Gone)?),
            None => None,
        };
        let machine = match node("machine").await {
            Some(number) => Some(number.parse().map_err(|_| Gone)?),
            None => None,
        };
        let device = |kind| Device { kind, domain: purpose.0, number: purpose.1 };
        let (tally, complaints) = (statistics.record(device(Kind::Interface)).await, Complaints::default());
        let (guest, tally) = (purpose.0, Rc::new(tally));
        let interface = Interface {
            lan,
            summoning,
            store,
            spawner,
            statistics,
            guest,
            identity,
            terms,
            machine,
            tally,
            complaints,
            own,
            frontend,
        };
        if terms.is_some_and(|terms| terms.boots) { interface.stand_in().await } else { interface.follow().await }
    }

    /// The guest never runs. Machines are ordered for who connects to its address, until it is to be forgotten.
    async fn stand_in(&self) -> Result<(), Gone> {
        let existence = self.watch(&format!("{}/frontend", self.own)).await?;
        self.add_service(None).await;
        let mut watching = Ok(());
        while watching.is_ok() && self.is_there().await {
            watching = existence.next().await.map(drop).map_err(|_| Gone);
        }
        self.summoning.remove(self.guest);
        watching
    }

    async fn add_service(&self, plan: Option<Plan>) {
        let Some(terms) = &self.terms else { return };
        let record = self.statistics.record(Device { kind: Kind::Service, domain: self.guest, number: 0 }).await;
        if let Err(refusal) = self.summoning.add(self.guest, self.identity, terms, plan, (self.tally.clone(), record)) {
            self.complaints.say(format_args!("domain {} cannot be summoned: {refusal}", self.guest));
        }
    }

    async fn is_there(&self) -> bool {
        self.store.read_text(&format!("{}/frontend", self.own)).await.is_ok()
    }

    /// Does what the two ends' states ask for, until the interface is to be forgotten.
    async fn follow(&self) -> Result<(), Gone> {
        let state = self.watch(&format!("{}/state", self.frontend)).await?;
        let existence = self.watch(&format!("{}/frontend", self.own)).await?;
        let mut serving = None;
        loop {
            match self.next(serving.is_some()).await {
                Next::Wait => {}
                Next::Offer => {
                    self.disconnect(&mut serving);
                    self.offer().await;
                }
                Next::Connect => match self.left_behind().await {
                    Some(plan) => {
                        self.summon(plan, &state, &existence).await?;
                        continue;
                    }
                    None => serving = self.connect().await,
                },
                Next::Close => self.end(&mut serving, State::Closing).await,
                Next::Shut => self.end(&mut serving, State::Closed).await,
                Next::Forget => {
                    self.disconnect(&mut serving);
                    return Ok(());
                }
            }
            let changed = match &serving {
                None => Either::First(change(&state, &existence).await),
                Some(Serving { fate, .. }) => either(change(&state, &existence), fate.failure()).await,
            };
            match changed {
                Either::First(Ok(())) => {}
                Either::First(Err(gone)) => {
                    self.disconnect(&mut serving);
                    return Err(gone);
                }
                Either::Second(Failure::Left) => {
                    let plan = serving.as_ref().and_then(|serving| serving.plan);
                    self.disconnect(&mut serving);
                    // Only services are watched for that, and each has one.
                    if let Some(plan) = plan {
                        self.summon(plan, &state, &existence).await?;
                    }
                }
                Either::Second(Failure::Broken) => {
                    self.tally.add(count::BROKEN, 1);
                    self.complaints
                        .say(format_args!("domain {} broke the rings of its interface {}", self.guest, self.own));
                    self.end(&mut serving, State::Closing).await;
                }
            }
        }
    }

    /// The guest is a template now: clones of it are launched for who connects to its address, until it is to be forgotten.
    async fn summon(&self, plan: Plan, state: &Watch, existence: &Watch) -> Result<(), Gone> {
        self.add_service(Some(plan)).await;
        let mut watching = Ok(());
        while watching.is_ok() && self.next(true).await == Next::Wait {
            watching = change(state, existence).await;
        }
        self.summoning.remove(self.guest);
        watching
    }

    /// How clones of the guest are connected, if it became a template when a driver domain before this one served it.
    async fn left_behind(&self) -> Option<Plan> {
        let terms = self.terms?;
        let values = self.read("", &Agreement::NODES).await;
        let agreement = Agreement::new(|name| value(&values, name)).ok()?;
        let keys = self.keys(&agreement.queue_directory(0)).await.ok()?;
        let plan = Plan::new(keys, agreement, terms).ok()?;
        summoning::is_template(self.guest, &plan).then_some(plan)
    }

    async fn watch(&self, path: &str) -> Result<Watch, Gone> {
        self.store.watch(path).await.map_err(|_| Gone)
    }

    async fn next(&self, serving: bool) -> Next {
        let there = self.is_there().await;
        let [own, frontend] = [self.state(&self.own).await, self.state(&self.frontend).await];
        next(own, frontend, serving, there)
    }

    async fn state(&self, end: &str) -> State {
        self.store.state(end).await.unwrap_or(State::Unknown)
    }

    async fn enter(&self, state: State) {
        let _ = self.store.switch_state(&self.own, state).await;
    }

    async fn offer(&self) {
        // A machine that was ordered has one pair of rings and one port, as clones have.
        for (name, value) in before_connection(self.terms.is_some() || self.machine.is_some()) {
            // What cannot be written is missed by the frontend, which then does without.
            let _ = self.store.write(&format!("{}/{name}", self.own), value).await;
        }
        self.enter(State::InitWait).await;
    }

    /// Serves the rings that the frontend has written; if there are none that can be, it is told to begin again.
    async fn connect(&self) -> Option<Serving> {
        match self.reach().await {
            Ok(serving) => {
                self.enter(State::Connected).await;
                Some(serving)
            }
            Err(why) => {
                let (guest, own) = (self.guest, &self.own);
                self.complaints.say(format_args!("domain {guest} cannot be reached for its interface {own}: {why}"));
                if self.state(&self.own).await != State::InitWait {
                    // After a backend that is no more: a frontend that knows how makes new rings.
                    self.offer().await;
                }
                None
            }
        }
    }

    async fn reach(&self) -> Result<Serving, &'static str> {
        let values = self.read("", &Agreement::NODES).await;
        let agreement = Agreement::new(|name| value(&values, name)).map_err(|unfit| unfit.0)?;
        let fate = Rc::new(Fate::default());
        if let Some(number) = self.machine {
            self.reach_machine(number, agreement).await?;
            return Ok(Serving { port: None, fate, plan: None });
        }
        let (mut queues, mut ports, mut plan) = (Vec::new(), Vec::new(), None);
        for number in 0..agreement.queues {
            let keys = self.keys(&agreement.queue_directory(number)).await?;
            if let Some(terms) = self.terms {
                plan = Some(Plan::new(keys, agreement, terms)?);
            }
            let ours = Rc::new(self.bind(keys.events).ok_or("its ports are not offered")?);
            let guest = Guest::new(self.guest, ours.clone(), fate.clone());
            queues.push(Queue::new(self.ring(keys.transmit)?, self.ring(keys.receive)?, guest, agreement));
            ports.push(ours);
        }
        let port = self
            .lan
            .borrow_mut()
            .add_guest(self.identity, queues, self.tally.clone())
            .ok_or("its address is in use")?;
        for (number, ours) in ports.into_iter().enumerate() {
            // The one before may have answered and ended before it could say so.
            ours.notify();
            let task = connection::serve(self.lan.clone(), port, number, ours, fate.clone(), plan.is_some());
            self.spawner.spawn(task);
        }
        Ok(Serving { port: Some(port), fate, plan })
    }

    /// Where the rings of a queue are, which its directory says.
    async fn keys(&self, directory: &str) -> Result<QueueKeys, &'static str> {
        let values = self.read(directory, &QueueKeys::NODES).await;
        QueueKeys::new(|name| value(&values, name)).ok_or("it names no rings")
    }

    fn ring(&self, reference: u32) -> Result<Mapping, &'static str> {
        Mapping::new(self.guest, reference, true).map_err(|_| "its rings are not granted")
    }

    /// The rings of a machine that was ordered: it is connected to who called the service, and to nobody else.
    async fn reach_machine(&self, number: u32, agreement: Agreement) -> Result<(), &'static str> {
        let keys = self.keys("").await?;
        let Events::One(port) = keys.events else { return Err("it has two ports") };
        let (transmit, receive) = (self.ring(keys.transmit)?, self.ring(keys.receive)?);
        let port = Port::connect_gathered(self.guest, port).map_err(|_| "its port is not offered")?;
        let queue = |wire| Queue::new(transmit, receive, wire, agreement);
        if self.summoning.connect(number, self.guest, port, queue) { Ok(()) } else { Err("nobody waits for it") }
    }

    /// The values of `names` in a directory of the frontend's.
    async fn read<const N: usize>(&self, directory: &str, names: &[&'static str; N]) -> Vec<(&'static str, String)> {
        let mut values = Vec::new();
        for name in names {
            if let Ok(value) = self.store.read_text(&format!("{}/{directory}{name}", self.frontend)).await {
                values.push((*name, value));
            }
        }
        values
    }

    fn bind(&self, events: Events) -> Option<Ports> {
        let connect = |port| Port::connect(self.guest, port).ok();
        Some(match events {
            Events::One(both) => Ports { transmit: connect(both)?, receive: None },
            Events::Two(transmit, receive) => Ports { transmit: connect(transmit)?, receive: Some(connect(receive)?) },
        })
    }

    async fn end(&self, serving: &mut Option<Serving>, state: State) {
        self.disconnect(serving);
        self.enter(state).await;
    }

    /// Ends the connection, if there is one: from here on nothing of the guest's is touched.
    fn disconnect(&self, serving: &mut Option<Serving>) {
        let Some(Serving { port, fate, .. }) = serving.take() else { return };
        fate.end();
        match port {
            Some(port) => self.lan.borrow_mut().remove(port),
            None => self.machine.into_iter().for_each(|number| self.summoning.lose(number)),
        }
    }
}

/// The address that the toolstack has given an interface.
pub async fn mac(store: &Store, purpose: Purpose) -> Option<Mac> {
    let mac = store.read_text(&format!("{DIRECTORY}/{}/{}/mac", purpose.0, purpose.1)).await.ok()?;
    mac.trim().parse().ok()
}

fn value<'a>(values: &'a [(&'static str, String)], name: &str) -> Option<&'a str> {
    values.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
}

/// Reads an IPv4 address.
fn address(text: &str) -> Option<[u8; 4]> {
    text.parse::<core::net::Ipv4Addr>().ok().map(|address| address.octets())
}

/// Waits until one of the two changes.
async fn change(state: &Watch, existence: &Watch) -> Result<(), Gone> {
    let (Either::First(event) | Either::Second(event)) = either(state.next(), existence.next()).await;
    event.map(drop).map_err(|_| Gone)
}
