//! Xenstore, as its clients see it: a tree of small values through which domains find each other's devices.
//!
//! A [`Store`] is one end of the ring that the toolstack gave the domain, or of one whose other end is served by this domain itself. Any
//! number of tasks may ask it things at once.

use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::str::FromStr;
use core::sync::atomic::AtomicU32;
use core::task::{Context, Poll};

use mote_protocols::ring::Shared;
use mote_protocols::xenbus::State;
use mote_protocols::xs_wire::kind;
use mote_store::Client;
pub use mote_store::{Access, Permission, Permissions};
use xen_abi::hvm::param;

use super::events::Port;
use super::page::{Given, Page};
use super::parameter;

/// Times that a transaction is tried before it is given up.
const TRIES: usize = 100;

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The domain has no xenstore.
    NoStore,
    /// The server says so.
    Refused(mote_store::Error),
    /// The request does not fit into a message.
    TooLong,
    /// The value is not what was asked for: no text, or no number.
    Malformed,
    /// The server has ended the connection, or does not keep to the protocol.
    Broken,
}

impl Error {
    /// There is no such node.
    pub const MISSING: Self = Self::Refused(mote_store::Error::Missing);
}

/// Where the ring is.
enum Place {
    Given(Given),
    Own(Rc<Page>),
}

impl Shared for Place {
    fn word(&self, offset: usize) -> &AtomicU32 {
        match self {
            Self::Given(page) => page.word(offset),
            Self::Own(page) => page.word(offset),
        }
    }
}

struct Ring {
    page: Place,
    port: Port,
    client: RefCell<Client>,
    tokens: Cell<u32>,
}

/// The domain's xenstore, or a transaction in it.
#[derive(Clone)]
pub struct Store {
    ring: Rc<Ring>,
    transaction: u32,
}

impl Store {
    /// Connects to the xenstore that the hypervisor's parameters name, once it is served. To be done once: two would take
    /// each other's answers. Clones are the same connection.
    ///
    /// # Errors
    /// [`Error::NoStore`].
    pub async fn connect() -> Result<Self, Error> {
        let port = parameter(param::STORE_EVTCHN).ok().and_then(|port| u32::try_from(port).ok());
        let port = Port::existing(port.filter(|port| *port != 0).ok_or(Error::NoStore)?);
        let page = loop {
            match parameter(param::STORE_PFN) {
                // A toolstack that comes later sends an event then.
                Ok(0 | u64::MAX) => port.event().await,
                Ok(frame) => break Place::Given(Given::new(frame).map_err(|_| Error::NoStore)?),
                Err(_) => return Err(Error::NoStore),
            }
        };
        while Client::is_unserved(&page) {
            port.event().await;
        }
        Ok(Self::at(page, port))
    }

    /// The xenstore that this domain serves itself, by a ring in `page` that it serves like anybody's; `port` leads to the server. There is one
    /// for each ring.
    #[must_use]
    pub fn within(page: Rc<Page>, port: Port) -> Self {
        Self::at(Place::Own(page), port)
    }

    fn at(page: Place, port: Port) -> Self {
        let client = RefCell::new(Client::new(&page));
        Self { ring: Rc::new(Ring { page, port, client, tokens: Cell::new(0) }), transaction: 0 }
    }

    /// A node's value.
    ///
    /// # Errors
    /// [`Error::MISSING`] among others.
    pub async fn read(&self, path: &str) -> Result<Vec<u8>, Error> {
        self.request(kind::READ, &[path.as_bytes(), &[0]]).await
    }

    /// A node's value as text.
    ///
    /// # Errors
    /// As [`Store::read`], or [`Error::Malformed`].
    pub async fn read_text(&self, path: &str) -> Result<String, Error> {
        String::from_utf8(self.read(path).await?).map_err(|_| Error::Malformed)
    }

