//! What a backend does next, by where the two ends of a device stand.

use super::State;

/// What a backend is to do about a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: it waits for the frontend or the toolstack.
    Wait,
    /// Say what it offers, and that it waits for the frontend's ring.
    Offer,
    /// Serve the ring that the frontend has written.
    Connect,
    /// Serve no more, and say that it is closing.
    Close,
    /// Serve no more, and say that it is closed.
    Shut,
    /// Forget it: it is not there any more.
    Forget,
}

/// What is to be done when the backend says that it is in state `own` and the frontend says `frontend`; `serving` is whether it does
/// serve a ring, `there` whether the toolstack still has the device.
///
/// A backend that has just begun finds the state of the one before it. If that one was connected, so is the frontend, which need not know
/// that its ring is served by another now: the backend connects to it.
#[must_use]
pub fn next(own: State, frontend: State, serving: bool, there: bool) -> Next {
    if !there {
        return Next::Forget;
    }
    match (frontend, own) {
        (State::Initialising, State::InitWait) => Next::Wait,
        (State::Initialising, _) => Next::Offer,
        (State::Initialised | State::Connected, _) if serving => Next::Wait,
        // What was never offered cannot have been accepted: the frontend's state is one from before.
        (State::Initialised | State::Connected, State::Unknown | State::Initialising | State::Closed) => Next::Offer,
        (State::Initialised | State::Connected, State::Closing) => Next::Wait,
        (State::Initialised | State::Connected, _) => Next::Connect,
        (State::Closing, State::Closing) if !serving => Next::Wait,
        (State::Closing, State::Closed) => Next::Wait,
        (State::Closing, _) => Next::Close,
        (State::Closed, State::Closed) if !serving => Next::Wait,
        (State::Closed, State::Unknown | State::Initialising) => Next::Offer,
        (State::Closed, _) => Next::Shut,
        // A frontend that is gone: the toolstack will remove the device.
        (State::Unknown, _) if serving => Next::Shut,
        (State::Unknown | State::InitWait | State::Reconfiguring | State::Reconfigured, _) => Next::Wait,
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use State::*;
    use std::string::ToString;
    use std::vec::Vec;

    /// What backend and frontend do, one after the other, from these states on.
    fn play(mut own: State, frontend: &[State]) -> Vec<(Next, State)> {
        let mut serving = false;
        let mut steps = Vec::new();
        for frontend in frontend {
            let step = next(own, *frontend, serving, true);
            (own, serving) = match step {
                Next::Wait => (own, serving),
                Next::Offer => (InitWait, false),
                Next::Connect => (Connected, true),
                Next::Close => (Closing, false),
                Next::Shut => (Closed, false),
                Next::Forget => unreachable!("the device is there"),
            };
            steps.push((step, own));
        }
        steps
    }

    #[test]
    fn a_device_is_offered_connected_closed_and_offered_again() {
        let frontend = [
            Initialising,
            Initialising,
            Initialised,
            Connected,
            Closing,
            Closing,
            Closed,
            Closed,
            Initialising,
            Initialised,
        ];
        let steps: Vec<Next> = play(Initialising, &frontend).into_iter().map(|(step, _)| step).collect();
        use Next::*;
        assert_eq!(steps, [Offer, Wait, Connect, Wait, Close, Wait, Shut, Wait, Offer, Connect]);
    }

    #[test]
    fn a_backend_that_takes_the_place_of_another_goes_on_with_its_ring() {
        assert_eq!(play(Connected, &[Connected, Connected]), [(Next::Connect, Connected), (Next::Wait, Connected)]);
        let elsewhere = play(Initialising, &[Connected, Initialised]);
        assert_eq!(elsewhere, [(Next::Offer, InitWait), (Next::Connect, Connected)]);
    }

    #[test]
    fn what_the_toolstack_took_away_is_forgotten_whatever_the_states() {
        for own in 0..10 {
            for frontend in 0..10 {
                let [own, frontend] = [own, frontend].map(|state| State::parse(state.to_string().as_bytes()));
                for serving in [false, true] {
                    assert_eq!(next(own, frontend, serving, false), Next::Forget);
                    let step = next(own, frontend, serving, true);
                    assert!(step != Next::Connect || !serving, "{own:?} {frontend:?}: one ring at a time");
                }
            }
        }
    }
}
