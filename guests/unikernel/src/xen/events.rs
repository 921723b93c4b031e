//! Event channels: a port to another domain, to the hypervisor, or to this domain itself.
//!
//! Events come to the boot vCPU. One that came is remembered until somebody takes it, so none is lost between looking and waiting. They
//! come as `bits` of the shared page, or in `queues` if the program asks for [`many`] ports; nobody else sees which.

mod bits;
mod queues;
mod waiting;

use core::future::poll_fn;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use core::task::{Context, Poll, Waker};

use arm_gic::IntId;
use spin::{Mutex, Once};
use xen_abi::Zeroed;
use xen_abi::arch_arm::EVENT_CHANNEL_INTID;
use xen_abi::errno::Errno;
use xen_abi::event_channel::{AllocUnbound, BindInterdomain, BindVirq, Port as Argument, Status, op, status};
use xen_abi::memory::space;
use xen_abi::xen::{domid, hypercall};

use super::page::Page;
use super::{call, hypercall::hypercall as raw};
use crate::{Machine, arch, interrupts, template};
use waiting::Waiting;

/// `vcpu_info.evtchn_upcall_pending`, in the first word of the shared page.
const UPCALL_PENDING: u32 = 0xff;

static SHARED: Once<Page> = Once::new();
/// How often something came.
static TIMES: AtomicU64 = AtomicU64::new(0);
/// Who waits for which port, and for any.
static WAITING: Mutex<Waiting> = Mutex::new(Waiting::NOBODY);
const ANY: u32 = 0;
/// Who takes the events of gathered ports.
static GATHERER: Mutex<Option<Waker>> = Mutex::new(None);
/// Whether there was ever a port.
static IS_USED: AtomicBool = AtomicBool::new(false);

/// Maps the shared page and has events delivered, once.
fn start() {
    SHARED.call_once(|| {
        let page = Page::new();
        page.replace(space::SHARED_INFO, 0).expect("a hypervisor with Xen's shared page");
        page
    });
    static HANDLER: Once = Once::new();
    HANDLER.call_once(|| interrupts::register(interrupt(), |_| collect(bits::collect)));
}

fn interrupt() -> IntId {
    let named = Machine::get().and_then(Machine::event_interrupt);
    named.unwrap_or(IntId::ppi(EVENT_CHANNEL_INTID - 16))
}

/// Has events come in a way that has room for more than 4,095 ports, as many as the hypervisor lets the domain have. To be called before
/// there is a port; then the domain cannot become a template.
///
/// # Errors
/// `EBUSY` if it is too late, and the hypervisor's; then events come as before.
pub fn many() -> Result<(), Errno> {
    start();
    if IS_USED.load(Ordering::Relaxed) {
        return Err(Errno::EBUSY);
    }
    queues::start()?;
    interrupts::register(interrupt(), |_| collect(queues::collect));
    Ok(())
}

/// Whether a template's clones could go on with the events that it has.
pub(crate) fn is_plain() -> bool {
    !queues::is_used()
}

/// Forgets what came for the template of which this domain is a clone: its ports are closed here, but for `kept`, if that is not 0.
pub(crate) fn forget(kept: u32) {
    bits::forget();
    KEPT.store(kept, Ordering::Release);
}

/// The port that a clone has in common with its template, if it is not 0.
static KEPT: AtomicU32 = AtomicU32::new(0);

/// The shared page, for those who want to see what the hypervisor does to it.
pub fn shared() -> &'static Page {
    start();
    SHARED.get().expect("started")
}

/// Whether the hypervisor has told of something since this was asked last.
fn is_called(shared: &Page) -> bool {
    shared.word(0).fetch_and(!UPCALL_PENDING, Ordering::AcqRel) & UPCALL_PENDING != 0
}

/// Has `format` take what came, and wakes those who wait for it.
fn collect(format: impl FnOnce(&Page) -> bool) {
    let Some(shared) = SHARED.get() else { return };
    if format(shared)
        && let Some(waker) = GATHERER.lock().take()
    {
        waker.wake();
    }
    TIMES.fetch_add(1, Ordering::AcqRel);
    wake(ANY);
}

fn wake(port: u32) {
    WAITING.lock().wake(port);
}

/// Waits for an event of any port that a clone was [made](super::domains::clone_linked) with and takes it: however many there are, that takes no longer. For one task.
pub async fn gathered() -> u32 {
    poll_fn(|context| {
        interrupts::masked(|| {
            let port = take_gathered();
            if port.is_none() {
                *GATHERER.lock() = Some(context.waker().clone());
            }
            port.map_or(Poll::Pending, Poll::Ready)
        })
    })
    .await
}

/// Takes an event of a gathered port, if there is one.
pub fn take_gathered() -> Option<u32> {
    queues::take_gathered().unwrap_or_else(bits::take_gathered)
}

/// How often events have come, whichever they were. To be asked before looking at ports, for [`any`].
#[must_use]
pub fn times() -> u64 {
    start();
    TIMES.load(Ordering::Acquire)
}

/// Waits for an event of any port that came after [`times`] was `seen`, and takes none: for whoever looks at many ports.
pub async fn any(seen: u64) {
    poll_fn(|context| {
        interrupts::masked(|| {
            if times() != seen {
                return Poll::Ready(());
            }
            WAITING.lock().note(ANY, context.waker());
            Poll::Pending
        })
    })
    .await;
}

fn has_come(port: u32) -> bool {
    queues::word(port).map_or_else(|| bits::has_come(port), queues::is_pending)
}

