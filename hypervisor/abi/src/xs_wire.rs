//! Xenstore's ring and messages (`io/xs_wire.h`).

use crate::wire;

/// Bytes of each ring.
pub const RING_SIZE: usize = 1024;

wire! {
    /// `struct xsd_sockmsg`: what each message begins with.
    Header {
        /// What is asked or answered.
        kind: u32,
        /// Told apart by the asker.
        req_id: u32,
        /// In which transaction.
        tx_id: u32,
        /// Bytes that follow.
        len: u32,
    }

    /// `struct xenstore_domain_interface`. The four counters run freely.
    Interface {
        /// From the guest.
        req: [u8; 1024],
        /// To the guest.
        rsp: [u8; 1024],
        /// Read by the server.
        req_cons: u32,
        /// Written by the guest.
        req_prod: u32,
        /// Read by the guest.
        rsp_cons: u32,
        /// Written by the server.
        rsp_prod: u32,
        /// What the server offers.
        server_features: u32,
        /// Whether the guest may connect, or has to anew.
        connection: u32,
        /// What the server found wrong.
        error: u32,
    }
}