    /// A node's value, a number or whatever else can be parsed.
    ///
    /// # Errors
    /// As [`Store::read`], or [`Error::Malformed`].
    pub async fn read_as<T: FromStr>(&self, path: &str) -> Result<T, Error> {
        self.read_text(path).await?.trim().parse().map_err(|_| Error::Malformed)
    }

    /// Sets a node's value; makes the node if need be.
    ///
    /// # Errors
    /// The server's.
    pub async fn write(&self, path: &str, value: impl AsRef<[u8]>) -> Result<(), Error> {
        self.request(kind::WRITE, &[path.as_bytes(), &[0], value.as_ref()]).await.map(drop)
    }

    /// Makes a node if there is none.
    ///
    /// # Errors
    /// The server's.
    pub async fn mkdir(&self, path: &str) -> Result<(), Error> {
        self.request(kind::MKDIR, &[path.as_bytes(), &[0]]).await.map(drop)
    }

    /// Removes a node and all below it.
    ///
    /// # Errors
    /// The server's: [`Error::MISSING`] if even the node above is not there.
    pub async fn remove(&self, path: &str) -> Result<(), Error> {
        self.request(kind::RM, &[path.as_bytes(), &[0]]).await.map(drop)
    }

    /// The names of a node's children.
    ///
    /// # Errors
    /// The server's.
    pub async fn directory(&self, path: &str) -> Result<Vec<String>, Error> {
        let names = self.request(kind::DIRECTORY, &[path.as_bytes(), &[0]]).await?;
        let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        Ok(names.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
    }

    /// Sets a node's permissions.
    ///
    /// # Errors
    /// The server's.
    pub async fn set_permissions(&self, path: &str, permissions: &Permissions) -> Result<(), Error> {
        self.request(kind::SET_PERMS, &[path.as_bytes(), &[0], &permissions.encode()]).await.map(drop)
    }

    /// Does what `body` asks of the store it is given as one: all of it or nothing. `body` is run again while others
    /// change what it reads.
    ///
    /// # Errors
    /// `body`'s, after which nothing is changed, or the server's.
    pub async fn transaction<T>(&self, body: impl AsyncFn(&Self) -> Result<T, Error>) -> Result<T, Error> {
        let again = Error::Refused(mote_store::Error::Again);
        for _ in 0..TRIES {
            let number = self.request(kind::TRANSACTION_START, &[&[0]]).await?;
            let number = number.strip_suffix(&[0]).and_then(|number| str::from_utf8(number).ok()?.parse().ok());
            let within = Self { ring: self.ring.clone(), transaction: number.ok_or(Error::Broken)? };
            let unfinished = Unfinished(&within);
            let result = body(&within).await;
            let end: &[u8] = if result.is_ok() { b"T\0" } else { b"F\0" };
            core::mem::forget(unfinished);
            match within.request(kind::TRANSACTION_END, &[end]).await {
                Err(error) if error == again => {}
                Err(error) => return result.and(Err(error)),
                Ok(_) => return result,
            }
        }
        Err(again)
    }

    /// Watches a node and all below it: the first event comes at once.
    ///
    /// # Errors
    /// The server's.
    pub async fn watch(&self, path: &str) -> Result<Watch, Error> {
        let token = self.ring.tokens.get().wrapping_add(1);
        self.ring.tokens.set(token);
        let store = Self { ring: self.ring.clone(), transaction: 0 };
        // Made first, so that giving up in between ends the watch as well.
        let watch = Watch { store, path: path.into(), token: format!("{token}") };
        watch.store.request(kind::WATCH, &[path.as_bytes(), &[0], watch.token.as_bytes(), &[0]]).await?;
        Ok(watch)
    }

    /// Says where this end of a device stands.
    ///
    /// # Errors
    /// The server's.
    pub async fn switch_state(&self, device: &str, state: State) -> Result<(), Error> {
        self.write(&format!("{device}/state"), state.as_str()).await
    }

    /// Where an end of a device stands; [`State::Unknown`] if it is gone.
    ///
    /// # Errors
    /// The server's.
    pub async fn state(&self, device: &str) -> Result<State, Error> {
        match self.read(&format!("{device}/state")).await {
            Ok(value) => Ok(State::parse(&value)),
            // Where nothing is left above it that one may read, the server does not say whether it is there.
            Err(Error::MISSING | Error::Refused(mote_store::Error::Denied)) => Ok(State::Unknown),
            Err(error) => Err(error),
        }
    }

    /// Waits until an end of a device stands where `wanted` says; the answer is where that is.
    ///
    /// # Errors
    /// The server's.
    pub async fn wait_for_state(&self, device: &str, wanted: impl Fn(State) -> bool) -> Result<State, Error> {
        let watch = self.watch(&format!("{device}/state")).await?;
        loop {
            watch.next().await?;
            let state = self.state(device).await?;
            if wanted(state) {
                return Ok(state);
            }
        }
    }

    async fn request(&self, kind: u32, parts: &[&[u8]]) -> Result<Vec<u8>, Error> {
        let number = self.ring.client.borrow_mut().send(kind, self.transaction, parts);
        let request = Request { ring: &self.ring, number: number.map_err(|_| Error::TooLong)? };
        let answer = poll_fn(|context| self.ring.poll(context, |client| client.answer(request.number))).await;
        answer?.map_err(Error::Refused)
    }
}

/// A transaction under way. If nobody goes on with it, it is given up.
struct Unfinished<'a>(&'a Store);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.0.ring.tell(kind::TRANSACTION_END, self.0.transaction, &[b"F\0"]);
    }
}

