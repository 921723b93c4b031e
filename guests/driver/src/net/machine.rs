//! A machine that serves connections, a clone or one that was booted, as the driver domain has it: its rings and its event channel.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::mem;

use mote_netback::{Frame, Frontend, Pool, Queue, Transfer, Turn};
use mote_summon::MachineId;
use mote_unikernel::xen::domains;
use mote_unikernel::xen::events::Port;
use mote_unikernel::xen::grants::Mapping;
use mote_unikernel::xen::transfers::{Room, Transfers};

/// What came of an event.
pub enum Heard {
    /// The machine goes on.
    Alive,
    /// There is more than others should wait for.
    Behind,
    /// It has ended.
    Gone,
    /// Its rings make no sense.
    Broken,
}

/// A machine. Its domain is gone by itself when it ends.
pub struct Launched {
    /// What the summoner calls it.
    pub id: MachineId,
    /// Its number.
    pub domain: u16,
    queue: Queue<Mapping, Wire>,
    port: Rc<Port>,
    /// Whether frames wait for the end of the turn.
    waits: bool,
    /// Whether it has yet to run: it is to find its first frames when it does.
    is_paused: bool,
}

impl Launched {
    /// Domain `domain`, at the other end of `port`. It `is_paused` until it has its first frames, if it is a clone. Copies are listed in
    /// `room`, for all machines by turns.
    pub fn new(
        id: MachineId,
        domain: u16,
        port: Port,
        is_paused: bool,
        room: &Room,
        queue: impl FnOnce(Wire) -> Queue<Mapping, Wire>,
    ) -> Self {
        let port = Rc::new(port);
        let queue = queue(Wire { transfers: Transfers::new(domain, room.clone()), port: port.clone() });
        Self { id, domain, queue, port, waits: false, is_paused }
    }

    /// The port's number.
    pub fn port(&self) -> u32 {
        self.port.number()
    }

    /// Takes what it transmits, after it sent an event.
    pub fn take(&mut self, pool: &mut Pool, frames: &mut Vec<Frame>) -> Heard {
        // Asked first: what it sent before it ended is there.
        let is_there = self.port.is_connected();
        // It may ask for more now.
        let taken = self.queue.take(pool, frames).and_then(|turn| self.queue.deliver(pool).map(|()| turn));
        match taken {
            Ok(Turn::Again) => Heard::Behind,
            Ok(Turn::Wait) if is_there => Heard::Alive,
            Ok(Turn::Wait) => Heard::Gone,
            Err(_) => Heard::Broken,
        }
    }

    /// Has it receive a frame; whether it is the first of this turn.
    pub fn enqueue(&mut self, frame: Frame, pool: &mut Pool) -> bool {
        match self.queue.enqueue(frame, pool) {
            Ok(()) => !mem::replace(&mut self.waits, true),
            Err(frame) => {
                pool.give(frame);
                false
            }
        }
    }

    /// Passes on what it is to receive.
    pub fn deliver(&mut self, pool: &mut Pool) {
        self.waits = false;
        // Rings that make no sense are seen with its next event, or it lives no longer than it may.
        let _ = self.queue.deliver(pool);
        self.queue.rest();
        if mem::take(&mut self.is_paused) {
            // It may have been ended meanwhile.
            let _ = domains::unpause(self.domain);
        }
    }

    /// Gives back what it did not take.
    pub fn empty(&mut self, pool: &mut Pool) {
        self.queue.empty(pool);
    }
}

/// A machine's memory and its event channel.
pub struct Wire {
    transfers: Transfers,
    port: Rc<Port>,
}

// A machine that has ended does not wait for anything.
impl Frontend for Wire {
    fn copy(&mut self, transfers: &mut [Transfer<'_>]) {
        self.transfers.make(transfers);
    }

    fn notify_transmit(&mut self) {
        let _ = self.port.notify();
    }

    fn notify_receive(&mut self) {
        let _ = self.port.notify();
    }

    fn broken(&mut self) {}
}
