//! One disk of one guest, from its offer to its end.

use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;

use mote_blkback::{
    Backend, Disk as _, Geometry, Limits, Order, Turn, before_connection, on_connection, speaks_our_layouts,
};
use mote_protocols::statistics::{Device, Kind, Tally, disk as count};
use mote_protocols::xenbus::State;
use mote_protocols::xenbus::backend::{Next, next};
use mote_unikernel::executor::{Either, either, yield_now};
use mote_unikernel::println;
use mote_unikernel::virtio::Block;
use mote_unikernel::xen::events::Port;
use mote_unikernel::xen::grants::Mapping;
use mote_unikernel::xen::store::{Store, Watch};

use super::guest::Guest;
use super::{DIRECTORY, Shelf};
use crate::complaints::Complaints;
use crate::offers::Purpose;
use crate::statistics::{Record, Statistics};

/// Pages for data on its way, for each connection: 256 KiB.
const PAGES: usize = 64;

/// The disk cannot be served: the toolstack took it away, or xenstore is gone.
pub struct Gone;

/// A ring that is being served.
struct Serving {
    backend: Backend<Mapping, Guest, Block, Tallied>,
    port: Rc<Port>,
}

/// Where what it does is counted.
type Tallied = Rc<Option<Record>>;

/// What the disk is doing.
enum Use {
    Idle(Block),
    Serving(Box<Serving>),
}

/// What is known of a disk.
struct Disk<'a> {
    store: &'a Store,
    guest: u16,
    /// Its directory, and the frontend's.
    own: String,
    frontend: String,
    read_only: bool,
    tally: Tallied,
    complaints: Complaints,
}

/// Serves the disk until the toolstack takes it away.
///
/// # Errors
/// If it cannot be served.
pub async fn serve(store: &Store, shelf: &Shelf, statistics: &Statistics, purpose: Purpose) -> Result<(), Gone> {
    let own = format!("{DIRECTORY}/{}/{}", purpose.0, purpose.1);
    let frontend = store.read_text(&format!("{own}/frontend")).await.ok().ok_or(Gone)?;
    let read_only = store.read_text(&format!("{own}/mode")).await.ok().is_none_or(|mode| !mode.contains('w'));
    let name = store.read_text(&format!("{own}/params")).await.ok().ok_or(Gone)?;
    let device = Device { kind: Kind::Disk, domain: purpose.0, number: purpose.1 };
    let tally = Rc::new(statistics.record(device).await);
    let disk = Disk { store, guest: purpose.0, own, frontend, read_only, tally, complaints: Complaints::default() };
    let Some(block) = shelf.take(&name) else {
        println!("there is no disk {name} for domain {}, or it is in use", disk.guest);
        return Err(Gone);
    };
    let (idle, end) = disk.follow(block).await;
    shelf.put(idle);
    end
}

