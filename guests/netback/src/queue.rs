//! A pair of rings of one frontend: what it transmits, and what it is to receive.

mod receive;
mod transmit;

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use arrayvec::ArrayVec;
use mote_protocols::netif::{RxBack, TxBack};
use mote_protocols::ring::{Broken, Shared};

use crate::{Agreement, Frame, Pool, Turn};

/// Copies that are made by one call.
const COPIES: usize = 64;

/// A list of copies.
type Copies<'a> = ArrayVec<Transfer<'a>, COPIES>;

/// The end of a copy that is here. It lies in one page.
#[derive(Debug)]
pub enum Local<'a> {
    /// What is granted is copied here.
    Fetch(&'a mut [u8]),
    /// This is copied to what is granted.
    Store(&'a [u8]),
}

/// A copy between a part of a page that the frontend grants and memory here.
#[derive(Debug)]
pub struct Transfer<'a> {
    /// The grant.
    pub reference: u32,
    /// Where in the page the part begins. With the length no more than a page.
    pub offset: u16,
    /// The end here.
    pub local: Local<'a>,
    /// Whether it was made. To be set by [`Frontend::copy`].
    pub done: bool,
    /// For what in a batch it is made.
    item: u16,
}

/// What a queue needs while it has its turn.
#[derive(Default)]
pub(crate) struct Scratch {
    /// Requests of the batch that is being taken.
    parts: Vec<transmit::Part>,
    /// Requests that are being answered, and the frames that are being copied.
    slots: Vec<receive::Slot>,
    leaving: Vec<Frame>,
}

/// The frontend's memory and its event channels, of one pair of rings.
pub trait Frontend {
    /// Makes the copies, and notes in each whether it was made.
    fn copy(&mut self, transfers: &mut [Transfer<'_>]);

    /// Sends the event for responses to requests to transmit.
    fn notify_transmit(&mut self);

    /// Sends the event for responses to requests to receive.
    fn notify_receive(&mut self);

    /// The rings make no sense: whoever has the connection is to close it.
    fn broken(&mut self);
}

/// A pair of rings. Fields are private because the indices of the rings count what was taken and not answered.
pub struct Queue<P, F> {
    transmit: TxBack<P>,
    receive: RxBack<P>,
    frontend: F,
    agreement: Agreement,
    /// Lists that are the pool's but for the time of a turn.
    scratch: Scratch,
    /// Frames for which the frontend has not asked yet, and their pages.
    backlog: VecDeque<Frame>,
    backlog_pages: usize,
    broken: bool,
}

impl<P: Shared, F: Frontend> Queue<P, F> {
    /// A connection whose rings lie in these pages. It goes on where another backend has stopped.
    pub fn new(transmit: P, receive: P, frontend: F, agreement: Agreement) -> Self {
        Self {
            transmit: TxBack::new(transmit),
            receive: RxBack::new(receive),
            frontend,
            agreement,
            scratch: Scratch::default(),
            backlog: VecDeque::new(),
            backlog_pages: 0,
            broken: false,
        }
    }

    /// What the frontend can take.
    pub(crate) const fn agreement(&self) -> &Agreement {
        &self.agreement
    }

    /// Takes a batch of frames that the frontend transmits, and appends those that could be copied.
    ///
    /// # Errors
    /// If the ring makes no sense.
    pub fn take(&mut self, pool: &mut Pool, frames: &mut Vec<Frame>) -> Result<Turn, Broken> {
        core::mem::swap(&mut self.scratch, &mut pool.scratch);
        let taken = if self.broken { Err(Broken) } else { self.take_batch(pool, frames) };
        self.put_back(pool);
        self.noted(taken)
    }

    /// Has the frontend receive `frame` when it asks. Given back if too much waits for it already, or if it takes none of that size.
    ///
    /// # Errors
    /// The frame.
    pub fn enqueue(&mut self, frame: Frame, pool: &Pool) -> Result<(), Frame> {
        let fits = frame.pages() == 1 || self.agreement.scatter_gather;
        if self.broken || !fits || !pool.may_wait(self.backlog_pages, frame.pages()) {
            return Err(frame);
        }
        self.backlog_pages += frame.pages();
        self.backlog.push_back(frame);
        Ok(())
    }

    /// Puts frames into the pages in which the frontend asks to receive. Those for which it has not asked wait on; it
    /// sends an event when it has.
    ///
    /// # Errors
    /// If the ring makes no sense.
    pub fn deliver(&mut self, pool: &mut Pool) -> Result<(), Broken> {
        core::mem::swap(&mut self.scratch, &mut pool.scratch);
        let delivered = if self.broken { Err(Broken) } else { self.deliver_backlog(pool) };
        self.put_back(pool);
        self.noted(delivered)
    }

    /// Gives back all pages, for when the connection ends.
    pub fn empty(&mut self, pool: &mut Pool) {
        self.backlog.drain(..).for_each(|frame| pool.give(frame));
        self.backlog_pages = 0;
    }

    /// Keeps no memory for frames while none wait: for connections that are many and say little.
    pub fn rest(&mut self) {
        if self.backlog.is_empty() {
            self.backlog = VecDeque::new();
        }
    }

    /// The lists are empty when they are the pool's again.
    fn put_back(&mut self, pool: &mut Pool) {
        let Scratch { mut parts, mut slots, mut leaving } = core::mem::take(&mut self.scratch);
        parts.clear();
        slots.clear();
        leaving.drain(..).for_each(|frame| pool.give(frame));
        pool.scratch = Scratch { parts, slots, leaving };
    }

    /// Whether the rings made no sense.
    #[must_use]
    pub const fn is_broken(&self) -> bool {
        self.broken
    }

    fn noted<T>(&mut self, result: Result<T, Broken>) -> Result<T, Broken> {
        if result.is_err() && !core::mem::replace(&mut self.broken, true) {
            self.frontend.broken();
        }
        result
    }
}
