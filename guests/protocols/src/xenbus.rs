//! Where the two ends of a device stand (`xenbus.h`): each writes its own into its `state` node.

pub mod backend;

/// `enum xenbus_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum State {
    /// There is no such end, or it says nothing that makes sense.
    Unknown = 0,
    /// The toolstack has made it; its driver has not begun.
    Initialising = 1,
    /// The back end waits for the front end's rings.
    InitWait = 2,
    /// The front end has written its rings and waits.
    Initialised = 3,
    /// In use.
    Connected = 4,
    /// On its way out: an unplugged device, or an error.
    Closing = 5,
    /// Done with.
    Closed = 6,
    /// Its parts change while it is in use.
    Reconfiguring = 7,
    /// They have changed.
    Reconfigured = 8,
}

impl State {
    /// Reads a `state` node: a decimal number. What is none is [`State::Unknown`].
    #[must_use]
    pub fn parse(value: &[u8]) -> Self {
        match value {
            b"1" => Self::Initialising,
            b"2" => Self::InitWait,
            b"3" => Self::Initialised,
            b"4" => Self::Connected,
            b"5" => Self::Closing,
            b"6" => Self::Closed,
            b"7" => Self::Reconfiguring,
            b"8" => Self::Reconfigured,
            _ => Self::Unknown,
        }
    }

    /// As it is written to a `state` node.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "0",
            Self::Initialising => "1",
            Self::InitWait => "2",
            Self::Initialised => "3",
            Self::Connected => "4",
            Self::Closing => "5",
            Self::Closed => "6",
            Self::Reconfiguring => "7",
            Self::Reconfigured => "8",
        }
    }
}
