//! The numbers of an open connection, as the client knows them.

use crate::wire::{Segment, flags};

/// The largest window there is without scaling, and none was agreed on.
const WINDOW_MAX: u32 = 0xffff;

/// Whether sequence number `a` is behind `b`.
pub const fn after(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) as i32 > 0
}

/// What went both ways. A machine's numbers have `shift` added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The cookie less the machine's first sequence number.
    pub shift: u32,
    /// The number behind all that the machine has sent.
    pub sent: u32,
    /// The number up to which the client has said that it has it.
    pub acked: u32,
    /// The number up to which the machine has said that it has what the client sent.
    pub received: u32,
    /// The number behind the machine's FIN.
    pub machine_end: Option<u32>,
    /// The number behind the client's FIN.
    pub client_end: Option<u32>,
}

impl Flow {
    /// That of a connection whose machine has just answered the SYN.
    pub const fn new(cookie: u32, isn: u32, machine_isn: u32) -> Self {
        let first = cookie.wrapping_add(1);
        let shift = cookie.wrapping_sub(machine_isn);
        let received = isn.wrapping_add(1);
        Self { shift, sent: first, acked: first, received, machine_end: None, client_end: None }
    }

    /// The machine sends a segment.
    pub fn machine_sends(&mut self, segment: &Segment) {
        let end = segment.end().wrapping_add(self.shift);
        if after(end, self.sent) {
            self.sent = end;
        }
        if segment.has(flags::FIN) {
            self.machine_end = Some(end);
        }
        if segment.has(flags::ACK) && after(segment.acknowledgement, self.received) {
            self.received = segment.acknowledgement;
        }
    }

    /// The client sends a segment.
    pub fn client_sends(&mut self, segment: &Segment) {
        let acknowledgement = segment.acknowledgement;
        if segment.has(flags::ACK) && after(acknowledgement, self.acked) && !after(acknowledgement, self.sent) {
            self.acked = acknowledgement;
        }
        if segment.has(flags::FIN) && self.is_in_window(segment.end()) {
            self.client_end = Some(segment.end());
        }
    }

    /// Whether a segment of the machine's has the first byte of what it says.
    pub const fn is_first(&self, cookie: u32, segment: &Segment) -> bool {
        segment.data > 0 && self.sent == cookie.wrapping_add(1)
    }

    /// Whether the machine has said nothing since it answered the SYN.
    pub const fn is_untouched(&self, cookie: u32, isn: u32) -> bool {
        self.sent == cookie.wrapping_add(1) && self.received == isn.wrapping_add(1)
    }

    /// Whether a number of the client's is one that the machine can be waiting for.
    pub const fn is_in_window(&self, sequence: u32) -> bool {
        sequence.wrapping_sub(self.received) <= WINDOW_MAX
    }

    /// Whether the machine has ended its side, and the client has all of it.
    pub fn is_sent(&self) -> bool {
        self.machine_end.is_some_and(|end| !after(end, self.acked))
    }

    /// Whether both sides have ended, and know it.
    pub fn is_over(&self) -> bool {
        self.is_sent() && self.client_end.is_some_and(|end| !after(end, self.received))
    }

    /// Whether either side has ended.
    pub const fn is_closing(&self) -> bool {
        self.machine_end.is_some() || self.client_end.is_some()
    }
}
