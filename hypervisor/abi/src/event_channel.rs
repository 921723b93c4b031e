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
    /// `struct evtchn_alloc_unbound`.
    AllocUnbound {
        /// Whose port; the caller's, or another's for the control domain.
        dom: u16,
        /// Who may connect.
        remote_dom: u16,
        /// The port made.
        port: u32,
    }

    /// `struct evtchn_bind_interdomain`.
    BindInterdomain {
        /// Whose port to connect to.
        remote_dom: u16,
        /// Padding.
        pad: u16,
        /// That port.
        remote_port: u32,
        /// The port made.
        local_port: u32,
    }

    /// `struct evtchn_bind_virq`.
    BindVirq {
        /// Which.
        virq: u32,
        /// Whose.
        vcpu: u32,
        /// The port made.
        port: u32,
    }

    /// `struct evtchn_bind_pirq`.
    BindPirq {
        /// Which.
        pirq: u32,
        /// Whether it may be shared.
        flags: u32,
        /// The port made.
        port: u32,
    }

    /// `struct evtchn_bind_ipi`.
    BindIpi {
        /// For whom.
        vcpu: u32,
        /// The port made.
        port: u32,
    }

    /// `struct evtchn_close`, `evtchn_send` and `evtchn_unmask`.
    Port {
        /// The port.
        port: u32,
    }

    /// `struct evtchn_status`.
    Status {
        /// Whose port.
        dom: u16,
        /// Padding.
        pad: u16,
        /// Which.
        port: u32,
        /// What it is.
        status: u32,
        /// Whom it notifies.
        vcpu: u32,
        /// The other end's domain, or the virtual interrupt.
        peer: u32,
        /// The other end's port.
        peer_port: u32,
    }

    /// `struct evtchn_bind_vcpu`.
    BindVcpu {
        /// Which port.
        port: u32,
        /// Whom it is to notify.
        vcpu: u32,
    }

    /// `struct evtchn_reset`.
    Reset {
        /// Whose ports.
        dom: u16,
    }

    /// `struct evtchn_init_control`.
    InitControl {
        /// The control block's frame.
        control_gfn: u64,
        /// And its place there, in bytes.
        offset: u32,
        /// Whose it is.
        vcpu: u32,
        /// Answered: bits of a link.
        link_bits: u8,
        /// Padding.
        pad: [u8; 7],
    }

    /// `struct evtchn_expand_array`.
    ExpandArray {
        /// A page of event words.
        array_gfn: u64,
    }

    /// `struct evtchn_set_priority`.
    SetPriority {
        /// Which port.
        port: u32,
        /// Its queue.
        priority: u32,
    }

    /// `struct evtchn_fifo_control_block`.
    ControlBlock {
        /// Queues that are not empty.
        ready: u32,
        /// Padding.
        reserved: u32,
        /// First event of each.
        head: [u32; 16],
    }
}
