//! What a client may cost, in bytes and in time.

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;

/// Bounds of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a request's line and headers.
    pub head: usize,
    /// Bytes of a request's body, the framing of a chunked one included.
    pub body: usize,
    /// How long a connection may stay without a request.
    pub idle: Duration,
    /// How long a request may take to come in, from its first byte to its last.
    pub request: Duration,
    /// How long the client may take to accept [`Limits::PIECE`] bytes of an answer.
    pub piece: Duration,
    /// How many requests a connection may carry.
    pub requests: u32,
}

impl Limits {
    /// Bytes of an answer that are sent under one time-out.
    pub const PIECE: usize = 4096;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: 4096,
            body: 16384,
            idle: Duration::from_secs(15),
            request: Duration::from_secs(10),
            piece: Duration::from_secs(10),
            requests: u32::MAX,
        }
    }
}

/// Something that can wait.
pub trait Clock {
    /// Waits for `length`.
    fn sleep(&self, length: Duration) -> impl Future<Output = ()>;
}

/// What `work` comes to, or `None` if `late` is done before it.
pub(crate) async fn before<T>(late: impl Future<Output = ()>, work: impl Future<Output = T>) -> Option<T> {
    let mut late = pin!(late);
    let mut work = pin!(work);
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => late.as_mut().poll(context).map(|()| None),
    })
    .await
}
