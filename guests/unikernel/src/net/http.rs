//! A web server on the network: [`mote_webserver`] with this library's connections and clock.

use core::time::Duration;

use mote_webserver::{Clock, Handler, Limits, serve};

use super::Listener;
use crate::executor;

/// Serves one connection after the other, for ever. As many as such tasks run are served at a time.
pub async fn answer(listener: &Listener<'_>, handler: &impl Handler, limits: &Limits) {
    loop {
        let mut stream = listener.accept().await;
        serve(&mut stream, handler, &Time, limits).await;
        stream.close();
    }
}

struct Time;

impl Clock for Time {
    async fn sleep(&self, length: Duration) {
        executor::sleep(length).await;
    }
}
