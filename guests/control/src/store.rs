//! Xenstore: the server, the rings of the guests that have one, and what is written there about each domain.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::sync::atomic::AtomicU32;

use mote_builder::config::Definition;
use mote_protocols::ring::Shared;
use mote_protocols::service::ORDERS;
use mote_protocols::xenbus::State;
use mote_store::libxl::{Device, Guest, Kind};
use mote_store::{Connection, Effect, Error, Limits, Local, Name, Server, Usage};
use mote_unikernel::xen::events::{self, Port};
use mote_unikernel::xen::page::Page;
use mote_unikernel::xen::{Errno, domains, foreign::Mapping, store as client};
use mote_unikernel::{Machine, executor, println};
use xen_abi::hvm::param;

use crate::console;
use crate::domains::{Domain, Domains};
use crate::keeper::{self, Found, Keeper, kind};
use crate::orders;
use crate::toolstack::Toolstack;

/// The frame of a guest's ring, as a toolstack chooses it.
const FRAME: u64 = console::FRAME + 1;
/// What guests may use of this domain's memory, in bytes: each of them, and all together.
const GUESTS_MEMORY: usize = 256 << 10;
const ALL_MEMORY: usize = 1 << 20;

/// This domain's own network interface: Xen's OUI, and an address that the rule for those of guests gives to none in practice.
const OWN: (Option<&str>, Kind<'static>, u32) =
    (None, Kind::Vif { mac: [0x00, 0x16, 0x3e, 0, 0, 0], ip: Some([10, 0, 2, 10]), service: None, machine: None }, 0);

/// Where a ring is.
enum Place {
    Guest(Mapping),
    Own(Rc<Page>),
}

impl Shared for Place {
    fn word(&self, offset: usize) -> &AtomicU32 {
        match self {
            Self::Guest(page) => page.word(offset),
            Self::Own(page) => page.word(offset),
        }
    }
}

/// A guest's ring, or the one of this domain's own network.
struct Ring {
    connection: Connection,
    page: Place,
    port: Port,
    // The number of the other end.
    theirs: u32,
    // Whether there was more than could be done at once.
    behind: bool,
}

/// The server and its rings.
pub struct Store {
    server: Server,
    rings: BTreeMap<u16, Ring>,
    // The toolstack's own number among the server's clients.
    toolstack: u32,
    // Whether a driver domain may have asked for something that was not done.
    has_orders: bool,
    // Where all is written down that must not be lost with this domain, if it is.
    keeper: Option<Keeper>,
}

impl Store {
    /// A store with what is always there.
    pub fn new() -> Self {
        let mut server = Server::new(Limits { memory: GUESTS_MEMORY, total: ALL_MEMORY, ..Limits::default() });
        let toolstack = server.open();
        let mut store = Self { server, rings: BTreeMap::new(), toolstack, has_orders: false, keeper: None };
        // A new server refuses nothing.
        let _ = store.local().describe_host();
        store
    }

    /// From now on all that must not be lost with this domain is written down.
    ///
    /// # Errors
    /// The hypervisor's: there is no place to write.
    pub fn keep(&mut self, machine: &Machine, bytes: usize) -> Result<(), Errno> {
        self.keeper = Some(Keeper::make(machine, bytes)?);
        self.server.keep();
        self.rewrite();
        Ok(())
    }

    /// Goes on with what another has written down, in place of what this store has. Rings are still to be [adopted](Store::adopt).
    ///
    /// # Errors
    /// The hypervisor's: nothing was written down.
    pub fn take_over(&mut self, machine: &Machine) -> Result<Found, Errno> {
        let server = &mut self.server;
        // What cannot be read has to be done without.
        let (keeper, found) = Keeper::find(machine, |record| {
            let _ = server.replay(record);
        })?;
        self.keeper = Some(keeper);
        self.server.keep();
        Ok(found)
    }

    /// Whether what this domain knows is written down.
    pub const fn is_kept(&self) -> bool {
        self.keeper.is_some()
    }

    /// The keeper, if there is one.
    pub const fn keeper(&mut self) -> Option<&mut Keeper> {
        self.keeper.as_mut()
    }

    /// Nothing has to be kept any more.
    pub fn let_go(&mut self) {
        self.keeper.take().into_iter().for_each(Keeper::end);
    }

    /// Writes down what is known of a domain.
    pub fn note_domain(&mut self, id: u16, bytes: Vec<u8>) {
        let mut record = Vec::new();
        keeper::part(&mut record, kind::DOMAIN, id, &bytes);
        if let Some(keeper) = &mut self.keeper {
            keeper.domains.insert(id, bytes);
        }
        self.write(&record);
    }

    /// Writes down that a domain is gone.
    pub fn note_gone(&mut self, id: u16) {
        let mut record = Vec::new();
        keeper::part(&mut record, kind::GONE, id, &[]);
        if let Some(keeper) = &mut self.keeper {
            keeper.domains.remove(&id);
        }
        self.write(&record);
    }

    /// Writes down that all was built that the configuration asks for.
    pub fn note_whole(&mut self) {
        let mut record = Vec::new();
        keeper::part(&mut record, kind::WHOLE, 0, &[]);
        if let Some(keeper) = &mut self.keeper {
            keeper.is_whole = true;
        }
        self.write(&record);
    }

    /// Writes down what has changed in xenstore, and where a connection is.
    fn note(&mut self, connection: Option<u16>) {
        if self.keeper.is_none() {
            return;
        }
        let mut record = Vec::new();
        if let Some(changes) = self.server.changes() {
            keeper::part(&mut record, kind::STORE, 0, &changes);
        }
        if let Some(id) = connection {
            self.save_connection(id, &mut record);
        }
        self.write(&record);
    }

    fn save_connection(&self, id: u16, record: &mut Vec<u8>) {
        // This domain's own begins anew.
        if let Some(ring) = self.rings.get(&id).filter(|_| id != 0) {
            let mut saved = Vec::new();
            ring.connection.save(&self.server, &mut saved);
            keeper::part(record, kind::CONNECTION, id, &saved);
        }
    }

    fn write(&mut self, record: &[u8]) {
        let Some(keeper) = &mut self.keeper else { return };
        if !record.is_empty() && !keeper.append(record) {
            self.rewrite();
        }
    }

    /// Writes down all there is anew.
    pub fn rewrite(&mut self) {
        let mut records = Vec::new();
        for snapshot in self.server.snapshot() {
            let mut record = Vec::with_capacity(snapshot.len() + 8);
            keeper::part(&mut record, kind::STORE, 0, &snapshot);
            records.push(record);
        }
        let mut rest = Vec::new();
        self.rings.keys().for_each(|id| self.save_connection(*id, &mut rest));
        let Some(keeper) = &mut self.keeper else { return };
        keeper.domains.iter().for_each(|(id, bytes)| keeper::part(&mut rest, kind::DOMAIN, *id, bytes));
        if keeper.is_whole {
            keeper::part(&mut rest, kind::WHOLE, 0, &[]);
        }
        records.push(rest);
        if let Err(error) = keeper.rewrite(&records) {
            println!("what the control domain knows cannot be kept any more: error {}", error.number());
            self.let_go();
        }
    }

    fn local(&mut self) -> Local<'_> {
        self.server.local(self.toolstack)
    }

    /// Does something in the store as the toolstack, and tells guests of it.
    pub fn update<T>(&mut self, what: impl FnOnce(&mut Local) -> T) -> T {
        let value = what(&mut self.local());
        self.note(None);
        self.tell();
        value
    }

    /// Gives a domain a ring at [`FRAME`] and writes what there is to say of it, before it runs.
    ///
    /// # Errors
    /// The hypervisor's; then nothing is left of it.
    pub fn give(&mut self, id: u16, definition: &Definition) -> Result<(), Errno> {
        let given = self.try_to_give(id, definition);
        given.inspect_err(|_| self.release(id))
    }

    /// Writes what there is to say of a domain that never runs, and has no ring.
    ///
    /// # Errors
    /// None that anybody could be the cause of.
    pub fn tell_of(&mut self, id: u16, definition: &Definition) -> Result<(), Errno> {
        self.server.create(id);
        let described = self.local().describe(&guest(id, definition, (0, 0)));
        described.map_err(|_| Errno::EINVAL).inspect_err(|_| self.release(id))
    }

    fn try_to_give(&mut self, id: u16, definition: &Definition) -> Result<(), Errno> {
        let is_known = self.server.knows(id);
        self.server.create(id);
        if definition.driver {
            self.serves(id);
        }
        let port = domains::offer_port(id, 0)?;
        let guest = guest(id, definition, (FRAME, port));
        let described = if is_known { self.local().describe_ring(&guest) } else { self.local().describe(&guest) };
        described.map_err(|_| Errno::EINVAL)?;
        domains::set_parameter(id, param::STORE_PFN, FRAME)?;
        domains::set_parameter(id, param::STORE_EVTCHN, port.into())?;
        self.introduce(id, FRAME, port)
    }

    fn introduce(&mut self, id: u16, frame: u64, port: u32) -> Result<(), Errno> {
        let theirs = port;
        let (page, port) = (Place::Guest(Mapping::new(id, frame)?), Port::connect(id, port)?);
        let connection = Connection::new(id, &mut self.server, &page);
        self.rings.insert(id, Ring { connection, page, port, theirs, behind: true });
        self.note(Some(id));
        Ok(())
    }

    /// The port of a domain's own at which it has its ring, or 0.
    pub fn port(&self, id: u16) -> u32 {
        self.rings.get(&id).map_or(0, |ring| ring.theirs)
    }

    /// Goes on with the ring of a domain that another served, from where that has written down to be.
    ///
    /// # Errors
    /// The hypervisor's: the domain has ended.
    pub fn adopt(&mut self, id: u16, port: u32, saved: Option<&[u8]>) -> Result<(), Errno> {
        let theirs = port;
        let (page, port) = (Place::Guest(Mapping::new(id, FRAME)?), Port::connect(id, port)?);
        let resumed = saved.and_then(|saved| Connection::resume(id, saved, &mut self.server).ok());
        let mut connection = resumed.unwrap_or_else(|| Connection::new(id, &mut self.server, &page));
        connection.show(&page);
        // It may have waited for one that got lost.
        let _ = port.notify();
        self.rings.insert(id, Ring { connection, page, port, theirs, behind: true });
        Ok(())
    }

    /// The domain serves devices of others, and may ask for machines.
    pub fn serves(&mut self, id: u16) {
        self.server.serves(id);
        // If it was built before, it is watched already.
        let _ = self.local().watch(&orders::directory(id), ORDERS);
    }

    /// Whether a driver domain may want something done that it asked for.
    pub fn has_orders(&mut self) -> bool {
        while self.local().event().is_some() {
            self.has_orders = true;
        }
        self.has_orders
    }

    /// All is done that driver domains asked for until [`Store::has_orders`] was called last.
    pub const fn note_followed(&mut self) {
        self.has_orders = false;
    }

    /// Forgets all domains but these.
    pub fn retain(&mut self, is_there: impl Fn(u16) -> bool) {
        let gone: Vec<u16> = self.server.domains().filter(|id| *id != 0 && !is_there(*id)).collect();
        gone.into_iter().for_each(|id| self.release(id));
    }

    /// Has this domain's own network interface begin anew, because nobody knows its rings any more.
    pub fn begin_anew(&mut self) {
        let path = "/local/domain/0/device/vif/0/state";
        self.update(|local| {
            if local.read(path).is_ok() {
                let _ = local.write(path, State::Initialising.as_str());
            }
        });
    }

    /// A client of this store for parts of this program that know xenstore by its ring. There can be one.
    ///
    /// # Errors
    /// If no port is left.
    pub fn client(&mut self) -> Result<client::Store, Errno> {
        let page = Rc::new(Page::new());
        let theirs = Port::offer(0)?;
        let port = Port::connect(0, theirs.number())?;
        let connection = Connection::new(0, &mut self.server, &*page);
        let (shared, theirs_number) = (Place::Own(page.clone()), theirs.number());
        self.rings.insert(0, Ring { connection, page: shared, port, theirs: theirs_number, behind: true });
        Ok(client::Store::within(page, theirs))
    }

    /// Asks a domain to do `what`, one of xenstore's words for it, if it has said that it listens for that; whether it has.
    pub fn ask_to(&mut self, id: u16, what: &str) -> bool {
        let control = format!("/local/domain/{id}/control");
        self.update(|local| {
            let listens = local.read(&format!("{control}/feature-{what}")).is_ok_and(|said| said == b"1");
            listens && local.write(&format!("{control}/shutdown"), what).is_ok()
        })
    }

    /// A node's value.
    pub fn peek(&self, path: &str) -> Option<&[u8]> {
        self.server.peek(path)
    }

    /// What all domains have of nodes, watches, transactions and memory.
    pub fn totals(&self) -> Usage {
        self.server.totals()
    }

    /// Writes the devices of all domains whose back ends are there, as far as that is not done. If `new` says which domain came last, these
    /// are its own and those that it serves.
    pub fn plug(&mut self, domains: &Domains, new: Option<u16>) {
        let all = domains.iter().flat_map(|(id, domain)| devices(domain).map(move |device| (id, device)));
        let own = domains.backend(None).map(|_| (0, OWN));
        self.update(|local| {
            for (id, (backend, kind, number)) in all.chain(own) {
                let backend = domains.backend(backend).filter(|backend| *backend != id);
                let Some(backend) = backend.filter(|backend| new.is_none_or(|new| new == id || new == *backend)) else {
                    continue;
                };
                if local.backend(id, kind, number).is_none() {
                    // One of them may have no store; then there is no device.
                    let _: Result<(), Error> = local.plug(&Device { kind, domain: id, number, backend });
                }
            }
        });
    }

    /// A domain is about to be destroyed and built again under its number: what the store says of it and its devices stays.
    pub fn suspend(&mut self, id: u16) {
        self.rings.remove(&id);
        self.server.reset(id);
        self.note(None);
    }

    /// Removes all there is of a domain, which can be destroyed then.
    pub fn release(&mut self, id: u16) {
        if !self.server.knows(id) {
            return;
        }
        self.rings.remove(&id);
        // Nobody is there any more whom its own nodes' end would have to be told.
        self.server.reset(id);
        // No node can keep it from that.
        let _ = self.local().undescribe(id);
        self.server.release(id);
        self.note(None);
        self.tell();
    }

    /// Serves the rings on which something has happened: whether there may be more to do.
    fn serve(&mut self) -> bool {
        for ring in self.rings.values_mut() {
            ring.behind |= ring.port.take();
        }
        let due: Vec<u16> = self.rings.iter().filter(|(_, ring)| ring.behind).map(|(id, _)| *id).collect();
        due.into_iter().for_each(|id| self.turn(id));
        self.follow();
        self.tell();
        self.rings.values().any(|ring| ring.behind)
    }

    /// Sends guests what waits for them. If a ring is full, its guest sends an event when there is room.
    fn tell(&mut self) {
        let ready = self.server.ready().filter_map(|name| if let Name::Domain(id) = name { Some(id) } else { None });
        let ready: Vec<u16> = ready.collect();
        ready.into_iter().for_each(|id| self.turn(id));
    }

    fn turn(&mut self, id: u16) {
        let Some(ring) = self.rings.get_mut(&id) else { return };
        let turn = ring.connection.prepare(&mut self.server, &ring.page);
        ring.behind = turn.again;
        if ring.connection.has_unseen() {
            // Whoever goes on after this domain has to know what the guest is about to see.
            self.note(Some(id));
        }
        let Some(ring) = self.rings.get_mut(&id) else { return };
        ring.behind |= ring.connection.show(&ring.page);
        if turn.notify {
            // A guest that is gone needs none.
            let _ = ring.port.notify();
        }
    }

    /// Does what clients of domain 0 asked the server for and it cannot do itself. All of them are parts of this program, which
    /// has better ways: so nothing is asked for.
    fn follow(&mut self) {
        while let Some(effect) = self.server.take_effect() {
            match effect {
                Effect::Introduce { domain, frame, port } => drop(self.introduce(domain, frame, port)),
                Effect::Release { domain } => drop(self.rings.remove(&domain)),
            }
        }
    }
}