impl Disk<'_> {
    /// Does what the two ends' states ask for, until the disk is to be forgotten.
    async fn follow(&self, block: Block) -> (Block, Result<(), Gone>) {
        let geometry = Geometry { read_only: self.read_only || block.geometry().read_only, ..block.geometry() };
        let state = format!("{}/state", self.frontend);
        let existence = format!("{}/frontend", self.own);
        let (Ok(state), Ok(existence)) = (self.store.watch(&state).await, self.store.watch(&existence).await) else {
            return (block, Err(Gone));
        };
        let mut device = Use::Idle(block);
        loop {
            device = match self.next(&device).await {
                Next::Wait => device,
                Next::Offer => {
                    let idle = self.idle(device).await;
                    self.offer(&geometry).await;
                    Use::Idle(idle)
                }
                Next::Connect => self.connect(self.idle(device).await, &geometry).await,
                Next::Close => self.end(device, State::Closing).await,
                Next::Shut => self.end(device, State::Closed).await,
                Next::Forget => return (self.idle(device).await, Ok(())),
            };
            let changed = match &mut device {
                Use::Idle(_) => change(&state, &existence).await,
                Use::Serving(serving) => match serving.until(change(&state, &existence)).await {
                    Some(changed) => changed,
                    None => {
                        self.tally.add(count::BROKEN, 1);
                        self.complaints
                            .say(format_args!("domain {} broke the ring of its disk {}", self.guest, self.own));
                        device = self.end(device, State::Closing).await;
                        continue;
                    }
                },
            };
            if changed.is_err() {
                return (self.idle(device).await, Err(Gone));
            }
        }
    }

    async fn next(&self, device: &Use) -> Next {
        let there = self.store.read_text(&format!("{}/frontend", self.own)).await.ok().is_some();
        let [own, frontend] = [self.state(&self.own).await, self.state(&self.frontend).await];
        next(own, frontend, matches!(device, Use::Serving(_)), there)
    }

    async fn state(&self, end: &str) -> State {
        self.store.state(end).await.unwrap_or(State::Unknown)
    }

    async fn write(&self, name: &str, value: &str) {
        // What cannot be written is missed by the frontend, which then does not connect.
        let _ = self.store.write(&format!("{}/{name}", self.own), value).await;
    }

    async fn enter(&self, state: State) {
        let _ = self.store.switch_state(&self.own, state).await;
    }

    async fn offer(&self, geometry: &Geometry) {
        for (name, value) in before_connection(geometry) {
            self.write(name, &value).await;
        }
        self.enter(State::InitWait).await;
    }

    /// Serves the ring that the frontend has written; if there is none that can be, the disk stays idle until the frontend says more.
    async fn connect(&self, block: Block, geometry: &Geometry) -> Use {
        let Some((page, port)) = self.reach().await else {
            self.complaints.say(format_args!("domain {} cannot be reached for its disk {}", self.guest, self.own));
            // After a backend that is no more: a frontend that knows how makes a new ring.
            if self.state(&self.own).await != State::InitWait {
                self.offer(geometry).await;
            }
            return Use::Idle(block);
        };
        let port = Rc::new(port);
        let limits = Limits { pages: PAGES, order: Order::AsAsked, read_only: self.read_only };
        let guest = Guest { domain: self.guest, port: port.clone() };
        let backend = Backend::new(page, guest, block, self.tally.clone(), limits);
        for (name, value) in on_connection(geometry) {
            self.write(name, &value).await;
        }
        self.enter(State::Connected).await;
        // The one before may have answered and ended before it could say so.
        let _ = port.notify();
        Use::Serving(Box::new(Serving { backend, port }))
    }

    /// The page of the frontend's ring, and the port to it.
    async fn reach(&self) -> Option<(Mapping, Port)> {
        let node = async |name: &str| self.store.read_text(&format!("{}/{name}", self.frontend)).await.ok();
        if !speaks_our_layouts(node("protocol").await.as_deref()) {
            return None;
        }
        // One page and one queue are all that was offered.
        let reference = node("ring-ref").await?.parse().ok()?;
        let remote = node("event-channel").await?.parse().ok()?;
        let port = Port::connect(self.guest, remote).ok()?;
        Some((Mapping::new(self.guest, reference, true).ok()?, port))
    }

    async fn end(&self, device: Use, state: State) -> Use {
        let idle = self.idle(device).await;
        self.enter(state).await;
        Use::Idle(idle)
    }

    /// Ends the connection, if there is one, when the device is done with what it has of it.
    async fn idle(&self, device: Use) -> Block {
        let mut backend = match device {
            Use::Idle(block) => return block,
            Use::Serving(serving) => serving.backend,
        };
        backend.stop();
        loop {
            // Stopped, it looks at the ring no more.
            let _ = backend.turn();
            backend = match backend.into_disk() {
                Ok(block) => return block,
                Err(backend) => backend,
            };
            backend.disk().interrupt.event().await;
        }
    }
}

impl Serving {
    /// Serves until `change`. `None` if the ring makes no sense.
    async fn until<T>(&mut self, change: impl Future<Output = T>) -> Option<T> {
        let mut change = core::pin::pin!(change);
        loop {
            let turn = self.backend.turn().ok()?;
            let first = match turn {
                // The guest may fill its ring faster than it is emptied: others come first.
                Turn::Again => either(change.as_mut(), yield_now()).await,
                Turn::Wait => {
                    let interrupt = self.backend.disk().interrupt.event();
                    let work = async {
                        either(self.port.event(), interrupt).await;
                    };
                    either(change.as_mut(), work).await
                }
            };
            if let Either::First(value) = first {
                return Some(value);
            }
        }
    }
}

/// Waits until one of the two changes.
async fn change(state: &Watch, existence: &Watch) -> Result<(), Gone> {
    let (Either::First(event) | Either::Second(event)) = either(state.next(), existence.next()).await;
    event.map(drop).map_err(|_| Gone)
}