/// One end of an event channel. It is closed when it is dropped.
#[derive(Debug)]
pub struct Port {
    number: u32,
    // Who made it: to a clone its template's ports are nothing.
    made_by: u32,
}

impl Port {
    fn new(number: u32) -> Self {
        Self::admitted(number, false)
    }

    fn admitted(number: u32, gathered: bool) -> Self {
        IS_USED.store(true, Ordering::Relaxed);
        queues::admit(number, gathered);
        Self { number, made_by: template::generation() }
    }

    fn is_closed(&self) -> bool {
        self.made_by != template::generation() && self.number != KEPT.load(Ordering::Acquire)
    }

    /// A port that domain `remote` may connect to.
    ///
    /// # Errors
    /// The hypervisor's.
    pub fn offer(remote: u16) -> Result<Self, Errno> {
        start();
        let mut argument = AllocUnbound { dom: domid::SELF, remote_dom: remote, port: 0 };
        // SAFETY: it changes the structure alone.
        unsafe { call(hypercall::EVENT_CHANNEL_OP, op::ALLOC_UNBOUND, &mut argument) }?;
        Ok(Self::new(argument.port))
    }

    /// A port that is connected to port `remote_port`, which domain `remote` offers.
    ///
    /// # Errors
    /// The hypervisor's: `EINVAL` as long as there is no such offer.
    pub fn connect(remote: u16, remote_port: u32) -> Result<Self, Errno> {
        Self::bind(remote, remote_port).map(Self::new)
    }

    /// The same, of a port whose events are [`gathered`]. One that came before this returns may be missed.
    ///
    /// # Errors
    /// As [`Port::connect`].
    pub fn connect_gathered(remote: u16, remote_port: u32) -> Result<Self, Errno> {
        Self::bind(remote, remote_port).map(Self::new_gathered)
    }

    fn bind(remote: u16, remote_port: u32) -> Result<u32, Errno> {
        start();
        let mut argument = BindInterdomain { remote_dom: remote, pad: 0, remote_port, local_port: 0 };
        // SAFETY: as above.
        unsafe { call(hypercall::EVENT_CHANNEL_OP, op::BIND_INTERDOMAIN, &mut argument) }?;
        Ok(argument.local_port)
    }

    /// A port for virtual interrupt `virq` of the boot vCPU.
    ///
    /// # Errors
    /// The hypervisor's: `EEXIST` if it is bound already.
    pub fn virq(virq: u32) -> Result<Self, Errno> {
        start();
        let mut argument = BindVirq { virq, vcpu: 0, port: 0 };
        // SAFETY: as above.
        unsafe { call(hypercall::EVENT_CHANNEL_OP, op::BIND_VIRQ, &mut argument) }?;
        Ok(Self::new(argument.port))
    }

    /// A port that was there before the guest ran, because the configuration asks for it.
    #[must_use]
    pub fn existing(number: u32) -> Self {
        start();
        Self::new(number)
    }

    /// A port that is new to the library, whose events are [`gathered`].
    pub(crate) fn new_gathered(number: u32) -> Self {
        start();
        bits::gather(number, true);
        Self::admitted(number, true)
    }

    /// Whether somebody is at the other end. Who ends sends an event by that.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        let mut argument = Status { dom: domid::SELF, port: self.number, ..Status::new_zeroed() };
        // SAFETY: it changes the structure alone.
        let asked = unsafe { call(hypercall::EVENT_CHANNEL_OP, op::STATUS, &mut argument) };
        asked.is_ok() && argument.status == status::INTERDOMAIN
    }

    /// Its number.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// Sends an event. Memory written before is seen by whoever takes it.
    ///
    /// # Errors
    /// The hypervisor's.
    pub fn notify(&self) -> Result<(), Errno> {
        if self.is_closed() {
            return Err(Errno::EINVAL);
        }
        let argument = Argument { port: self.number };
        let address = (&raw const argument).addr() as u64;
        // SAFETY: it reads the structure alone.
        unsafe { raw(hypercall::EVENT_CHANNEL_OP, [op::SEND, address, 0, 0, 0]) }.map(drop)
    }

    /// Whether an event has come since the last was taken; takes it.
    #[must_use]
    pub fn take(&self) -> bool {
        queues::word(self.number).map_or_else(|| bits::take(self.number), queues::take)
    }

    /// Waits for an event and takes it, while other tasks run.
    pub async fn event(&self) {
        poll_fn(|context| self.poll_event(context)).await;
    }

    /// Takes an event, or has the task woken by the next one.
    pub fn poll_event(&self, context: &mut Context<'_>) -> Poll<()> {
        interrupts::masked(|| {
            if self.take() {
                return Poll::Ready(());
            }
            WAITING.lock().note(self.number, context.waker());
            Poll::Pending
        })
    }

    /// Waits for an event and takes it; the vCPU is given up in the meantime.
    pub fn wait(&self) {
        while !self.take() {
            interrupts::masked(|| {
                if !has_come(self.number) {
                    arch::wait_for_interrupt();
                }
            });
        }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        if self.is_closed() {
            return;
        }
        let mut argument = Argument { port: self.number };
        // SAFETY: it reads the structure alone.
        let _ = unsafe { call(hypercall::EVENT_CHANNEL_OP, op::CLOSE, &mut argument) };
        bits::gather(self.number, false);
        queues::dismiss(self.number);
        interrupts::masked(|| WAITING.lock().forget(self.number));
        let _ = self.take();
    }
}
