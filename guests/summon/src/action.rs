//! What the summoner wants done.

use alloc::collections::VecDeque;

use arrayvec::ArrayVec;

use crate::ServiceId;
use crate::slots::Id;

/// Bytes of the longest frame that is made here: Ethernet's, IPv4's and TCP's headers, and one option. An ARP packet is shorter.
const SHORT_MAX: usize = 14 + 20 + 20 + 4;

/// A frame that is made here; its checksums are complete. Shorter than Ethernet's least length: who puts it on a wire pads it.
pub type Short = ArrayVec<u8, SHORT_MAX>;

/// What is to be done, first to last. Who does it keeps the queue, so that nothing is allocated for each frame.
pub type Actions<F> = VecDeque<Action<F>>;

/// A machine, from [`Action::Launch`] until [`Summoner::gone`](crate::Summoner::gone). It is never another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MachineId(pub(crate) Id);

impl MachineId {
    /// A small number that no other machine has at the same time, below the limit of machines: for tables.
    #[must_use]
    pub const fn place(self) -> usize {
        self.0.place()
    }
}

/// A frame to be sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Parcel<F> {
    /// One that came, changed.
    Frame(F),
    /// A new one.
    Short(Short),
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Action<F> {
    /// A clone of this domain is needed.
    Launch {
        /// What it is called here.
        machine: MachineId,
        /// The service that it is for.
        service: ServiceId,
        /// The template's domain number.
        template: u16,
    },
    /// The machine is needed no more, and has not ended by itself.
    End(MachineId),
    /// A frame for the machine's ring.
    ToMachine(MachineId, Parcel<F>),
    /// A frame for the network: its destination is in it.
    ToOutside(Parcel<F>),
    /// A frame that goes nowhere.
    Discard(F),
}
