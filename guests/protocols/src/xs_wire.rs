//! Xenstore's messages, and the page over which a domain exchanges them with the server (`xs_wire.h`;
//! `docs/misc/xenstore.txt`, `docs/misc/xenstore-ring.txt`).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What a message is about (`enum xsd_sockmsg_type`).
pub mod kind {
    /// Commands to the server itself.
    pub const CONTROL: u32 = 0;
    /// Names of a node's children.
    pub const DIRECTORY: u32 = 1;
    /// A node's value.
    pub const READ: u32 = 2;
    /// A node's permissions.
    pub const GET_PERMS: u32 = 3;
    /// Asks for events.
    pub const WATCH: u32 = 4;
    /// No more events.
    pub const UNWATCH: u32 = 5;
    /// Begins a transaction.
    pub const TRANSACTION_START: u32 = 6;
    /// Ends one.
    pub const TRANSACTION_END: u32 = 7;
    /// The server is to talk with a domain.
    pub const INTRODUCE: u32 = 8;
    /// It is to do so no more.
    pub const RELEASE: u32 = 9;
    /// Where a domain's nodes are.
    pub const GET_DOMAIN_PATH: u32 = 10;
    /// Sets a node's value.
    pub const WRITE: u32 = 11;
    /// Makes a node.
    pub const MKDIR: u32 = 12;
    /// Removes a node and all below it.
    pub const RM: u32 = 13;
    /// Sets a node's permissions.
    pub const SET_PERMS: u32 = 14;
    /// Something below a watched path has changed. Only the server sends it.
    pub const WATCH_EVENT: u32 = 15;
    /// A request failed. Only the server sends it.
    pub const ERROR: u32 = 16;
    /// Whether the server talks with a domain.
    pub const IS_DOMAIN_INTRODUCED: u32 = 17;
    /// A domain goes on.
    pub const RESUME: u32 = 18;
    /// A domain serves another and may do what that may.
    pub const SET_TARGET: u32 = 19;
    /// Forgets the caller's watches and transactions.
    pub const RESET_WATCHES: u32 = 21;
    /// A part of the names of a node's children.
    pub const DIRECTORY_PART: u32 = 22;
}

/// `struct xsd_sockmsg`: it comes before every payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// One of [`kind`].
    pub kind: u32,
    /// The client's number for a request; its answer has the same.
    pub request: u32,
    /// The transaction that the request belongs to, or 0.
    pub transaction: u32,
    /// Bytes of payload that follow.
    pub length: u32,
}

/// Bytes that a payload has at most, in both directions (`XENSTORE_PAYLOAD_MAX`).
pub const PAYLOAD_MAX: usize = 4096;
/// Bytes that a path has at most (`XENSTORE_ABS_PATH_MAX`).
pub const ABSOLUTE_PATH_MAX: usize = 3072;
/// Bytes of a path that begins at a domain's own node (`XENSTORE_REL_PATH_MAX`).
pub const RELATIVE_PATH_MAX: usize = 2048;

/// `struct xenstore_domain_interface`: offsets in the page.
pub mod page {
    /// Bytes in each of the two rings (`XENSTORE_RING_SIZE`).
    pub const RING_SIZE: u32 = 1024;
    /// The requests' bytes.
    pub const REQUESTS: usize = 0;
    /// The answers' and events' bytes.
    pub const RESPONSES: usize = 1024;
    /// Bytes of requests that the server has taken.
    pub const REQUEST_CONSUMER: usize = 2048;
    /// Bytes of requests that the client has put.
    pub const REQUEST_PRODUCER: usize = 2052;
    /// Bytes of responses that the client has taken.
    pub const RESPONSE_CONSUMER: usize = 2056;
    /// Bytes of responses that the server has put.
    pub const RESPONSE_PRODUCER: usize = 2060;
    /// What the server can do: [`super::feature`].
    pub const SERVER_FEATURES: usize = 2064;
    /// [`super::connection`].
    pub const CONNECTION: usize = 2068;
    /// [`super::error`].
    pub const ERROR: usize = 2072;
}

/// Bits of `server_features`.
pub mod feature {
    /// A client may ask for its ring to be reset.
    pub const RECONNECTION: u32 = 1;
    /// The field `error` says why a connection ended.
    pub const ERROR: u32 = 2;
}

/// Values of `connection`.
pub mod connection {
    /// In use.
    pub const CONNECTED: u32 = 0;
    /// The client asks for a reset, or nobody serves the ring yet.
    pub const RECONNECT: u32 = 1;
}

/// Values of `error`.
pub mod error {
    /// None.
    pub const NONE: u32 = 0;
    /// The two ends cannot reach each other.
    pub const COMMUNICATION: u32 = 1;
    /// An index that cannot be.
    pub const RING_INDEX: u32 = 2;
    /// A payload that is too long.
    pub const PROTOCOL: u32 = 3;
}
