//! Event channels (`event_channel.h`).

use crate::wire;

/// Operations (`EVTCHNOP_*`).
pub mod op {
    /// [`super::BindInterdomain`].
    pub const BIND_INTERDOMAIN: u64 = 0;
    /// [`super::BindVirq`].
    pub const BIND_VIRQ: u64 = 1;
    /// Physical interrupts: not on Arm.
    pub const BIND_PIRQ: u64 = 2;
    /// A port.
    pub const CLOSE: u64 = 3;
    /// A port.
    pub const SEND: u64 = 4;
    /// [`super::Status`].
    pub const STATUS: u64 = 5;
    /// [`super::AllocUnbound`].
    pub const ALLOC_UNBOUND: u64 = 6;
    /// [`super::BindIpi`].
    pub const BIND_IPI: u64 = 7;
    /// [`super::BindVcpu`].
    pub const BIND_VCPU: u64 = 8;
    /// A port.
    pub const UNMASK: u64 = 9;
    /// [`super::Reset`].
    pub const RESET: u64 = 10;
    /// [`super::InitControl`].
    pub const INIT_CONTROL: u64 = 11;
    /// [`super::ExpandArray`].
    pub const EXPAND_ARRAY: u64 = 12;
    /// [`super::SetPriority`].
    pub const SET_PRIORITY: u64 = 13;
    /// [`super::Reset`], to go on with one: Xen's own.
    pub const RESET_CONT: u64 = 14;
}

/// What a port is (`EVTCHNSTAT_*`).
pub mod status {
    /// Nothing.
    pub const CLOSED: u32 = 0;
    /// Waits for its other end.
    pub const UNBOUND: u32 = 1;
    /// Connected.
    pub const INTERDOMAIN: u32 = 2;
    /// A virtual interrupt.
    pub const VIRQ: u32 = 4;
    /// From vCPU to vCPU.
    pub const IPI: u32 = 5;
}

/// An event word of the FIFO ABI (`EVTCHN_FIFO_*`).
pub mod fifo {
    /// The event is pending.
    pub const PENDING: u32 = 1 << 31;
    /// It is not to be announced.
    pub const MASKED: u32 = 1 << 30;
    /// It is in a queue.
    pub const LINKED: u32 = 1 << 29;
    /// Its link is being set.
    pub const BUSY: u32 = 1 << 28;
    /// Bits of the link to the next.
    pub const LINK_BITS: u32 = 17;
    /// The link to the next.
    pub const LINK: u32 = (1 << LINK_BITS) - 1;
    /// Queues of a vCPU, the first of highest priority.
    pub const QUEUES: usize = 16;
    /// Priority of a port whose owner set none.
    pub const DEFAULT_PRIORITY: u8 = 7;
    /// Event words in a page.
    pub const WORDS_PER_PAGE: u32 = 1024;
    /// Pages of event words.
    pub const MAX_PAGES: usize = 128;
}

wire! {
    /// `struct evtchn_alloc_unbound`: a `port` of `dom`, who is the caller but for a control domain; `remote_dom` may connect to it.
    AllocUnbound { dom: u16, remote_dom: u16, port: u32 }

    /// `struct evtchn_bind_interdomain`: a port to connect to, and the one that is made for it.
    BindInterdomain { remote_dom: u16, pad: u16, remote_port: u32, local_port: u32 }

    /// `struct evtchn_bind_virq`: a virtual interrupt of a vCPU, and the port that is made for it.
    BindVirq { virq: u32, vcpu: u32, port: u32 }

    /// `struct evtchn_bind_pirq`: a physical interrupt, whether it may be shared, and the port that is made for it.
    BindPirq { pirq: u32, flags: u32, port: u32 }

    /// `struct evtchn_bind_ipi`: whom to notify, and the port that is made for it.
    BindIpi { vcpu: u32, port: u32 }

    /// `struct evtchn_close`, `struct evtchn_send` and `struct evtchn_unmask`.
    Port { port: u32 }

    /// `struct evtchn_status`: what a port is ([`status`]), and whom it notifies; `peer` is the other end's domain, or the virtual
    /// interrupt, and `peer_port` the other end's port.
    Status { dom: u16, pad: u16, port: u32, status: u32, vcpu: u32, peer: u32, peer_port: u32 }

    /// `struct evtchn_bind_vcpu`: which port is to notify whom.
    BindVcpu { port: u32, vcpu: u32 }

    /// `struct evtchn_reset`: whose ports.
    Reset { dom: u16 }

    /// `struct evtchn_init_control`: the control block of `vcpu`, by its frame and its place there in bytes. The bits of a link are
    /// answered.
    InitControl { control_gfn: u64, offset: u32, vcpu: u32, link_bits: u8, pad: [u8; 7] }

    /// `struct evtchn_expand_array`: a page of event words.
    ExpandArray { array_gfn: u64 }

    /// `struct evtchn_set_priority`: which port goes into which queue.
    SetPriority { port: u32, priority: u32 }

    /// `struct evtchn_fifo_control_block`: which queues are not empty, and the first event of each.
    ControlBlock { ready: u32, reserved: u32, head: [u32; fifo::QUEUES] }
}
