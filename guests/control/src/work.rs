//! How long it takes to do what is done to domains, for whoever measures this domain.

use mote_api::Work;
use mote_unikernel::time::{Instant, Timer};

use crate::api::nanoseconds;

/// What is done to domains.
#[derive(Clone, Copy)]
pub enum Operation {
    /// One is built, and told of in xenstore.
    Create,
    /// One is let run: until it does, or whoever let it goes on with something else.
    Start,
    /// One that has ended, or is made to, is reported and taken apart.
    Destroy,
}

/// All that was done so far.
#[derive(Default)]
pub struct Works {
    // Times and ticks, by operation.
    done: [(u64, u64); 3],
    ready: u64,
}

impl Works {
    /// Something was done that began then.
    pub fn note(&mut self, operation: Operation, began: Instant) {
        self.note_until(operation, began, Instant::now());
    }

    /// Something was done that began and ended then.
    pub fn note_until(&mut self, operation: Operation, began: Instant, ended: Instant) {
        let (times, ticks) = &mut self.done[operation as usize];
        *times += 1;
        *ticks += ended.ticks().saturating_sub(began.ticks());
    }

    /// The API is served from now on.
    pub fn note_ready(&mut self) {
        self.ready = Timer::Physical.count();
    }

    /// When the API was first served, in nanoseconds after the machine was switched on.
    pub fn ready(&self) -> u64 {
        nanoseconds(self.ready)
    }

    /// What was done, as it is told.
    pub fn told(&self) -> [Work; 3] {
        let [create, start, destroy] = self.done;
        [("create", create), ("start", start), ("destroy", destroy)].map(|(what, (times, ticks))| Work {
            what,
            times,
            ns: nanoseconds(ticks),
        })
    }
}
