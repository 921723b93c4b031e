//! Network interfaces (`io/netif.h`). "Transmit" and "receive" are the frontend's: it transmits what the backend takes.
//!
//! A frame is one request, or several in a row that say [`transmit::MORE_DATA`]; the first has the size of the whole frame, the others
//! their own. Extras, which lie in places of the ring as requests do, come directly after the first.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, transmute};

use crate::ring::{Back, Front};

/// Requests for one frame that every backend takes (`XEN_NETIF_NR_SLOTS_MIN`).
pub const SLOTS_MIN: usize = 18;
/// Places in either ring: both kinds of requests come to as many.
pub const RING_ENTRIES: u32 = 256;

/// Flags of a request to transmit (`NETTXF_*`).
pub mod transmit {
    /// Where the frame's TCP or UDP checksum belongs stands the pseudo-header's sum.
    pub const CHECKSUM_BLANK: u16 = 1;
    /// Nobody needs to look at the checksum.
    pub const DATA_VALIDATED: u16 = 2;
    /// The next request goes on with this frame.
    pub const MORE_DATA: u16 = 4;
    /// An extra follows.
    pub const EXTRA_INFO: u16 = 8;
}

/// Flags of a response to a request to receive (`NETRXF_*`).
pub mod receive {
    /// Nobody needs to look at the checksum.
    pub const DATA_VALIDATED: u16 = 1;
    /// Where the frame's TCP or UDP checksum belongs stands the pseudo-header's sum.
    pub const CHECKSUM_BLANK: u16 = 2;
    /// The next response goes on with this frame.
    pub const MORE_DATA: u16 = 4;
    /// An extra follows.
    pub const EXTRA_INFO: u16 = 8;
}

/// How a request ended (`NETIF_RSP_*`).
pub mod status {
    /// The frame was dropped.
    pub const DROPPED: i16 = -2;
    /// Failed.
    pub const ERROR: i16 = -1;
    /// Done.
    pub const OKAY: i16 = 0;
    /// It was no request but an extra.
    pub const NULL: i16 = 1;
}

/// What an extra is about (`XEN_NETIF_EXTRA_TYPE_*`).
pub mod extra {
    /// The frame is to be cut into segments.
    pub const GSO: u8 = 1;
    /// A multicast address is wanted.
    pub const MULTICAST_ADD: u8 = 2;
    /// It is wanted no more.
    pub const MULTICAST_DELETE: u8 = 3;
    /// The frame's hash.
    pub const HASH: u8 = 4;
    /// In an extra's flags: another one follows (`XEN_NETIF_EXTRA_FLAG_MORE`).
    pub const MORE: u8 = 1;
    /// A segment's type: TCP over IPv4 (`XEN_NETIF_GSO_TYPE_TCPV4`).
    pub const TCPV4: u8 = 1;
    /// A segment's type: TCP over IPv6.
    pub const TCPV6: u8 = 2;
}

/// Names of nodes in xenstore. A feature is on if its node's value is 1.
pub mod node {
    /// Either end: frames may be of many requests.
    pub const SCATTER_GATHER: &str = "feature-sg";
    /// Either end: takes large TCP frames over IPv4 to be cut into segments.
    pub const GSO_TCPV4: &str = "feature-gso-tcpv4";
    /// Frontend: frames must come with their checksums complete.
    pub const NO_CHECKSUM_OFFLOAD: &str = "feature-no-csum-offload";
    /// Frontend: it sends events when it asks to receive.
    pub const RECEIVE_NOTIFY: &str = "feature-rx-notify";
    /// Backend: what is received is copied into the frontend's pages. There is no other way today.
    pub const RECEIVE_COPY: &str = "feature-rx-copy";
    /// Backend: pages change hands.
    pub const RECEIVE_FLIP: &str = "feature-rx-flip";
    /// Frontend: it wants that what is received is copied.
    pub const REQUEST_COPY: &str = "request-rx-copy";
    /// Backend: the two rings may have an event channel each.
    pub const SPLIT_EVENTS: &str = "feature-split-event-channels";
    /// Backend: so many pairs of rings may there be.
    pub const QUEUES_MAX: &str = "multi-queue-max-queues";
    /// Frontend: so many there are. With more than one, each has a directory `queue-N`.
    pub const QUEUES: &str = "multi-queue-num-queues";
    /// Frontend: the grant of the ring of requests to transmit.
    pub const TRANSMIT_RING: &str = "tx-ring-ref";
    /// Frontend: the grant of the ring of requests to receive.
    pub const RECEIVE_RING: &str = "rx-ring-ref";
    /// Frontend: the port for both rings.
    pub const EVENTS: &str = "event-channel";
    /// Frontend: the port for the ring of requests to transmit.
    pub const TRANSMIT_EVENTS: &str = "event-channel-tx";
    /// Frontend: the port for the ring of requests to receive.
    pub const RECEIVE_EVENTS: &str = "event-channel-rx";
}

