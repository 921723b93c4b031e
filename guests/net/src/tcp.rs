//! Connections.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::future::poll_fn;
use core::mem::ManuallyDrop;
use core::net::Ipv4Addr;
use core::task::{Poll, Waker};

use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::phy::Device;
use smoltcp::socket::tcp::{RecvError, Socket, SocketBuffer, State};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{IpAddress, IpEndpoint};

use crate::stack::{Inner, Stack};

/// How long the other side may be silent while it has something to acknowledge.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the other side may take to confirm a connection that it asked for.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// How long a connection that was closed here may take to end.
const LINGER: Duration = Duration::from_secs(5);
/// How many connections may be on their way to the end: the oldest is dropped for one more.
const CLOSING_MAX: usize = 16;

/// Bytes that a connection keeps for either direction.
#[derive(Clone, Copy, Debug)]
pub struct Buffers {
    /// For what came and was not read yet: what the other side may send ahead.
    pub receive: usize,
    /// For what was written and not acknowledged yet.
    pub send: usize,
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// It was refused, reset, or the other side went silent.
    Reset,
    /// There is no way to that address.
    Unreachable,
    /// Somebody is there already.
    InUse,
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Reset => "connection reset",
            Self::Unreachable => "unreachable",
            Self::InUse => "port in use",
        })
    }
}

impl core::error::Error for Error {}

impl embedded_io_async::Error for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Reset => ErrorKind::ConnectionReset,
            Self::Unreachable => ErrorKind::AddrNotAvailable,
            Self::InUse => ErrorKind::AddrInUse,
        }
    }
}

/// A port at which connections come in. Dropped, nobody is there any more.
pub struct Listener<'s, D> {
    stack: &'s Stack<D>,
    port: u16,
}

impl<'s, D: Device> Listener<'s, D> {
    /// Port `port`; connections get `buffers`. So many as `backlog` says may be on their way to somebody who accepts them: who comes
    /// while they all are is refused.
    ///
    /// # Errors
    /// There is a listener at the port, or it is 0.
    pub fn bind(stack: &'s Stack<D>, port: u16, buffers: Buffers, backlog: usize) -> Result<Self, Error> {
        stack.with(|inner| {
            if port == 0 || inner.backlogs.iter().any(|backlog| backlog.port == port) {
                return Err(Error::InUse);
            }
            let (sockets, waiting) = (Vec::new(), Vec::new());
            let mut backlog = Backlog { port, buffers, limit: backlog, listening: LISTENING, sockets, waiting };
            backlog.replenish(&mut inner.sockets);
            inner.backlogs.push(backlog);
            Ok(Self { stack, port })
        })
    }

    /// Has so many connections come in at the same moment without one being refused. Each costs its buffers all the time.
    pub fn be_ready_for(&self, connections: usize) {
        self.stack.with(|inner| {
            if let Some(backlog) = of_port(&mut inner.backlogs, self.port) {
                backlog.listening = connections;
                backlog.replenish(&mut inner.sockets);
            }
        });
    }

    /// The next connection. Several tasks may wait for one.
    pub async fn accept(&self) -> Stream<'s, D> {
        let handle = poll_fn(|context| {
            self.stack.with(|inner| {
                let Some(backlog) = of_port(&mut inner.backlogs, self.port) else { return Poll::Pending };
                if let Some(handle) = backlog.take(&mut inner.sockets) {
                    return Poll::Ready(handle);
                }
                if !backlog.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                    backlog.waiting.push(context.waker().clone());
                }
                Poll::Pending
            })
        })
        .await;
        Stream { stack: self.stack, handle }
    }
}

impl<D> Drop for Listener<'_, D> {
    fn drop(&mut self) {
        self.stack.with(|inner| {
            let ours = inner.backlogs.extract_if(.., |backlog| backlog.port == self.port);
            ours.flat_map(|backlog| backlog.sockets).for_each(|handle| drop(inner.sockets.remove(handle)));
        });
    }
}

/// How many sockets listen, as long as the backlog is not full: one more for a moment in which nobody looks.
const LISTENING: usize = 2;
/// The same for those who wait for few connections and are to write to little memory.
const FRUGAL: usize = 1;

/// What a listener has ready: sockets that listen, and such as were found and not accepted yet.
#[derive(Debug)]
pub(crate) struct Backlog {
    port: u16,
    buffers: Buffers,
    /// How many sockets there may be.
    limit: usize,
    /// How many of them are to listen.
    listening: usize,
    sockets: Vec<SocketHandle>,
    /// Who accepts.
    waiting: Vec<Waker>,
}

