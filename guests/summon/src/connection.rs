//! Connections: one whose cookie was right, until both sides have ended it.

use alloc::vec::Vec;

use mote_netback::Mac;

use crate::action::{MachineId, Parcel, Short};
use crate::calls::Key;
use crate::flow::Flow;
use crate::make::Blueprint;
use crate::service::{Service, ServiceId};
use crate::wire::{Segment, flags};
use crate::{Packet, wire};

/// Milliseconds after which a connection on which nothing goes either way is reset: longer than a caller waits for an answer, shorter
/// than those need who collect connections.
pub const IDLE_MAX: u64 = 300_000;
/// The same once one side has ended.
pub const CLOSING_MAX: u64 = 60_000;
/// Milliseconds in which a machine should have been launched. Linux boots in that time.
pub const LAUNCH_MAX: u64 = 60_000;
/// Milliseconds until a machine is sent a SYN again, the first time, and how often it is: its ring may have been full (RFC 6298, 2.1).
pub const SYN_AGAIN: u64 = 1_000;
pub const SYNS_MAX: u8 = 5;
/// How often it is while it boots, in the time that its connection has patience for that.
pub const SYNS_OF_BOOT: u8 = 240;
/// Milliseconds until a FIN is sent again in place of a machine that is gone, the first time, and how often.
pub const FIN_AGAIN: u64 = 1_000;
pub const FINS_MAX: u8 = 4;
/// Frames that wait for the machine's SYN-ACK. A caller may send as much as [`WINDOW`] before the machine says otherwise.
const HELD_MAX: usize = 4;
/// The longest segment that the service takes: Ethernet's 1500 bytes less two headers.
pub const MSS: u16 = 1460;
/// The window in a SYN-ACK, without scaling.
pub const WINDOW: u16 = HELD_MAX as u16 * MSS;

/// From whom frames come, as machines see it. Theirs to him are readdressed, so they need not know who it is.
pub const ROUTER: Mac = Mac([0x02, b'm', b'o', b't', b'e', 0x01]);

/// A connection.
pub struct Connection<F> {
    /// The client's address and port.
    pub client: ([u8; 4], u16),
    /// To whom frames for the client are sent.
    pub peer: Mac,
    pub service: ServiceId,
    pub machine: Option<MachineId>,
    /// Whether it is one of those that wait for one.
    pub waits: bool,
    /// The client's first sequence number, and ours.
    pub isn: u32,
    pub cookie: u32,
    /// The longest segment that the client takes.
    pub mss: u16,
    /// The client's window.
    pub window: u16,
    /// When its cookie came, in milliseconds.
    pub called: u64,
    /// In milliseconds: what happens then is the state's.
    pub deadline: u64,
    pub state: State<F>,
}

/// Where a connection stands.
pub enum State<F> {
    /// It waits for a machine, or for the machine's SYN-ACK.
    Early {
        /// Frames with the client's first data.
        held: Vec<F>,
        /// SYNs that the machine was sent.
        syns: u8,
    },
    /// Frames are passed on.
    Open(Flow),
    /// The machine is gone, all that it had to say is said, but the client has not acknowledged it.
    Ending {
        flow: Flow,
        /// FINs that were sent in its place.
        fins: u8,
    },
}

impl<F: Packet> Connection<F> {
    /// Under which its client's connections are counted.
    pub const fn client_key(&self) -> Key {
        Key::new((self.client.0, 0), self.service)
    }

    /// What comes next: the number of ours, and the one that we wait for.
    pub fn numbers(&self) -> (u32, u32) {
        match &self.state {
            State::Early { .. } => (self.cookie.wrapping_add(1), self.isn.wrapping_add(1)),
            State::Open(flow) | State::Ending { flow, .. } => (flow.sent, flow.received),
        }
    }

    /// The number up to which the client has said that it has ours.
    pub const fn acked(&self) -> u32 {
        match &self.state {
            State::Early { .. } => self.cookie.wrapping_add(1),
            State::Open(flow) | State::Ending { flow, .. } => flow.acked,
        }
    }

    /// Whether a RST with this number is meant. Others are forged, or old (RFC 5961, 3.2, but for those within the window, which many
    /// machines take as well).
    pub fn takes_reset(&self, sequence: u32) -> bool {
        match &self.state {
            State::Early { .. } => sequence.wrapping_sub(self.isn) <= u32::from(WINDOW),
            State::Open(flow) | State::Ending { flow, .. } => flow.is_in_window(sequence),
        }
    }

    /// A segment for the client.
    pub fn to_client(&self, service: &Service, from: Mac, flags: u8) -> Blueprint {
        let (sequence, acknowledgement) = self.numbers();
        let (source, target) = ((service.ip, service.port), self.client);
        Blueprint { from, to: self.peer, source, target, sequence, acknowledgement, flags, window: WINDOW, mss: None }
    }

    /// A segment for the machine. `sequence` and `acknowledgement` are as it knows them.
    pub fn to_machine(&self, service: &Service, sequence: u32, acknowledgement: u32, flags: u8) -> Blueprint {
        let (source, target) = (self.client, (service.ip, service.port));
        let window = self.window;
        Blueprint { from: ROUTER, to: service.mac, source, target, sequence, acknowledgement, flags, window, mss: None }
    }

    /// The SYN that the client sent, as far as it is known.
    pub fn syn(&self, service: &Service) -> Short {
        Blueprint { mss: Some(self.mss), ..self.to_machine(service, self.isn, 0, flags::SYN) }.make()
    }

    /// Changes the client's frame into one for the machine.
    pub fn inward(&self, service: &Service, shift: u32, mut frame: F, segment: &Segment) -> Parcel<F> {
        wire::neutralise(&mut frame, segment);
        wire::shift(&mut frame, 0, shift.wrapping_neg());
        wire::readdress(frame.head_mut(), service.mac, ROUTER);
        Parcel::Frame(frame)
    }

    /// Changes the machine's frame into one for the client.
    pub fn outward(&self, from: Mac, shift: u32, mut frame: F, segment: &Segment) -> Parcel<F> {
        wire::neutralise(&mut frame, segment);
        wire::shift(&mut frame, shift, 0);
        wire::readdress(frame.head_mut(), self.peer, from);
        Parcel::Frame(frame)
    }
}

/// Has a frame wait. It comes back if it is there already, is too much, or more pages than there are would be kept.
pub fn hold<F: Packet>(held: &mut Vec<F>, frame: F, segment: &Segment, pages: &mut usize) -> Option<F> {
    let is_there = |other: &F| Segment::of(other).is_some_and(|other| other.sequence == segment.sequence);
    if held.len() >= HELD_MAX || frame.pages() > *pages || held.iter().any(is_there) {
        return Some(frame);
    }
    *pages -= frame.pages();
    held.push(frame);
    None
}