impl Ring {
    /// Sends a request of which nobody wants to know how it ended: if the connection is broken, nothing is left to end.
    fn tell(&self, kind: u32, transaction: u32, parts: &[&[u8]]) {
        let mut client = self.client.borrow_mut();
        if let Ok(number) = client.send(kind, transaction, parts) {
            client.forget(number);
        }
        drop(client);
        let _ = self.turn();
    }

    /// Moves bytes, and looks whether `found` finds what the task waits for.
    fn poll<T>(&self, context: &mut Context<'_>, found: impl Fn(&mut Client) -> Option<T>) -> Poll<Result<T, Error>> {
        // A task that waits for other things as well looks here often, mostly for nothing: the ring is looked at when there is a reason.
        let mut reason = self.client.borrow().has_more_to_send();
        loop {
            if reason && self.turn().is_err() {
                return Poll::Ready(Err(Error::Broken));
            }
            if let Some(value) = found(&mut self.client.borrow_mut()) {
                return Poll::Ready(Ok(value));
            }
            // Whoever of several tasks takes the event, all that wait are woken by it and look.
            if self.port.poll_event(context).is_pending() {
                return Poll::Pending;
            }
            reason = true;
        }
    }

    fn turn(&self) -> Result<(), Error> {
        if self.client.borrow_mut().turn(&self.page).map_err(|_| Error::Broken)? {
            self.port.notify().map_err(|_| Error::Broken)?;
        }
        Ok(())
    }
}

/// A request under way. If nobody waits for it any more, its answer is forgotten.
struct Request<'a> {
    ring: &'a Ring,
    number: u32,
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        self.ring.client.borrow_mut().forget(self.number);
    }
}

/// A watch. It ends when it is dropped.
pub struct Watch {
    store: Store,
    path: String,
    token: String,
}

impl Watch {
    /// Waits until something has changed; the answer is the path, in full or as the watch's own. Several changes may be
    /// one event, and an event may be for nothing.
    ///
    /// # Errors
    /// [`Error::Broken`].
    pub async fn next(&self) -> Result<String, Error> {
        let token = self.token.as_bytes();
        let event = poll_fn(|context| self.store.ring.poll(context, |client| client.event(token))).await?;
        Ok(event.path)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let (path, token) = (self.path.as_bytes(), self.token.as_bytes());
        self.store.ring.tell(kind::UNWATCH, 0, &[path, &[0], token, &[0]]);
        self.store.ring.client.borrow_mut().forget_events(token);
    }
}
