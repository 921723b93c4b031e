//! When the two ends come together and part: what `state` nodes ask a front end to do (`io/xenbus.h`).

use mote_protocols::xenbus::State;

/// How far this end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// There are no rings.
    Down,
    /// There are rings, and the back end was told of them.
    Told,
    /// The back end uses them.
    Up,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing, until something changes.
    Wait,
    /// Say that this end would like to begin: [`State::Initialising`].
    Begin,
    /// Make rings, tell the back end of them, and say [`State::Connected`].
    Connect,
    /// The back end uses them: it is [`Phase::Up`] now.
    Connected,
    /// End the rings and say [`State::Closed`].
    Disconnect,
}

/// What to do in `phase` when this end's node says `own` and the back end's says `theirs`. `same` says whether it is the back end
/// that was told.
#[must_use]
pub const fn next(phase: Phase, own: State, theirs: State, same: bool) -> Action {
    match phase {
        Phase::Down => match theirs {
            State::InitWait if matches!(own, State::Initialising) => Action::Connect,
            State::Initialising | State::InitWait | State::Closed if !matches!(own, State::Initialising) => {
                Action::Begin
            }
            _ => Action::Wait,
        },
        Phase::Told | Phase::Up if !same => Action::Disconnect,
        Phase::Told => match theirs {
            State::Connected => Action::Connected,
            State::Initialising | State::InitWait | State::Initialised => Action::Wait,
            _ => Action::Disconnect,
        },
        Phase::Up => match theirs {
            State::Connected | State::Reconfiguring | State::Reconfigured => Action::Wait,
            _ => Action::Disconnect,
        },
    }
}
