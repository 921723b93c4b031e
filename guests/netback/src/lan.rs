//! All ports, and the way of frames from one to others.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;
use core::task::{Context, Poll, Waker};

use mote_protocols::ring::{Broken, Shared};
use mote_protocols::statistics::{Tally, interface as count};

use crate::packet::{self, flow};
use crate::switch::Verdict;
use crate::{Abilities, Checksum, Device, Frame, Frontend, Identity, Mac, Page, Pool, Queue, Switch, segments};

/// Frames that are taken from an uplink by one turn.
const BATCH: usize = 32;

/// What is to happen after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Another turn, when others had theirs.
    Again,
    /// Another turn after the next event.
    Wait,
}

/// A network device. It is trusted to do what it says.
pub trait Uplink {
    /// What it does itself.
    fn abilities(&self) -> Abilities;

    /// Sends a frame.
    ///
    /// # Errors
    /// The frame, if there is no room; then there is an interrupt when there is some again.
    fn send(&mut self, frame: Frame) -> Result<(), Frame>;

    /// Has it look at what it is to send.
    fn kick(&mut self);

    /// A frame that was sent.
    fn sent(&mut self) -> Option<Frame>;

    /// A frame that came.
    fn received(&mut self) -> Option<Frame>;

    /// Gives it a page for a frame that comes.
    ///
    /// # Errors
    /// The page, if it has enough.
    fn provide(&mut self, page: Box<Page>) -> Result<(), Box<Page>>;
}

/// A port's number. It may become another's when it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortId(usize);

enum Way<P, F, U> {
    Guest(Vec<Queue<P, F>>),
    Uplink {
        device: U,
        backlog: VecDeque<Frame>,
        backlog_pages: usize,
    },
    /// Somebody here answers in a guest's place.
    Proxy {
        abilities: Abilities,
        inbox: VecDeque<Frame>,
        pages: usize,
    },
}

struct Port<P, F, U, T> {
    way: Way<P, F, U>,
    /// Where what goes through it is counted, seen from who is behind it.
    tally: T,
    /// Whether it is in the list of those that got something in this turn.
    listed: bool,
}

/// The ports. Fields are private because the switch knows the same ports.
pub struct Lan<P, F, U, T> {
    switch: Switch,
    pool: Pool,
    ports: Vec<Option<Port<P, F, U, T>>>,
    /// For a batch of frames, and for the ports that got something.
    frames: Vec<Frame>,
    listed: Vec<usize>,
    /// Proxies for which something came, and who is to be woken then.
    called: Vec<usize>,
    answering: Option<Waker>,
}

impl<P: Shared, F: Frontend, U: Uplink, T: Tally> Lan<P, F, U, T> {
    /// Without ports. Frames on their way have `pages` in all.
    #[must_use]
    pub fn new(pages: usize) -> Self {
        let (switch, pool) = (Switch::new(), Pool::new(pages));
        let (ports, frames, listed, called) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { switch, pool, ports, frames, listed, called, answering: None }
    }

    /// A guest has a device with this address, connected or not ([`Switch::expect`]).
    pub fn expect(&mut self, device: Device, mac: Mac) {
        self.switch.expect(device, mac);
    }

    /// The guest does not have this device any more.
    pub fn forget(&mut self, device: Device) {
        self.switch.forget(device);
    }

    /// Connects a guest. `None` if its address is in use or none.
    pub fn add_guest(&mut self, identity: Identity, queues: Vec<Queue<P, F>>, tally: T) -> Option<PortId> {
        let port = self.switch.add_guest(identity)?;
        Some(self.add(port, Way::Guest(queues), tally))
    }

    /// Has frames for a guest's address be taken here ([`Lan::called`]) by somebody who is as able as the guest. `None` if the address is in
    /// use or none.
    pub fn add_proxy(&mut self, identity: Identity, abilities: Abilities, tally: T) -> Option<PortId> {
        let port = self.switch.add_proxy(identity)?;
        Some(self.add(port, Way::Proxy { abilities, inbox: VecDeque::new(), pages: 0 }, tally))
    }