/// Asks that a part of a page is transmitted: its grant, where it begins, [`transmit`] flags, the frontend's own number, and bytes
/// (`struct netif_tx_request`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs, reason = "the structure's comment describes its fields")]
pub struct TxRequest {
    pub gref: u32,
    pub offset: u16,
    pub flags: u16,
    pub id: u16,
    pub size: u16,
}

/// The request's number, and a [`status`] (`struct netif_tx_response`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs, reason = "the structure's comment describes its fields")]
pub struct TxResponse {
    pub id: u16,
    pub status: i16,
}

/// Asks that a page is filled: the frontend's own number, and its grant (`struct netif_rx_request`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs, reason = "the structure's comment describes its fields")]
pub struct RxRequest {
    pub id: u16,
    pub pad: u16,
    pub gref: u32,
}

/// A part of a page that was filled: the request's number, where the part begins, [`receive`] flags, and bytes or, if negative, a [`status`]
/// (`struct netif_rx_response`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs, reason = "the structure's comment describes its fields")]
pub struct RxResponse {
    pub id: u16,
    pub offset: u16,
    pub flags: u16,
    pub status: i16,
}

/// An extra (`struct netif_extra_info`): what it is about ([`extra`]), flags, and what it says. For [`extra::GSO`] that is bytes of TCP's data in a
/// segment and the segments' type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs, reason = "the structure's comment describes its fields")]
pub struct Extra {
    pub kind: u8,
    pub flags: u8,
    pub size: u16,
    pub segments: u8,
    pub pad: u8,
    pub features: u16,
}

// What the header comes to.
const _: () = assert!(size_of::<TxRequest>() == 12 && size_of::<TxResponse>() == 4);
const _: () = assert!(size_of::<RxRequest>() == 8 && size_of::<RxResponse>() == 8 && size_of::<Extra>() == 8);

/// An extra in a place of the ring of requests to transmit.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct ExtraPlace {
    extra: Extra,
    rest: u32,
}

impl From<TxRequest> for Extra {
    fn from(request: TxRequest) -> Self {
        let place: ExtraPlace = transmute!(request);
        place.extra
    }
}

impl From<Extra> for TxRequest {
    fn from(extra: Extra) -> Self {
        transmute!(ExtraPlace { extra, rest: 0 })
    }
}

impl From<RxResponse> for Extra {
    fn from(response: RxResponse) -> Self {
        transmute!(response)
    }
}

impl From<Extra> for RxResponse {
    fn from(extra: Extra) -> Self {
        transmute!(extra)
    }
}

/// The backend's end of the ring of requests to transmit.
pub type TxBack<P> = Back<P, TxRequest, TxResponse>;
/// The backend's end of the ring of requests to receive.
pub type RxBack<P> = Back<P, RxRequest, RxResponse>;
/// The frontend's end of the ring of requests to transmit.
pub type TxFront<P> = Front<P, TxRequest, TxResponse>;
/// The frontend's end of the ring of requests to receive.
pub type RxFront<P> = Front<P, RxRequest, RxResponse>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extra_takes_a_place_in_either_ring() {
        let extra =
            Extra { kind: extra::GSO, flags: extra::MORE, size: 1448, segments: extra::TCPV4, pad: 0, features: 0 };
        assert_eq!(Extra::from(TxRequest::from(extra)), extra);
        assert_eq!(Extra::from(RxResponse::from(extra)), extra);
        assert_eq!(TxRequest::from(extra).as_bytes(), [1, 1, 0xa8, 5, 1, 0, 0, 0, 0, 0, 0, 0]);
    }
}
