//! Tasks: futures that run by turns on the boot vCPU, which sleeps when all of them wait.
//!
//! A task waits for an event ([`crate::xen::events::Port::event`]), for a time ([`sleep`]), or for whatever else wakes its waker; an
//! interrupt handler may do so.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::task::Wake;
use alloc::vec::Vec;
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use crate::time::{self, Instant};
use crate::{arch, interrupts};

/// Whether a task is worth a look.
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

struct Task<'a> {
    future: Pin<Box<dyn Future<Output = ()> + 'a>>,
    flag: Arc<Flag>,
    waker: Waker,
}

/// Tasks that are to run.
#[derive(Default)]
pub struct Executor<'a> {
    tasks: Vec<Task<'a>>,
}

impl<'a> Executor<'a> {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self { tasks: Vec::new() }
    }

    /// One more.
    pub fn spawn(&mut self, future: impl Future<Output = ()> + 'a) {
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        let waker = Waker::from(flag.clone());
        self.tasks.push(Task { future: Box::pin(future), flag, waker });
    }

    /// Runs the tasks until all are done.
    pub fn run(mut self) {
        while !self.tasks.is_empty() {
            self.tasks.retain_mut(|task| {
                !task.flag.0.swap(false, Ordering::AcqRel)
                    || task.future.as_mut().poll(&mut Context::from_waker(&task.waker)).is_pending()
            });
            interrupts::masked(|| {
                let idle = self.tasks.iter().all(|task| !task.flag.0.load(Ordering::Acquire));
                if idle && !self.tasks.is_empty() {
                    arch::wait_for_interrupt();
                }
            });
        }
    }
}

/// Runs one task to its end.
pub fn run(future: impl Future<Output = ()>) {
    let mut executor = Executor::new();
    executor.spawn(future);
    executor.run();
}

/// Waits for a length of time, while other tasks run.
pub async fn sleep(length: Duration) {
    let deadline = Instant::now() + length;
    poll_fn(|context| {
        if Instant::now() >= deadline {
            return Poll::Ready(());
        }
        time::wake_at(deadline, context.waker().clone());
        Poll::Pending
    })
    .await;
}
