//! Looks at a machine again and again while something is done to it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use miette::miette;

use super::ways::Sample;
use crate::failure::{Failure, Result};
use crate::running::Client;

/// From one look to the next.
const PAUSE: Duration = Duration::from_millis(25);

/// Does `work` and looks at the machine and the domains called `names` meanwhile.
///
/// # Errors
///
/// `work` fails, or the machine does not answer.
pub fn during<T>(client: &Client, names: &[&str], work: impl FnOnce() -> Result<T>) -> Result<(T, Vec<Sample>)> {
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut samples = vec![Sample::take(client, names)?];
            while !is_done.load(Ordering::Relaxed) {
                thread::sleep(PAUSE);
                samples.push(Sample::take(client, names)?);
            }
            Ok::<_, Failure>(samples)
        });
        let worked = work();
        is_done.store(true, Ordering::Relaxed);
        let samples = watcher.join().map_err(|_| Failure::unable(miette!("the look at the machine panicked")))?;
        Ok((worked?, samples?))
    })
}
