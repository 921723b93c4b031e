//! A network: the domain's first network interface (`device/vif/0`), and on it a TCP/IP stack whose connections are futures.
//!
//! ```ignore
//! let network = Network::open(&store, &machine, Address::Dhcp).await?;
//! let network = async { either(network.run(), network.follow()).await };
//! let listener = Listener::bind(network.stack(), 80, BUFFERS, 8)?;
//! let connection = listener.accept().await;
//! ```
//!
//! [`mote_net`] is the stack and [`mote_netfront`] the protocol, both of them without a hypervisor; here are the pages and the events
//! (`device`), the agreement with the back end (`front`) and the task that moves packets. A back end may go and
//! another come: connections wait in the meantime.

mod device;
mod front;
#[cfg(feature = "net-http")]
pub mod http;
#[cfg(all(feature = "net-http", feature = "net-dhcp"))]
pub mod site;

pub use mote_net::*;

use core::cell::RefCell;

use alloc::rc::Rc;

use crate::Machine;
use crate::executor::{either, sleep_until, yield_now};
use crate::template::{self, Identity};
use crate::time::{self, Instant};
use crate::xen::Errno;
use crate::xen::events::Port;
use crate::xen::store::Store;

use device::Link;
pub use device::NetFront;
pub use front::Trouble;

/// How long to wait at least while nothing can be sent.
const PAUSE: smoltcp::time::Duration = smoltcp::time::Duration::from_millis(10);

/// The stack on the domain's network interface.
pub type Stack = mote_net::Stack<NetFront>;
/// A port of it at which connections come in.
pub type Listener<'s> = tcp::Listener<'s, NetFront>;
/// A connection.
pub type Stream<'s> = tcp::Stream<'s, NetFront>;

/// The domain's network interface and the stack on it.
pub struct Network {
    stack: Stack,
    front: front::Front,
    /// By which the back end says that there is something, while there is one.
    port: RefCell<Option<Rc<Port>>>,
}

impl Network {
    /// The interface `device/vif/0`, as soon as there is one. Nothing moves before [`Network::run`] and
    /// [`Network::follow`] do.
    ///
    /// # Errors
    /// There is no xenstore, or nothing in it that makes sense.
    pub async fn open(store: &Store, machine: &Machine, address: Address) -> Result<Self, Trouble> {
        let front = front::Front::find(store).await?;
        let configuration = Configuration { mac: front.mac(), seed: machine.seed(), address };
        let stack = Stack::new(NetFront::default(), &configuration, now());
        Ok(Self { stack, front, port: RefCell::new(None) })
    }

    /// The stack.
    #[must_use]
    pub const fn stack(&self) -> &Stack {
        &self.stack
    }

    /// The interface's Ethernet address.
    #[must_use]
    pub const fn mac(&self) -> [u8; 6] {
        self.front.mac()
    }

    /// Whether the configuration makes this domain a service: then [`Network::snapshot`] is what to do when it is ready to serve.
    pub async fn is_service(&self) -> bool {
        self.front.is_service().await
    }

    /// Makes this domain a template as soon as packets pass and it has an address. What comes back is a clone, whose interface is connected
    /// and to which somebody is about to connect. It has no xenstore. [`Network::run`] must be a task by then, and there should be no
    /// connections.
    ///
    /// # Errors
    /// The hypervisor's, and this domain goes on: see [`template::snapshot`].
    pub async fn snapshot(&self) -> Result<Identity, Errno> {
        self.stack.configured().await;
        self.front.connected().await;
        // What the back end has not answered a clone's would find once more.
        while !self.stack.device(|device| device.link().is_some_and(Link::is_quiet)) {
            yield_now().await;
        }
        let port = self.port.borrow().clone().ok_or(Errno::EAGAIN)?;
        let identity = template::become_linked(&port)?;
        self.stack.device(NetFront::use_router);
        self.stack.renew(template::seed().unwrap_or_default(), now());
        Ok(identity)
    }

    /// Has the ring say that so much was sent, whatever was.
    #[cfg(feature = "inspect")]
    pub fn spoil(&self, produced: u32) {
        self.stack.device(|device| device.link().map(|link| link.spoil(produced)));
    }

    /// Keeps to the back end that xenstore names. For ever: this and [`Network::run`] are a task each.
    pub async fn follow(&self) {
        self.front.follow(self).await;
    }

    /// Moves packets. For ever.
    pub async fn run(&self) {
        loop {
            let next = self.stack.poll(now());
            let settled = self.stack.device(NetFront::settle);
            if settled.is_broken {
                self.front.part();
            }
            let is_due = next.is_some_and(|next| next <= now());
            if settled.has_more || is_due && settled.can_send {
                yield_now().await;
                continue;
            }
            // What is due and cannot be sent is tried again when there may be room, or something else may be due.
            let next = next.map(|next| next.max(if is_due { now() + PAUSE } else { next }));
            let deadline = next.map(|next| Instant::at(ticks(next)));
            either(either(self.event(), self.stack.work()), wait_until(deadline)).await;
        }
    }

    /// Has `turn` take frames from the interface and give it others, in place of [`Network::run`], until it says that it is done. Each time
    /// that there may be something it has a turn, and now and then besides.
    pub async fn frames(&self, mut turn: impl FnMut(&mut NetFront) -> bool) {
        self.front.connected().await;
        loop {
            let (done, settled) = self.stack.device(|device| (turn(device), device.settle()));
            if done {
                return;
            }
            if settled.has_more {
                yield_now().await;
                continue;
            }
            either(self.event(), wait_until(Some(Instant::at(ticks(now() + PAUSE))))).await;
        }
    }

    /// Waits for the back end. One that comes has the stack poll by [`Network::link`].
    async fn event(&self) {
        let port = self.port.borrow().clone();
        match port {
            Some(port) => port.event().await,
            None => core::future::pending().await,
        }
    }

    /// Uses `link` from now on, in place of what was there before, which comes back.
    fn link(&self, link: Option<device::Link>) -> Option<device::Link> {
        *self.port.borrow_mut() = link.as_ref().map(device::Link::port);
        let before = self.stack.device(|device| device.replace(link));
        self.stack.relink(now());
        before
    }
}

async fn wait_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => core::future::pending().await,
    }
}

/// The time as the stack counts it, in microseconds.
fn now() -> smoltcp::time::Instant {
    let uptime = time::uptime();
    smoltcp::time::Instant::from_micros(uptime.as_secs() as i64 * 1_000_000 + i64::from(uptime.subsec_micros()))
}

/// A point in the stack's time as ticks, rounded up: the stack is not to be woken before.
fn ticks(instant: smoltcp::time::Instant) -> u64 {
    let micros = core::time::Duration::from_micros(instant.total_micros().unsigned_abs() + 1);
    time::ticks(micros)
}
