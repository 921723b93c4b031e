//! Parameters (`hvm/hvm_op.h`, `hvm/params.h`).

use crate::wire;

/// `HVMOP_set_param`.
pub const SET_PARAM: u64 = 0;
/// `HVMOP_get_param`.
pub const GET_PARAM: u64 = 1;
/// `HVMOP_guest_request_vm_event`.
pub const REQUEST_VM_EVENT: u64 = 24;

/// Parameters (`HVM_PARAM_*`).
pub mod param {
    /// How the guest hears of events.
    pub const CALLBACK_IRQ: u32 = 0;
    /// Xenstore's ring.
    pub const STORE_PFN: u32 = 1;
    /// Xenstore's event channel.
    pub const STORE_EVTCHN: u32 = 2;
    /// The console's ring.
    pub const CONSOLE_PFN: u32 = 17;
    /// The console's event channel.
    pub const CONSOLE_EVTCHN: u32 = 18;
    /// Monitor ring: the toolstack's.
    pub const MONITOR_RING_PFN: u32 = 28;
}

/// Type PPI in [`param::CALLBACK_IRQ`], and the flags' place.
pub const CALLBACK_PPI: u64 = 2 << 56;

wire! {
    /// `struct xen_hvm_param`: whose, which, and its value.
    Param { domid: u16, pad: u16, index: u32, value: u64 }
}
