//! One connection between a frontend and a disk.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use mote_protocols::blkif::{RING_ENTRIES, Request, Response, operation, status};
use mote_protocols::ring::{Back, Broken, Shared};
use mote_protocols::statistics::{Tally, disk as count};

use crate::pages::Pool;
use crate::request::{self, Asked, Indirection, Kind, Refused, Transfer, Work};
use crate::{Buffer, Command, Disk, Finished, Geometry, INDIRECT_SEGMENTS, Part};

/// A grant that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoAccess;

/// The frontend's memory and its event channel.
pub trait Frontend {
    /// Copies each of `parts` into its buffer, which is as large.
    ///
    /// # Errors
    /// If one of them cannot be read.
    fn fetch(&mut self, parts: &[Part], buffers: &mut [Buffer]) -> Result<(), NoAccess>;

    /// Copies each buffer into its one of `parts`, which is as large.
    ///
    /// # Errors
    /// If one of them cannot be written.
    fn store(&mut self, parts: &[Part], buffers: &[Buffer]) -> Result<(), NoAccess>;

    /// Sends an event.
    fn notify(&mut self);
}

/// In which order requests are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As the disk gets done with them.
    AsDone,
    /// As they were asked. What is not answered then stands in the ring unharmed, so that a backend which takes the place of one that
    /// died finds it there: no frontend has to know.
    AsAsked,
}

/// What one connection may use, and how it is served.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Pages for data on its way. Never less than one request can need.
    pub pages: usize,
    /// The order of answers.
    pub order: Order,
    /// Nothing may be written, whatever the disk can do.
    pub read_only: bool,
}

/// What is to happen after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Another turn, when others had theirs.
    Again,
    /// Another turn after the frontend's event, or after something that was started has ended.
    Wait,
}

/// A request that was taken and is not answered.
struct Slot {
    id: u64,
    operation: u8,
    /// Bytes that it moves.
    bytes: u64,
    /// Where what is read goes.
    reads: Vec<Part>,
    /// What is to be done after what the disk is doing.
    rest: Option<Command>,
    /// How it ended.
    ended: Option<i16>,
}

/// A connection. Its fields are private because every slot that has not ended is known to the disk, to `waiting`, or is `stalled`: exactly one.
pub struct Backend<P, F, D, T> {
    ring: Back<P, Request, Response>,
    frontend: F,
    disk: D,
    tally: T,
    geometry: Geometry,
    order: Order,
    pool: Pool,
    slots: Vec<Option<Slot>>,
    /// The slots in use, in the order of their requests.
    asked: VecDeque<u16>,
    /// What the disk has no room for.
    waiting: VecDeque<(u16, Command)>,
    /// A transfer for which there are no pages.
    stalled: Option<(u16, Transfer)>,
    /// For the segments of indirect requests; empty until there is one.
    segments: Vec<Buffer>,
    /// How many commands the disk has.
    started: usize,
    stopped: bool,
}

impl<P: Shared, F: Frontend, D: Disk, T: Tally> Backend<P, F, D, T> {
    /// A connection whose ring lies in page `ring`. It begins with the first request that was not answered. What is answered is counted
    /// in `tally`.
    pub fn new(ring: P, frontend: F, disk: D, tally: T, limits: Limits) -> Self {
        let geometry = disk.geometry();
        let read_only = geometry.read_only || limits.read_only;
        Self {
            ring: Back::new(ring),
            frontend,
            geometry: Geometry { read_only, ..geometry },
            disk,
            tally,
            order: limits.order,
            pool: Pool::new(limits.pages.max(INDIRECT_SEGMENTS)),
            slots: (0..RING_ENTRIES).map(|_| None).collect(),
            asked: VecDeque::new(),
            waiting: VecDeque::new(),
            stalled: None,
            segments: Vec::new(),
            started: 0,
            stopped: false,
        }
    }

