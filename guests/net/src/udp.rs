//! Datagrams.

use alloc::vec;
use core::fmt;
use core::future::poll_fn;
use core::net::Ipv4Addr;
use core::task::Poll;

use smoltcp::iface::SocketHandle;
use smoltcp::socket::udp::{self, PacketBuffer, PacketMetadata, RecvError, SendError};
use smoltcp::wire::{IpAddress, IpEndpoint};

use crate::stack::{Inner, Stack};

/// Why a datagram was neither sent nor received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// It is longer than the buffer.
    TooLong,
    /// There is no way to that address.
    Unreachable,
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::TooLong => "datagram too long",
            Self::Unreachable => "unreachable",
        })
    }
}

impl core::error::Error for Error {}

/// Datagrams that are kept in either direction.
const DATAGRAMS: usize = 8;

/// A port for datagrams. Dropped, it is closed.
pub struct Socket<'s, D> {
    stack: &'s Stack<D>,
    handle: SocketHandle,
}

impl<'s, D> Socket<'s, D> {
    /// Port `port`, or any if it is 0, with a buffer of so many bytes in either direction.
    #[must_use]
    pub fn bind(stack: &'s Stack<D>, port: u16, buffer: usize) -> Self {
        let ring = || PacketBuffer::new(vec![PacketMetadata::EMPTY; DATAGRAMS], vec![0; buffer]);
        let mut socket = udp::Socket::new(ring(), ring());
        let handle = stack.with(|inner| {
            let port = if port == 0 { inner.random.port() } else { port };
            // It is new and the port is not 0.
            let _ = socket.bind(port);
            inner.sockets.add(socket)
        });
        Self { stack, handle }
    }

    /// Waits for a datagram, puts it into `buffer` and returns its length and where it comes from.
    ///
    /// # Errors
    /// It is longer than `buffer`.
    pub async fn receive(&mut self, buffer: &mut [u8]) -> Result<(usize, Ipv4Addr, u16), Error> {
        poll_fn(|context| {
            self.with(|socket| match socket.recv_slice(buffer) {
                Ok((length, from)) => {
                    let IpAddress::Ipv4(address) = from.endpoint.addr;
                    Poll::Ready(Ok((length, address, from.endpoint.port)))
                }
                Err(RecvError::Truncated) => Poll::Ready(Err(Error::TooLong)),
                Err(RecvError::Exhausted) => {
                    socket.register_recv_waker(context.waker());
                    Poll::Pending
                }
            })
        })
        .await
    }

    /// Sends a datagram, as soon as there is room for it.
    ///
    /// # Errors
    /// It is longer than the buffer, or the address is none.
    pub async fn send(&mut self, bytes: &[u8], address: Ipv4Addr, port: u16) -> Result<(), Error> {
        let to = IpEndpoint::new(IpAddress::Ipv4(address), port);
        poll_fn(|context| {
            let sent = self.with(|socket| {
                if bytes.len() > socket.payload_send_capacity() {
                    return Poll::Ready(Err(Error::TooLong));
                }
                match socket.send_slice(bytes, to) {
                    Ok(()) => Poll::Ready(Ok(())),
                    Err(SendError::Unaddressable) => Poll::Ready(Err(Error::Unreachable)),
                    Err(SendError::BufferFull) => {
                        socket.register_send_waker(context.waker());
                        Poll::Pending
                    }
                }
            });
            self.stack.with(Inner::kick);
            sent
        })
        .await
    }

    fn with<T>(&self, action: impl FnOnce(&mut udp::Socket<'static>) -> T) -> T {
        self.stack.with(|inner| action(inner.sockets.get_mut(self.handle)))
    }
}

impl<D> Drop for Socket<'_, D> {
    fn drop(&mut self) {
        self.stack.with(|inner| drop(inner.sockets.remove(self.handle)));
    }
}
