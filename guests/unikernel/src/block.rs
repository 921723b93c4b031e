//! A disk through Xen's block protocol: sectors are read, written, put on the medium and forgotten, by as many tasks at once as like.
//!
//! ```ignore
//! let disk = Disk::open(&spawner, &store, 51712);
//! let sectors = disk.ready().await.sectors;
//! disk.read(0, &mut buffer).await?;
//! ```
//!
//! While the disk's backend is away, whoever asks waits; when it is back, what it did not answer is asked again (`connection`).

mod connection;
mod data;

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::future::poll_fn;
use core::task::{Poll, Waker};

use mote_blkfront::{Ended, Front, Span, Token, spans};
use mote_protocols::blkif::SECTOR;

use crate::executor::Spawner;
use crate::xen::events::Port;
use crate::xen::grants::Grant;
use crate::xen::store::Store;
use data::Data;

/// What a disk is like. Sectors are of 512 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// How many sectors there are.
    pub sectors: u64,
    /// Bytes that are read or written at least, a power of two.
    pub sector_size: u32,
    /// It cannot be written.
    pub read_only: bool,
}

/// Why a disk did not do what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The disk could not do it.
    Failed,
    /// The disk cannot do such things.
    NotSupported,
    /// The sectors are not there, or are not whole ones of the disk's.
    NoSuchSectors,
}

const fn result(ended: Ended) -> Result<(), Error> {
    match ended {
        Ended::Done => Ok(()),
        Ended::Failed => Err(Error::Failed),
        Ended::NotSupported => Err(Error::NotSupported),
    }
}

/// Pages for data on its way, in each direction together.
const PAGES: u16 = 32;

/// A disk, of which there may be many handles.
#[derive(Clone)]
pub struct Disk(Rc<RefCell<State>>);

/// What the handles and the connection share.
struct State {
    front: Front<Grant>,
    data: Data,
    port: Option<Rc<Port>>,
    geometry: Option<Geometry>,
    waiting: Vec<Waker>,
}

impl Disk {
    /// The disk with this number ([`mote_protocols::blkif::device_number`]), which is looked after by a task of its own.
    #[must_use]
    pub fn open(spawner: &Spawner<'static>, store: &Store, number: u32) -> Self {
        let data = Data::new(PAGES);
        let state = State { front: Front::new(PAGES), data, port: None, geometry: None, waiting: Vec::new() };
        let disk = Self(Rc::new(RefCell::new(state)));
        spawner.spawn(connection::keep(disk.clone(), store.clone(), number));
        disk
    }

    /// Waits until the disk has been there, and says what it is like.
    pub async fn ready(&self) -> Geometry {
        poll_fn(|context| {
            let mut state = self.0.borrow_mut();
            match state.geometry {
                Some(geometry) => Poll::Ready(geometry),
                None => state.wait(context.waker()),
            }
        })
        .await
    }

    /// Reads from `sector` on.
    ///
    /// # Errors
    /// As [`Error`] has them; what is in `into` then is undefined.
    pub async fn read(&self, sector: u64, into: &mut [u8]) -> Result<(), Error> {
        self.check(sector, into.len(), false).await?;
        let mut spans = spans(sector, into.len(), PAGES.into()).peekable();
        let mut started = VecDeque::new();
        loop {
            while let Some(request) = spans.peek().and_then(|span| self.start(span, None)) {
                started.extend(spans.next().map(|span| (span, request)));
            }
            if let Some((span, request)) = started.pop_front() {
                let (ended, pages) = request.end().await;
                let mut state = self.0.borrow_mut();
                if let (Ended::Done, Some(into)) = (ended, into.get_mut(span.bytes)) {
                    state.data.read(&pages, into);
                }
                state.give_back(pages);
                result(ended)?;
            } else if spans.peek().is_some() {
                self.change().await;
            } else {
                return Ok(());
            }
        }
    }

    /// Writes from `sector` on. It is on the medium after the next [`Disk::flush`].
    ///
    /// # Errors
    /// As [`Error`] has them; a part may be written then.
    pub async fn write(&self, sector: u64, from: &[u8]) -> Result<(), Error> {
        self.check(sector, from.len(), true).await?;
        let mut spans = spans(sector, from.len(), PAGES.into()).peekable();
        let mut started = VecDeque::new();
        loop {
            while let Some(request) = spans.peek().and_then(|span| self.start(span, from.get(span.bytes.clone()))) {
                started.push_back(request);
                spans.next();
            }
            if let Some(request) = started.pop_front() {
                self.finish(request).await?;
            } else if spans.peek().is_some() {
                self.change().await;
            } else {
                return Ok(());
            }
        }
    }

