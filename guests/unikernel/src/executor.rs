//! Tasks: futures that run by turns on the boot vCPU, which sleeps when all of them wait.
//!
//! A task waits for an event ([`crate::xen::events::Port::event`]), for a time ([`sleep`]), or for whatever else wakes its waker; an
//! interrupt handler may do so.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::task::Wake;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use spin::Mutex;

use crate::time::{self, Instant};
use crate::{arch, interrupts};

/// Tasks that are worth a look, by their places, each once.
type Ready = Mutex<VecDeque<usize>>;

/// Whether a task is among them.
struct Flag {
    is_ready: AtomicBool,
    place: usize,
    ready: Arc<Ready>,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_ready.swap(true, Ordering::AcqRel) {
            interrupts::masked(|| self.ready.lock().push_back(self.place));
        }
    }
}

struct Task<'a> {
    future: Boxed<'a>,
    flag: Arc<Flag>,
    waker: Waker,
}

type Boxed<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Tasks that are to run.
#[derive(Default)]
pub struct Executor<'a> {
    /// A task's place is free when it has ended.
    tasks: Vec<Option<Task<'a>>>,
    free: Vec<usize>,
    ready: Arc<Ready>,
    spawner: Spawner<'a>,
}

/// With which a task starts other tasks.
#[derive(Clone, Default)]
pub struct Spawner<'a>(Rc<RefCell<Vec<Boxed<'a>>>>);

impl<'a> Spawner<'a> {
    /// One more task, which runs when those that are ready have had their turn.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'a) {
        self.0.borrow_mut().push(Box::pin(future));
    }
}

impl<'a> Executor<'a> {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One more.
    pub fn spawn(&mut self, future: impl Future<Output = ()> + 'a) {
        self.spawner.spawn(future);
    }

    /// For tasks that start others.
    #[must_use]
    pub fn spawner(&self) -> Spawner<'a> {
        self.spawner.clone()
    }

    /// Takes in what was spawned.
    fn admit(&mut self) {
        for future in core::mem::take(&mut *self.spawner.0.borrow_mut()) {
            let place = self.free.pop().unwrap_or(self.tasks.len());
            let flag = Arc::new(Flag { is_ready: AtomicBool::new(false), place, ready: self.ready.clone() });
            let waker = Waker::from(flag.clone());
            waker.wake_by_ref();
            let task = Some(Task { future, flag, waker });
            match self.tasks.get_mut(place) {
                Some(free) => *free = task,
                None => self.tasks.push(task),
            }
        }
    }

    /// Gives a task its turn. What wakes one that has ended may wake another in its place, which looks once in vain.
    fn poll(&mut self, place: usize) {
        let Some(Some(task)) = self.tasks.get_mut(place) else { return };
        task.flag.is_ready.store(false, Ordering::Release);
        if task.future.as_mut().poll(&mut Context::from_waker(&task.waker)).is_ready() {
            self.tasks[place] = None;
            self.free.push(place);
        }
    }

    fn next(&self) -> Option<usize> {
        interrupts::masked(|| self.ready.lock().pop_front())
    }

    /// Runs the tasks until all are done.
    pub fn run(mut self) {
        loop {
            self.admit();
            if self.tasks.len() == self.free.len() {
                return;
            }
            match self.next() {
                Some(place) => self.poll(place),
                None => interrupts::masked(|| {
                    if self.ready.lock().is_empty() {
                        arch::wait_for_interrupt();
                    }
                }),
            }
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
    sleep_until(Instant::now() + length).await;
}

/// Waits until `deadline`, while other tasks run.
pub async fn sleep_until(deadline: Instant) {
    poll_fn(|context| {
        if Instant::now() >= deadline {
            return Poll::Ready(());
        }
        time::wake_at(deadline, context.waker());
        Poll::Pending
    })
    .await;
}

/// Lets the other tasks that are ready have their turn.
pub async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if core::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// What came first of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Either<A, B> {
    /// The first; it is preferred if both are there.
    First(A),
    /// The second.
    Second(B),
}

/// Waits for one of two futures; the other ends unfinished.
pub async fn either<A, B>(first: impl Future<Output = A>, second: impl Future<Output = B>) -> Either<A, B> {
    let (mut first, mut second) = (pin!(first), pin!(second));
    poll_fn(|context| {
        if let Poll::Ready(value) = first.as_mut().poll(context) {
            return Poll::Ready(Either::First(value));
        }
        second.as_mut().poll(context).map(Either::Second)
    })
    .await
}