    /// Does all that can be done now, but takes no more requests than fit into the ring.
    ///
    /// # Errors
    /// If the ring makes no sense. Then the connection is to be stopped.
    pub fn turn(&mut self) -> Result<Turn, Broken> {
        while let Some(finished) = self.disk.finished() {
            self.started = self.started.saturating_sub(1);
            self.end_command(finished);
        }
        if self.stopped {
            return Ok(Turn::Wait);
        }
        self.start_waiting();
        let turn = self.take();
        self.disk.kick();
        self.answer();
        turn
    }

    /// Takes and answers no requests from now on, and touches the frontend's memory no more. What the disk has is still to end.
    pub fn stop(&mut self) {
        self.stopped = true;
        for (_, command) in self.waiting.drain(..) {
            self.pool.give(command.into_buffers());
        }
    }

    /// Ends the connection.
    ///
    /// # Errors
    /// The connection, if the disk still has something of it.
    #[expect(clippy::result_large_err, reason = "it is the connection itself, and moved once")]
    pub fn into_disk(self) -> Result<D, Self> {
        if self.started == 0 { Ok(self.disk) } else { Err(self) }
    }

    /// The disk, to wait for it.
    pub const fn disk(&self) -> &D {
        &self.disk
    }

    /// Takes requests until there are no more, or what is needed for the next one is lacking.
    fn take(&mut self) -> Result<Turn, Broken> {
        for _ in 0..RING_ENTRIES {
            if self.stalled.is_some() || !self.waiting.is_empty() {
                return Ok(Turn::Wait);
            }
            let Some(token) = self.slots.iter().position(Option::is_none) else { return Ok(Turn::Wait) };
            match self.ring.next()? {
                Some(request) => self.accept(token as u16, &request),
                None if self.ring.arm() => {}
                None => return Ok(Turn::Wait),
            }
        }
        Ok(Turn::Again)
    }

    fn accept(&mut self, token: u16, request: &Request) {
        let operation = request::answered_as(request);
        self.asked.push_back(token);
        if let Some(slot) = self.slots.get_mut(usize::from(token)) {
            *slot = Some(Slot { id: request.id, operation, bytes: 0, reads: Vec::new(), rest: None, ended: None });
        }
        let work = match request::asked(request, &self.geometry) {
            Ok(Asked::Work(work)) => Ok(work),
            Ok(Asked::Indirection(indirection)) => self.resolve(&indirection),
            Err(refused) => Err(refused),
        };
        match work {
            Ok(Work::Flush) => self.start(token, Command::Flush),
            Ok(Work::Discard(sector, count)) => self.start(token, Command::Discard(sector, count)),
            Ok(Work::Transfer(transfer)) => self.begin(token, transfer),
            Err(Refused(status)) => self.end(token, status),
        }
    }

    /// Reads the segments of an indirect request, once.
    fn resolve(&mut self, indirection: &Indirection) -> Result<Work, Refused> {
        let place = indirection.place();
        if self.segments.is_empty() {
            self.segments.extend(Buffer::make(&place));
        }
        self.frontend.fetch(&[place], &mut self.segments).map_err(|NoAccess| Refused(status::ERROR))?;
        let [segments] = self.segments.as_slice() else { return Err(Refused(status::ERROR)) };
        indirection.resolve(segments.bytes(), &self.geometry)
    }

    /// Gives a transfer its buffers and starts it, now or when there are some.
    fn begin(&mut self, token: u16, transfer: Transfer) {
        self.with(token, |slot| slot.bytes = transfer.parts.iter().map(|part| part.range().len() as u64).sum());
        let Some(mut buffers) = self.pool.take(&transfer.parts) else {
            // With nothing on its way, nothing comes back.
            if self.started == 0 {
                return self.end(token, status::ERROR);
            }
            self.stalled = Some((token, transfer));
            return;
        };
        let Transfer { kind, sector, parts } = transfer;
        if kind == Kind::Read {
            self.with(token, |slot| slot.reads = parts);
            return self.start(token, Command::Read(sector, buffers));
        }
        if self.frontend.fetch(&parts, &mut buffers).is_err() {
            self.pool.give(buffers);
            return self.end(token, status::ERROR);
        }
        let write = Command::Write(sector, buffers);
        if kind == Kind::FlushAndWrite {
            self.with(token, |slot| slot.rest = Some(write));
            self.start(token, Command::Flush);
        } else {
            self.start(token, write);
        }
    }

