//! Names.

use alloc::vec::Vec;
use core::fmt;
use core::future::poll_fn;
use core::net::Ipv4Addr;
use core::task::Poll;

use smoltcp::iface::SocketHandle;
use smoltcp::socket::dns::{GetQueryResultError, QueryHandle, Socket};
use smoltcp::wire::{DnsQueryType, IpAddress};

use crate::stack::{Inner, Stack};

/// Questions that may be open at a time.
const QUESTIONS_MAX: usize = 4;

/// Why a name has no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Nobody knows the name, or nobody answers.
    Unknown,
    /// It is no name.
    NoName,
    /// There is no name server.
    NoServer,
    /// Too many questions are open.
    Busy,
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Unknown => "unknown host",
            Self::NoName => "not a name",
            Self::NoServer => "no name server",
            Self::Busy => "too many questions",
        })
    }
}

impl core::error::Error for Error {}

/// The address that goes with `name`.
///
/// # Errors
/// There is none to be had.
pub async fn resolve<D>(stack: &Stack<D>, name: &str) -> Result<Ipv4Addr, Error> {
    let mut question = stack.with(|inner| Question::ask(inner, stack, name))?;
    poll_fn(|context| {
        let Question { handle: Some((resolver, query)), .. } = question else {
            return Poll::Ready(Err(Error::Unknown));
        };
        let answer = stack.with(|inner| {
            let socket = inner.sockets.get_mut::<Socket<'_>>(resolver);
            match socket.get_query_result(query) {
                Ok(addresses) => Poll::Ready(Ok(addresses)),
                Err(GetQueryResultError::Failed) => Poll::Ready(Err(Error::Unknown)),
                Err(GetQueryResultError::Pending) => {
                    socket.register_query_waker(query, context.waker());
                    Poll::Pending
                }
            }
        });
        answer.map(|answer| {
            // The answer ended the question.
            question.handle = None;
            answer?.iter().map(|IpAddress::Ipv4(address)| *address).next().ok_or(Error::Unknown)
        })
    })
    .await
}

/// A question that is open. Dropped, it is taken back.
struct Question<'s, D> {
    stack: &'s Stack<D>,
    handle: Option<(SocketHandle, QueryHandle)>,
}

impl<'s, D> Question<'s, D> {
    fn ask(inner: &mut Inner<D>, stack: &'s Stack<D>, name: &str) -> Result<Self, Error> {
        let server = IpAddress::Ipv4(inner.name_server.ok_or(Error::NoServer)?);
        let sockets = &mut inner.sockets;
        let resolver = *inner.resolver.get_or_insert_with(|| {
            let questions: Vec<_> = core::iter::repeat_with(|| None).take(QUESTIONS_MAX).collect();
            sockets.add(Socket::new(&[], questions))
        });
        let socket = sockets.get_mut::<Socket<'_>>(resolver);
        socket.update_servers(&[server]);
        let query = socket.start_query(inner.interface.context(), name, DnsQueryType::A);
        inner.kick();
        match query {
            Ok(query) => Ok(Self { stack, handle: Some((resolver, query)) }),
            Err(smoltcp::socket::dns::StartQueryError::NoFreeSlot) => Err(Error::Busy),
            Err(_) => Err(Error::NoName),
        }
    }
}

impl<D> Drop for Question<'_, D> {
    fn drop(&mut self) {
        if let Some((resolver, query)) = self.handle {
            self.stack.with(|inner| inner.sockets.get_mut::<Socket<'_>>(resolver).cancel_query(query));
        }
    }
}