/// A domain as its nodes describe it.
fn guest(id: u16, definition: &Definition, store: (u64, u32)) -> Guest<'_> {
    let Definition { name, memory, vcpus, driver, .. } = definition;
    Guest { id, name, memory: memory / 1024, vcpus: *vcpus, store, driver: *driver }
}

/// A domain's devices: the name of the back end's domain if it is said, what they are, and their numbers.
fn devices(domain: &Domain) -> impl Iterator<Item = (Option<&str>, Kind<'_>, u32)> {
    let (definition, machine) = (&domain.definition, domain.order.map(|order| order.number));
    let vifs = (0..).zip(&definition.vifs).map(move |(number, vif)| {
        let kind = Kind::Vif { mac: vif.mac, ip: vif.ip, service: vif.service, machine };
        (vif.backend.as_deref(), kind, number)
    });
    let vbds = definition.vbds.iter().map(|vbd| {
        let kind = Kind::Vbd { dev: &vbd.vdev, params: &vbd.serial, read_only: vbd.read_only };
        (vbd.backend.as_deref(), kind, vbd.number)
    });
    vifs.chain(vbds)
}

/// Serves the rings of all domains.
pub async fn serve(toolstack: &RefCell<Toolstack>) {
    loop {
        let seen = events::times();
        let is_behind = toolstack.borrow_mut().store.serve();
        let is_behind = toolstack.borrow_mut().follow_orders() || is_behind;
        if is_behind { executor::yield_now().await } else { events::any(seen).await }
    }
}