    /// Starts what had no room, as far as there is room now.
    fn start_waiting(&mut self) {
        for _ in 0..self.waiting.len() {
            if let Some((token, command)) = self.waiting.pop_front() {
                self.start(token, command);
            }
        }
        if self.waiting.is_empty()
            && let Some((token, transfer)) = self.stalled.take()
        {
            self.begin(token, transfer);
        }
    }

    /// Has the disk do `command`, or as much of it as it can do at once.
    fn start(&mut self, token: u16, command: Command) {
        let command = match (command, self.geometry.discard) {
            (Command::Discard(sector, count), Some(able)) if count > able.sectors_max.max(1) => {
                let first = able.sectors_max.max(1);
                let rest = Command::Discard(sector.saturating_add(first), count - first);
                self.with(token, |slot| slot.rest = Some(rest));
                Command::Discard(sector, first)
            }
            (command, _) => command,
        };
        match self.disk.start(token, command) {
            Ok(()) => self.started += 1,
            Err(command) => self.waiting.push_back((token, command)),
        }
    }

    /// The disk has done what was started.
    fn end_command(&mut self, finished: Finished) {
        let Finished { token, buffers, done } = finished;
        let Some(slot) = self.slots.get_mut(usize::from(token)).and_then(Option::as_mut) else {
            return self.pool.give(buffers);
        };
        let rest = slot.rest.take();
        match rest {
            Some(rest) if done && !self.stopped => self.waiting.push_back((token, rest)),
            Some(rest) => {
                self.pool.give(rest.into_buffers());
                self.end(token, status::ERROR);
            }
            None => {
                let stored = done && !self.stopped && self.frontend.store(&slot.reads, &buffers).is_ok();
                self.end(token, if stored { status::OKAY } else { status::ERROR });
            }
        }
        self.pool.give(buffers);
    }

    /// Notes how the request in this slot ended.
    fn end(&mut self, token: u16, status: i16) {
        self.with(token, |slot| slot.ended = Some(status));
    }

    /// Answers what has ended and may be answered.
    fn answer(&mut self) {
        while let Some((position, token)) = self.next_answer() {
            self.asked.remove(position);
            let Some(slot) = self.slots.get_mut(usize::from(token)).and_then(Option::take) else { continue };
            let status = slot.ended.unwrap_or(status::ERROR);
            self.count(slot.operation, slot.bytes, status);
            self.ring.push(&Response { id: slot.id, operation: slot.operation, status, ..Response::default() });
        }
        if self.ring.publish() {
            self.frontend.notify();
        }
    }

    fn count(&self, operation: u8, bytes: u64, status: i16) {
        if status != status::OKAY {
            return self.tally.add(count::ERRORS, 1);
        }
        let (requests, all) = match operation {
            operation::READ => (count::READS, count::READ_BYTES),
            operation::WRITE => (count::WRITES, count::WRITTEN_BYTES),
            // A flush may write.
            _ => (count::OTHERS, count::WRITTEN_BYTES),
        };
        self.tally.add(requests, 1);
        self.tally.add(all, bytes);
    }

    fn next_answer(&self) -> Option<(usize, u16)> {
        let ended = |token: u16| self.slots.get(usize::from(token))?.as_ref()?.ended;
        let mut asked = self.asked.iter().copied().enumerate();
        match self.order {
            Order::AsAsked => asked.next().filter(|(_, token)| ended(*token).is_some()),
            Order::AsDone => asked.find(|(_, token)| ended(*token).is_some()),
        }
    }

    fn with(&mut self, token: u16, change: impl FnOnce(&mut Slot)) {
        if let Some(slot) = self.slots.get_mut(usize::from(token)).and_then(Option::as_mut) {
            change(slot);
        }
    }
}