    /// Puts on the medium what was written by all that have been told so.
    ///
    /// # Errors
    /// As [`Error`] has them.
    pub async fn flush(&self) -> Result<(), Error> {
        self.ask(|front| front.flush()).await
    }

    /// Forgets what is in `count` sectors from `sector` on.
    ///
    /// # Errors
    /// As [`Error`] has them.
    pub async fn discard(&self, sector: u64, count: u64) -> Result<(), Error> {
        let len =
            usize::try_from(count).ok().and_then(|count| count.checked_mul(SECTOR)).ok_or(Error::NoSuchSectors)?;
        self.check(sector, len, true).await?;
        self.ask(|front| front.discard(sector, count)).await
    }

    async fn check(&self, sector: u64, len: usize, writes: bool) -> Result<(), Error> {
        let geometry = self.ready().await;
        let (size, start) = (geometry.sector_size as usize, sector.checked_mul(SECTOR as u64));
        let whole = start.is_some_and(|start| start.is_multiple_of(size as u64)) && len.is_multiple_of(size);
        let end = sector.checked_add((len / SECTOR) as u64);
        if !whole || end.is_none_or(|end| end > geometry.sectors) {
            return Err(Error::NoSuchSectors);
        }
        if writes && geometry.read_only { Err(Error::NotSupported) } else { Ok(()) }
    }

    /// Asks for a span, to be written if there is data for it, if there is room.
    fn start(&self, span: &Span, write: Option<&[u8]>) -> Option<Request<'_>> {
        let mut state = self.0.borrow_mut();
        let pages = state.front.reserve(span.bytes.len())?;
        if let Some(bytes) = write {
            state.data.write(&pages, bytes);
        }
        let token = state.front.transfer(write.is_some(), span.sector, span.bytes.len(), pages)?;
        Some(Request { disk: self, token: Some(token) })
    }

    async fn ask(&self, ask: impl Fn(&mut Front<Grant>) -> Option<Token>) -> Result<(), Error> {
        loop {
            let token = ask(&mut self.0.borrow_mut().front);
            if token.is_some() {
                return self.finish(Request { disk: self, token }).await;
            }
            self.change().await;
        }
    }

    async fn finish(&self, request: Request<'_>) -> Result<(), Error> {
        let (ended, pages) = request.end().await;
        self.0.borrow_mut().give_back(pages);
        result(ended)
    }

    /// Waits until something has been answered, or there is a backend again.
    async fn change(&self) {
        let mut waited = false;
        poll_fn(|context| {
            if core::mem::replace(&mut waited, true) {
                return Poll::Ready(());
            }
            self.0.borrow_mut().wait(context.waker())
        })
        .await;
    }
}

impl State {
    /// Shows the backend what was asked, and has the task woken at the next change.
    fn wait<T>(&mut self, waker: &Waker) -> Poll<T> {
        self.show();
        if !self.waiting.iter().any(|known| known.will_wake(waker)) {
            self.waiting.push(waker.clone());
        }
        Poll::Pending
    }

    fn show(&mut self) {
        if self.front.publish()
            && let Some(port) = &self.port
        {
            // A backend that is gone is noticed by its state.
            let _ = port.notify();
        }
    }

    fn give_back(&mut self, pages: Vec<u16>) {
        self.front.give_back(pages);
        self.wake();
    }

    fn wake(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }
}

/// A request that was asked. Dropped before its end, it ends unheard.
struct Request<'a> {
    disk: &'a Disk,
    token: Option<Token>,
}

impl Request<'_> {
    /// Waits for its end.
    async fn end(mut self) -> (Ended, Vec<u16>) {
        poll_fn(|context| {
            let mut state = self.disk.0.borrow_mut();
            let Some(token) = self.token.take() else { return Poll::Ready((Ended::Failed, Vec::new())) };
            match state.front.take(token) {
                Ok(end) => Poll::Ready(end),
                Err(token) => {
                    self.token = Some(token);
                    state.wait(context.waker())
                }
            }
        })
        .await
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        if let Some(token) = self.token.take() {
            self.disk.0.borrow_mut().front.abandon(token);
        }
    }
}
