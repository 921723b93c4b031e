//! A frontend's rings while they are served: what the switch knows of them, and the tasks that give them their turns.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::task::{Poll, Waker};

use mote_netback::{Frontend, PortId, Transfer, Turn};
use mote_unikernel::executor::yield_now;
use mote_unikernel::xen::events::Port;
use mote_unikernel::xen::transfers::{Room, Transfers};

use super::{SharedLan, seconds};

/// Why a connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The frontend's rings make no sense.
    Broken,
    /// There is nobody at the other end any more, for clones of whom it is.
    Left,
}

/// How far a connection is, known to all who have to do with it.
#[derive(Default)]
pub struct Fate {
    failure: Cell<Option<Failure>>,
    /// It has ended: its port of the switch is another's.
    ended: Cell<bool>,
    wakers: RefCell<Vec<Waker>>,
}

impl Fate {
    fn fail(&self, failure: Failure) {
        self.failure.set(Some(failure));
        self.wake();
    }

    /// It has ended.
    pub fn end(&self) {
        self.ended.set(true);
        self.wake();
    }

    fn wake(&self) {
        self.wakers.borrow_mut().drain(..).for_each(Waker::wake);
    }

    fn note(&self, waker: &Waker) {
        let mut wakers = self.wakers.borrow_mut();
        if !wakers.iter().any(|known| known.will_wake(waker)) {
            wakers.push(waker.clone());
        }
    }

    /// Waits until it cannot go on.
    pub async fn failure(&self) -> Failure {
        poll_fn(|context| {
            self.note(context.waker());
            self.failure.get().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// The event channels of a pair of rings.
pub struct Ports {
    /// For the ring of requests to transmit.
    pub transmit: Port,
    /// For the other, if it has one of its own.
    pub receive: Option<Port>,
}

impl Ports {
    /// Has the frontend look at its rings.
    pub fn notify(&self) {
        // A guest that has closed its port does not wait for anything.
        let _ = self.transmit.notify();
        let _ = self.receive.as_ref().map(Port::notify);
    }

    /// Waits for an event of either, or the connection's end.
    async fn event(&self, fate: &Fate) {
        poll_fn(|context| {
            let transmit = self.transmit.poll_event(context).is_ready();
            let receive = self.receive.as_ref().is_some_and(|port| port.poll_event(context).is_ready());
            if transmit || receive || fate.ended.get() {
                return Poll::Ready(());
            }
            fate.note(context.waker());
            Poll::Pending
        })
        .await;
    }
}

/// A frontend as the switch sees it: its memory, its event channels.
pub struct Guest {
    transfers: Transfers,
    ports: Rc<Ports>,
    fate: Rc<Fate>,
}

impl Guest {
    /// Domain `domain`, by a pair of rings.
    pub fn new(domain: u16, ports: Rc<Ports>, fate: Rc<Fate>) -> Self {
        Self { transfers: Transfers::new(domain, Room::default()), ports, fate }
    }
}

// A guest that has closed its port does not wait for anything, so that it does not matter whether it was told.
impl Frontend for Guest {
    fn copy(&mut self, transfers: &mut [Transfer<'_>]) {
        self.transfers.make(transfers);
    }

    fn notify_transmit(&mut self) {
        let _ = self.ports.transmit.notify();
    }

    fn notify_receive(&mut self) {
        let _ = self.ports.receive.as_ref().unwrap_or(&self.ports.transmit).notify();
    }

    fn broken(&mut self) {
        self.fate.fail(Failure::Broken);
    }
}

/// Gives queue `number` of `port` its turns until the connection ends, its rings make no sense, or, if the guest `may_leave` to become a
/// template, it has.
pub async fn serve(lan: SharedLan, port: PortId, number: usize, ports: Rc<Ports>, fate: Rc<Fate>, may_leave: bool) {
    while !fate.ended.get() {
        let turn = lan.borrow_mut().serve(port, number, seconds());
        match turn {
            Ok(Turn::Again) => yield_now().await,
            Ok(Turn::Wait) if may_leave && !ports.transmit.is_connected() => return fate.fail(Failure::Left),
            Ok(Turn::Wait) => ports.event(&fate).await,
            // The frontend was noted as broken.
            Err(_) => return,
        }
    }
}
