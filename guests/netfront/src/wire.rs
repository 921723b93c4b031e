//! The numbers of `io/netif.h` that a front end needs.

/// A packet's checksum is to be filled in: what stands in its place is the pseudo-header's (`NETTXF_csum_blank`).
pub const TX_CHECKSUM_BLANK: u16 = 1 << 0;
/// Nobody needs to verify the checksum (`NETTXF_data_validated`).
pub const TX_DATA_VALIDATED: u16 = 1 << 1;
/// The next request goes on with this packet (`NETTXF_more_data`).
pub const TX_MORE_DATA: u16 = 1 << 2;
/// The next request is an extra (`NETTXF_extra_info`).
pub const TX_EXTRA_INFO: u16 = 1 << 3;

/// Nobody needs to verify the checksum (`NETRXF_data_validated`).
pub const RX_DATA_VALIDATED: u16 = 1 << 0;
/// The checksum is not filled in (`NETRXF_csum_blank`).
pub const RX_CHECKSUM_BLANK: u16 = 1 << 1;
/// The next response goes on with this packet (`NETRXF_more_data`).
pub const RX_MORE_DATA: u16 = 1 << 2;
/// The next response is an extra (`NETRXF_extra_info`).
pub const RX_EXTRA_INFO: u16 = 1 << 3;

/// An extra: how to cut a large packet (`XEN_NETIF_EXTRA_TYPE_GSO`).
pub const EXTRA_GSO: u8 = 1;
/// Another extra follows (`XEN_NETIF_EXTRA_FLAG_MORE`).
pub const EXTRA_MORE: u8 = 1;
/// TCP over IPv4 (`XEN_NETIF_GSO_TYPE_TCPV4`).
pub const GSO_TCPV4: u8 = 1;

/// A request that was not a packet's: an extra (`NETIF_RSP_NULL`).
pub const STATUS_NULL: i16 = 1;

/// Requests for one packet that every back end takes (`XEN_NETIF_NR_SLOTS_MIN`).
pub const SLOTS_MAX: usize = 18;
