//! A web server on the network: [`mote_webserver`] with this library's connections and clock.

use core::time::Duration;

use mote_webserver::{Clock, Handler, Limits, serve};

use super::{Listener, Network};
use crate::executor::{self, Either, either};
use crate::power;
use crate::template::{self, argument};

/// Serves one connection after the other, for ever. As many as such tasks run are served at a time.
pub async fn answer(listener: &Listener<'_>, handler: &impl Handler, limits: &Limits) {
    loop {
        let mut stream = listener.accept().await;
        serve(&mut stream, handler, &Time, limits).await;
        stream.close();
    }
}

/// Serves the connection for which this clone was launched, waits until the other side has all of it, and ends the domain. A clone that is
/// [kept](keep) serves further ones that come before it was idle for so long.
pub async fn answer_and_vanish(
    network: &Network,
    listener: &Listener<'_>,
    handler: &impl Handler,
    limits: &Limits,
) -> ! {
    let mut stream = listener.accept().await;
    loop {
        serve(&mut stream, handler, &Time, limits).await;
        stream.close();
        stream = match either(listener.accept(), executor::sleep(keep())).await {
            Either::First(next) => next,
            Either::Second(()) => break,
        };
    }
    network.stack().heard().await;
    power::shutdown()
}

/// How long this clone is to wait for another connection: what its driver domain told it.
fn keep() -> Duration {
    let told = template::identity().map_or(0, |identity| identity.argument[argument::KEEP]);
    Duration::from_millis(told)
}

struct Time;

impl Clock for Time {
    async fn sleep(&self, length: Duration) {
        executor::sleep(length).await;
    }
}