/// What comes in at a port.
fn of_port(backlogs: &mut [Backlog], port: u16) -> Option<&mut Backlog> {
    backlogs.iter_mut().find(|backlog| backlog.port == port)
}

impl Backlog {
    /// Takes a connection that is there.
    fn take(&mut self, sockets: &mut SocketSet<'static>) -> Option<SocketHandle> {
        let index = self.sockets.iter().position(|handle| is_connected(sockets.get(*handle)))?;
        let handle = self.sockets.swap_remove(index);
        sockets.get_mut::<Socket<'_>>(handle).set_timeout(Some(PATIENCE));
        self.replenish(sockets);
        Some(handle)
    }

    /// Has as many sockets listen as there should be. To be called whenever one was found, or the next would be refused.
    pub(crate) fn replenish(&mut self, sockets: &mut SocketSet<'static>) {
        let mut listening = 0;
        self.sockets.retain(|handle| {
            let state = sockets.get::<Socket<'_>>(*handle).state();
            listening += usize::from(state == State::Listen);
            // Those whose connection came to nothing are of no more use.
            let is_spent =
                matches!(state, State::Closed | State::TimeWait) || listening > self.listening.max(LISTENING);
            if is_spent {
                sockets.remove(*handle);
            }
            !is_spent
        });
        while listening < self.listening && self.sockets.len() < self.limit {
            self.sockets.push(listen(sockets, self.port, self.buffers));
            listening += 1;
        }
    }

    /// Is content with one socket that listens, as long as there is one.
    pub(crate) fn be_frugal(&mut self) {
        self.listening = FRUGAL;
    }

    /// Wakes as many of those who accept as there are connections.
    pub(crate) fn wake(&mut self, sockets: &SocketSet<'static>) {
        if self.waiting.is_empty() {
            return;
        }
        let found = self.sockets.iter().filter(|handle| is_connected(sockets.get(**handle))).count();
        let left = self.waiting.len().saturating_sub(found);
        self.waiting.drain(left..).for_each(Waker::wake);
    }
}

fn is_connected(socket: &Socket<'_>) -> bool {
    !matches!(socket.state(), State::Listen | State::SynReceived | State::Closed | State::TimeWait)
}

/// A socket that listens.
fn listen(sockets: &mut SocketSet<'static>, port: u16, buffers: Buffers) -> SocketHandle {
    let mut socket = socket(buffers);
    socket.set_timeout(Some(HANDSHAKE));
    // It is new and the port is not 0.
    let _ = socket.listen(port);
    sockets.add(socket)
}

fn socket(buffers: Buffers) -> Socket<'static> {
    let ring = |size| SocketBuffer::new(vec![0; size]);
    let mut socket = Socket::new(ring(buffers.receive), ring(buffers.send));
    // What is written is written in one go: waiting for more would only be late.
    socket.set_nagle_enabled(false);
    socket.set_timeout(Some(PATIENCE));
    socket
}

/// A connection. Dropped, it is reset; see [`Stream::close`].
pub struct Stream<'s, D> {
    stack: &'s Stack<D>,
    handle: SocketHandle,
}

impl<'s, D> Stream<'s, D> {
    /// Connects to `port` of `address`.
    ///
    /// # Errors
    /// There is no way there, or nobody who wants it.
    pub async fn connect(stack: &'s Stack<D>, address: Ipv4Addr, port: u16, buffers: Buffers) -> Result<Self, Error> {
        let stream = Self { stack, handle: stack.with(|inner| inner.sockets.add(socket(buffers))) };
        stack.with(|inner| {
            let local = inner.random.port();
            let socket = inner.sockets.get_mut::<Socket<'_>>(stream.handle);
            let remote = IpEndpoint::new(IpAddress::Ipv4(address), port);
            let started = socket.connect(inner.interface.context(), remote, local);
            inner.kick();
            started.map_err(|_| Error::Unreachable)
        })?;
        poll_fn(|context| {
            stream.with(|socket| match socket.state() {
                State::SynSent | State::SynReceived => {
                    socket.register_send_waker(context.waker());
                    Poll::Pending
                }
                State::Closed => Poll::Ready(Err(Error::Reset)),
                _ => Poll::Ready(Ok(())),
            })
        })
        .await?;
        Ok(stream)
    }

    /// The other side.
    #[must_use]
    pub fn peer(&self) -> Option<(Ipv4Addr, u16)> {
        let endpoint = self.with(|socket| socket.remote_endpoint())?;
        let IpAddress::Ipv4(address) = endpoint.addr;
        Some((address, endpoint.port))
    }