    /// A frame for a proxy, or what wakes the task when there is one.
    pub fn poll_called(&mut self, context: &Context<'_>) -> Poll<Frame> {
        match self.called() {
            Some(frame) => Poll::Ready(frame),
            None => {
                self.answering = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// A frame for a proxy.
    pub fn called(&mut self) -> Option<Frame> {
        while let Some(number) = self.called.last() {
            if let Some(Some(Port { way: Way::Proxy { inbox, pages, .. }, .. })) = self.ports.get_mut(*number)
                && let Some(frame) = inbox.pop_front()
            {
                *pages = pages.saturating_sub(frame.pages());
                return Some(frame);
            }
            self.called.pop();
        }
        None
    }

    /// Sends a proxy's frames, at `now` seconds. Whose each is its source says.
    pub fn answer(&mut self, frames: impl IntoIterator<Item = Frame>, now: u32) {
        for frame in frames {
            match self.switch.guest_of(frame.head()) {
                Some(port) => self.forward_one(port, frame, now),
                None => self.pool.give(frame),
            }
        }
        self.flush_listed();
    }

    /// Pages for frames.
    pub const fn pool(&mut self) -> &mut Pool {
        &mut self.pool
    }

    /// Connects a device, to which pages are given.
    pub fn add_uplink(&mut self, mut device: U, tally: T) -> Option<PortId> {
        let port = self.switch.add_uplink()?;
        while let Some(page) = self.pool.page() {
            if let Err(page) = device.provide(page) {
                self.pool.give_page(page);
                break;
            }
        }
        device.kick();
        Some(self.add(port, Way::Uplink { device, backlog: VecDeque::new(), backlog_pages: 0 }, tally))
    }

    fn add(&mut self, number: usize, way: Way<P, F, U>, tally: T) -> PortId {
        if self.ports.len() <= number {
            self.ports.resize_with(number + 1, || None);
        }
        if let Some(place) = self.ports.get_mut(number) {
            *place = Some(Port { way, tally, listed: false });
        }
        PortId(number)
    }

    /// Ends a guest's connection; its rings and its frontend are dropped.
    pub fn remove(&mut self, port: PortId) {
        self.switch.remove(port.0);
        match self.ports.get_mut(port.0).and_then(Option::take).map(|port| port.way) {
            Some(Way::Guest(mut queues)) => queues.iter_mut().for_each(|queue| queue.empty(&mut self.pool)),
            Some(Way::Proxy { inbox, .. }) => inbox.into_iter().for_each(|frame| self.pool.give(frame)),
            Some(Way::Uplink { .. }) | None => {}
        }
    }

    /// A guest's turn, at `now` seconds: takes what it transmits on queue `queue`, and gives it what waited.
    ///
    /// # Errors
    /// If its rings make no sense. Then it is to be removed.
    pub fn serve(&mut self, port: PortId, queue: usize, now: u32) -> Result<Turn, Broken> {
        let mut frames = mem::take(&mut self.frames);
        let turn = match self.queue(port, queue) {
            Some((queue, pool)) => queue.take(pool, &mut frames).and_then(|turn| queue.deliver(pool).map(|()| turn)),
            None => Ok(Turn::Wait),
        };
        self.forward(port.0, &mut frames, now);
        self.frames = frames;
        turn
    }

    fn queue(&mut self, port: PortId, queue: usize) -> Option<(&mut Queue<P, F>, &mut Pool)> {
        let Some(Port { way: Way::Guest(queues), .. }) = self.ports.get_mut(port.0)? else { return None };
        Some((queues.get_mut(queue)?, &mut self.pool))
    }

    /// A device's turn, at `now` seconds: takes what has come, and sends what waited.
    pub fn serve_uplink(&mut self, port: PortId, now: u32) -> Turn {
        let mut frames = mem::take(&mut self.frames);
        if let Some(Port { way: Way::Uplink { device, .. }, .. }) = self.ports.get_mut(port.0).and_then(Option::as_mut)
        {
            receive(device, &mut frames, &mut self.pool);
        }
        let turn = if frames.len() == BATCH { Turn::Again } else { Turn::Wait };
        self.list(port.0);
        self.forward(port.0, &mut frames, now);
        self.frames = frames;
        turn
    }

    /// Sends frames that came in at port `from` on their way, and has all ports to which they went take them.
    fn forward(&mut self, from: usize, frames: &mut Vec<Frame>, now: u32) {
        frames.drain(..).for_each(|frame| self.forward_one(from, frame, now));
        self.flush_listed();
    }

    fn forward_one(&mut self, from: usize, frame: Frame, now: u32) {
        let verdict = self.switch.judge(from, frame.head(), now);
        if let Some(Some(Port { tally, .. })) = self.ports.get(from) {
            if verdict == Verdict::Refuse {
                tally.add(count::REFUSED, 1);
            } else {
                tally.add(count::SENT_FRAMES, 1);
                tally.add(count::SENT_BYTES, frame.len() as u64);
            }
        }
        match verdict {
            Verdict::To(port) => self.send(port, frame),
            Verdict::All | Verdict::Uplinks => self.send_to_all(verdict, from, frame),
            Verdict::Nowhere | Verdict::Refuse => self.pool.give(frame),
        }
    }

    fn flush_listed(&mut self) {
        let mut listed = mem::take(&mut self.listed);
        listed.drain(..).for_each(|port| self.flush(port));
        self.listed = listed;
    }

    fn send_to_all(&mut self, verdict: Verdict, from: usize, frame: Frame) {
        let mut next = self.switch.target(verdict, from, 0);
        while let Some(port) = next {
            next = self.switch.target(verdict, from, port + 1);
            if next.is_none() {
                return self.send(port, frame);
            }
            if let Some(copy) = frame.duplicate(&mut self.pool) {
                self.send(port, copy);
            }
        }
        self.pool.give(frame);
    }

    /// Has port `number` take `frame`, in a form that it can take.
    fn send(&mut self, number: usize, mut frame: Frame) {
        self.list(number);
        let Some(Some(port)) = self.ports.get_mut(number) else { return self.pool.give(frame) };
        let able = port.abilities();
        let pool = &mut self.pool;
        if frame.segment != 0 && !able.segments {
            return segments::cut(frame, !able.checksum, pool, |segment, pool| port.enqueue(segment, pool));
        }
        if frame.checksum == Checksum::Blank && !able.checksum {
            if !packet::complete(&mut frame) {
                port.tally.add(count::RECEIVED_DROPPED, 1);
                return pool.give(frame);
            }
            frame.checksum = Checksum::Valid;
        }
        port.enqueue(frame, pool);
    }

    fn list(&mut self, number: usize) {
        if let Some(Some(port)) = self.ports.get_mut(number)
            && !mem::replace(&mut port.listed, true)
        {
            self.listed.push(number);
        }
    }

    fn flush(&mut self, number: usize) {
        if let Some(Some(port)) = self.ports.get_mut(number) {
            port.listed = false;
            port.flush(&mut self.pool);
            if matches!(port.way, Way::Proxy { .. }) {
                self.called.push(number);
                self.answering.take().into_iter().for_each(Waker::wake);
            }
        }
    }
}

impl<P: Shared, F: Frontend, U: Uplink, T: Tally> Port<P, F, U, T> {
    fn abilities(&self) -> Abilities {
        match &self.way {
            Way::Guest(queues) => queues.first().map_or_else(Abilities::default, |queue| queue.agreement().abilities),
            Way::Uplink { device, .. } => device.abilities(),
            Way::Proxy { abilities, .. } => *abilities,
        }
    }

    /// Has a frame wait, if it may.
    fn enqueue(&mut self, frame: Frame, pool: &mut Pool) {
        let len = frame.len() as u64;
        let refused = match &mut self.way {
            Way::Guest(queues) => {
                let number = if queues.len() > 1 { flow(frame.head()) as usize % queues.len() } else { 0 };
                match queues.get_mut(number) {
                    Some(queue) => queue.enqueue(frame, pool).err(),
                    None => Some(frame),
                }
            }
            Way::Proxy { pages, .. } if !pool.may_wait(*pages, frame.pages()) => Some(frame),
            Way::Proxy { inbox, pages, .. } => {
                *pages += frame.pages();
                inbox.push_back(frame);
                None
            }
            Way::Uplink { backlog_pages, .. } if !pool.may_wait(*backlog_pages, frame.pages()) => Some(frame),
            Way::Uplink { backlog, backlog_pages, .. } => {
                *backlog_pages += frame.pages();
                backlog.push_back(frame);
                None
            }
        };
        if let Some(frame) = refused {
            self.tally.add(count::RECEIVED_DROPPED, 1);
            return pool.give(frame);
        }
        self.tally.add(count::RECEIVED_FRAMES, 1);
        self.tally.add(count::RECEIVED_BYTES, len);
    }

    /// Passes on what waits, as far as it goes.
    fn flush(&mut self, pool: &mut Pool) {
        match &mut self.way {
            Way::Proxy { .. } => {}
            Way::Guest(queues) => queues.iter_mut().for_each(|queue| {
                // One that is broken says so to its own.
                let _ = queue.deliver(pool);
            }),
            Way::Uplink { device, backlog, backlog_pages } => {
                reclaim(device, pool);
                while let Some(frame) = backlog.pop_front() {
                    let pages = frame.pages();
                    if let Err(frame) = device.send(frame) {
                        backlog.push_front(frame);
                        // What was sent before the device knew that an interrupt is wanted.
                        if reclaim(device, pool) {
                            continue;
                        }
                        break;
                    }
                    *backlog_pages = backlog_pages.saturating_sub(pages);
                }
                device.kick();
            }
        }
    }
}

/// Takes a batch of frames that have come, and gives the device a page for each. Without one to give, a frame is dropped for its own.
fn receive<U: Uplink>(device: &mut U, frames: &mut Vec<Frame>, pool: &mut Pool) {
    while frames.len() < BATCH {
        let Some(frame) = device.received() else { return };
        match pool.page() {
            Some(page) => {
                frames.push(frame);
                provide(device, page, pool);
            }
            None => frame.into_pages().for_each(|page| provide(device, page, pool)),
        }
    }
}

fn provide<U: Uplink>(device: &mut U, page: Box<Page>, pool: &mut Pool) {
    if let Err(page) = device.provide(page) {
        pool.give_page(page);
    }
}

/// Takes back what was sent. False if there was nothing.
fn reclaim<U: Uplink>(device: &mut U, pool: &mut Pool) -> bool {
    let mut any = false;
    while let Some(frame) = device.sent() {
        pool.give(frame);
        any = true;
    }
    any
}
