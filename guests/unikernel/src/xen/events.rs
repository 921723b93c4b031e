//! Event channels: a port to another domain, to the hypervisor, or to this domain itself.
//!
//! Events use the 2-level format and the boot vCPU. An event that came is remembered until somebody takes it, so none is lost between
//! looking and waiting.

use core::future::poll_fn;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use core::task::{Context, Poll, Waker};

use alloc::vec::Vec;
use arm_gic::IntId;
use spin::{Mutex, Once};
use xen_abi::Zeroed;
use xen_abi::arch_arm::EVENT_CHANNEL_INTID;
use xen_abi::errno::Errno;
use xen_abi::event_channel::{AllocUnbound, BindInterdomain, BindVirq, Port as Argument, Status, op, status};
use xen_abi::memory::space;
use xen_abi::xen::{SharedInfo, VcpuInfo, domid, hypercall};

use super::page::Page;
use super::{call, hypercall::hypercall as raw};
use crate::{Machine, arch, interrupts, template};

/// Offsets in the shared page.
const PENDING: usize = offset_of!(SharedInfo, evtchn_pending);
const MASK: usize = offset_of!(SharedInfo, evtchn_mask);
const SEL: usize = offset_of!(VcpuInfo, evtchn_pending_sel);
/// `vcpu_info.evtchn_upcall_pending`.
const UPCALL_PENDING: u32 = 0xff;
/// Words of 64 ports each: all that there are in this format.
const WORDS: usize = 64;

static SHARED: Once<Page> = Once::new();
/// Events that came and were not taken yet.
static CAME: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];
/// How often something came.
static TIMES: AtomicU64 = AtomicU64::new(0);
/// Who waits for which port, and for any.
static WAITING: Mutex<Vec<(u32, Waker)>> = Mutex::new(Vec::new());
const ANY: u32 = 0;
/// Ports whose events one task takes, in which words some came, and that task.
static GATHERED: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];
static GATHERED_CAME: AtomicU64 = AtomicU64::new(0);
static GATHERER: Mutex<Option<Waker>> = Mutex::new(None);

/// Maps the shared page and has events delivered, once.
fn start() {
    SHARED.call_once(|| {
        let page = Page::new();
        page.replace(space::SHARED_INFO, 0).expect("a hypervisor with Xen's shared page");
        page
    });
    static HANDLER: Once = Once::new();
    HANDLER.call_once(|| {
        let interrupt = Machine::get().and_then(Machine::event_interrupt);
        let standard = IntId::ppi(EVENT_CHANNEL_INTID - 16);
        interrupts::register(interrupt.unwrap_or(standard), |_| collect());
    });
}

/// Forgets what came for the template of which this domain is a clone: its ports are closed here, but for `kept`, if that is not 0.
pub(crate) fn forget(kept: u32) {
    CAME.iter().for_each(|word| word.store(0, Ordering::Release));
    KEPT.store(kept, Ordering::Release);
}

/// The port that a clone has in common with its template, if it is not 0.
static KEPT: AtomicU32 = AtomicU32::new(0);

/// The shared page, for those who want to see what the hypervisor does to it.
pub fn shared() -> &'static Page {
    start();
    SHARED.get().expect("started")
}

/// Takes what is pending out of the shared page.
fn collect() {
    let Some(shared) = SHARED.get() else { return };
    while shared.word(0).fetch_and(!UPCALL_PENDING, Ordering::AcqRel) & UPCALL_PENDING != 0 {
        let mut words = shared.double(SEL).swap(0, Ordering::AcqRel);
        while words != 0 {
            let word = words.trailing_zeros() as usize;
            words &= words - 1;
            let masked = shared.double(MASK + word * 8).load(Ordering::Acquire);
            let came = shared.double(PENDING + word * 8).fetch_and(masked, Ordering::AcqRel) & !masked;
            if let (Some(known), Some(gathered)) = (CAME.get(word), GATHERED.get(word)) {
                known.fetch_or(came, Ordering::AcqRel);
                if gathered.load(Ordering::Relaxed) & came != 0 {
                    GATHERED_CAME.fetch_or(1 << word, Ordering::AcqRel);
                }
            }
        }
    }
    if GATHERED_CAME.load(Ordering::Relaxed) != 0
        && let Some(waker) = GATHERER.lock().take()
    {
        waker.wake();
    }
    TIMES.fetch_add(1, Ordering::AcqRel);
    let ready = |(port, _): &mut (u32, Waker)| *port == ANY || has_come(*port);
    WAITING.lock().extract_if(.., ready).for_each(|(_, waker)| waker.wake());
}

/// Notes who is to be woken by an event of `port`. Whoever looks again before it comes is noted once.
fn wait_for(port: u32, waker: &Waker) {
    let mut waiting = WAITING.lock();
    if !waiting.iter().any(|(other, known)| *other == port && known.will_wake(waker)) {
        waiting.push((port, waker.clone()));
    }
}

/// Waits for an event of any [gathered](Port::gather) port and takes it: however many there are, that takes no longer. For one task.
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
    loop {
        let word = GATHERED_CAME.load(Ordering::Acquire).trailing_zeros();
        let (came, gathered) = (CAME.get(word as usize)?, GATHERED.get(word as usize)?);
        // Whatever comes from here on is noted anew.
        GATHERED_CAME.fetch_and(!(1 << word), Ordering::AcqRel);
        let ports = came.load(Ordering::Acquire) & gathered.load(Ordering::Acquire);
        if ports == 0 {
            continue;
        }
        let first = ports & ports.wrapping_neg();
        came.fetch_and(!first, Ordering::AcqRel);
        if ports != first {
            GATHERED_CAME.fetch_or(1 << word, Ordering::AcqRel);
        }
        return Some(word * 64 + first.trailing_zeros());
    }
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
            wait_for(ANY, context.waker());
            Poll::Pending
        })
    })
    .await;
}

fn has_come(port: u32) -> bool {
    let word = CAME.get(port as usize / 64);
    word.is_some_and(|word| word.load(Ordering::Acquire) >> (port % 64) & 1 != 0)
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
        start();
        let mut argument = BindInterdomain { remote_dom: remote, pad: 0, remote_port, local_port: 0 };
        // SAFETY: as above.
        unsafe { call(hypercall::EVENT_CHANNEL_OP, op::BIND_INTERDOMAIN, &mut argument) }?;
        Ok(Self::new(argument.local_port))
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

    /// Has its events taken by [`gathered`].
    #[must_use]
    pub fn gather(self) -> Self {
        if let Some(word) = GATHERED.get(self.number as usize / 64) {
            word.fetch_or(1 << (self.number % 64), Ordering::AcqRel);
        }
        self
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
        let (word, bit) = (self.number as usize / 64, 1 << (self.number % 64));
        CAME.get(word).is_some_and(|word| word.fetch_and(!bit, Ordering::AcqRel) & bit != 0)
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
            wait_for(self.number, context.waker());
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
        if let Some(word) = GATHERED.get(self.number as usize / 64) {
            word.fetch_and(!(1 << (self.number % 64)), Ordering::AcqRel);
        }
        let _ = self.take();
    }
}