    /// Reads what came, up to the size of `buffer`. 0 says that the other side has said all. One task may read and one may write at a time.
    ///
    /// # Errors
    /// The connection is no more.
    pub async fn receive(&self, buffer: &mut [u8]) -> Result<usize, Error> {
        poll_fn(|context| {
            let received = self.with(|socket| match socket.recv_slice(buffer) {
                Ok(0) if !buffer.is_empty() => {
                    socket.register_recv_waker(context.waker());
                    Poll::Pending
                }
                Ok(length) => Poll::Ready(Ok(length)),
                Err(RecvError::Finished) => Poll::Ready(Ok(0)),
                Err(RecvError::InvalidState) => Poll::Ready(Err(Error::Reset)),
            });
            if received.is_ready() {
                // The other side may want to know that there is room again.
                self.stack.with(Inner::kick);
            }
            received
        })
        .await
    }

    /// Writes as much of `bytes` as there is room for, at least one byte.
    ///
    /// # Errors
    /// The connection is no more.
    pub async fn send(&self, bytes: &[u8]) -> Result<usize, Error> {
        poll_fn(|context| {
            let sent = self.with(|socket| match socket.send_slice(bytes) {
                Ok(0) if !bytes.is_empty() => {
                    socket.register_send_waker(context.waker());
                    Poll::Pending
                }
                Ok(length) => Poll::Ready(Ok(length)),
                Err(_) => Poll::Ready(Err(Error::Reset)),
            });
            self.stack.with(Inner::kick);
            sent
        })
        .await
    }

    /// Says that no more will be written; the other side may still go on.
    pub fn finish(&self) {
        self.with(Socket::close);
        self.stack.with(Inner::kick);
    }

    /// Gives the other side so long to acknowledge what it is sent.
    pub fn set_patience(&self, patience: core::time::Duration) {
        self.with(|socket| socket.set_timeout(Some(patience.into())));
    }

    /// Ends it: what was written is still sent, in the background, if the other side takes it soon.
    pub fn close(self) {
        ManuallyDrop::new(self).end(Socket::close);
    }

    /// Leaves the connection to itself after `last` was done to it.
    fn end(&self, last: impl FnOnce(&mut Socket<'static>)) {
        self.stack.with(|inner| {
            last(inner.sockets.get_mut(self.handle));
            inner.closing.add(self.handle, &mut inner.sockets, inner.now);
            inner.kick();
        });
    }

    fn with<T>(&self, action: impl FnOnce(&mut Socket<'static>) -> T) -> T {
        self.stack.with(|inner| action(inner.sockets.get_mut(self.handle)))
    }
}

impl<D> Drop for Stream<'_, D> {
    fn drop(&mut self) {
        self.end(Socket::abort);
    }
}

impl<D> ErrorType for Stream<'_, D> {
    type Error = Error;
}

impl<D> Read for Stream<'_, D> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        self.receive(buffer).await
    }
}

impl<D> Write for Stream<'_, D> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        self.send(bytes).await
    }

    /// Everything is on its way already: the runner was told.
    async fn flush(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

/// Connections on their way to the end, the oldest first, each with the time at which it is given up.
#[derive(Debug, Default)]
pub(crate) struct Closing {
    connections: Vec<(SocketHandle, Instant)>,
}

impl Closing {
    fn add(&mut self, handle: SocketHandle, sockets: &mut SocketSet<'static>, now: Instant) {
        if self.connections.len() >= CLOSING_MAX {
            sockets.remove(self.connections.remove(0).0);
        }
        self.connections.push((handle, now + LINGER));
    }

    /// Whether the other sides have acknowledged everything, the end too.
    pub(crate) fn is_heard(&self, sockets: &SocketSet<'static>) -> bool {
        let state = |handle| sockets.get::<Socket<'_>>(handle).state();
        self.connections.iter().all(|(handle, _)| {
            matches!(state(*handle), State::FinWait2 | State::TimeWait | State::Closed | State::Listen)
        })
    }

    /// Forgets those that are over, and returns when to look again.
    pub(crate) fn reap(&mut self, sockets: &mut SocketSet<'static>, now: Instant) -> Option<Instant> {
        self.connections.retain(|(handle, deadline)| {
            let socket = sockets.get_mut::<Socket<'_>>(*handle);
            // Waiting longer than the last acknowledgement would only help to repeat that one.
            let over = matches!(socket.state(), State::TimeWait | State::Listen)
                || socket.state() == State::Closed && socket.remote_endpoint().is_none()
                || now >= *deadline;
            if over {
                sockets.remove(*handle);
            }
            !over
        });
        self.connections.first().map(|(_, deadline)| *deadline)
    }
}
