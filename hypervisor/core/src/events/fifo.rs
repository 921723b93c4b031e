//! Events in queues: each event is a word with a link to the next, each vCPU has a queue for each priority.
//!
//! The guest takes events off the heads while they are put to the tails, and it may write anything at any time; then its own
//! events are lost and nothing else.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};

use xen_abi::errno::Errno;
use xen_abi::event_channel::{ControlBlock, fifo::*};

use super::Page;
use crate::id::VcpuId;

/// Where a port's events go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placement {
    /// Which queue they go to from now on.
    pub priority: u8,
    /// Which queue they may still be in.
    pub last: (VcpuId, u8),
    /// An event came when there was no word for it.
    pub pending: bool,
}

impl Placement {
    pub const DEFAULT: Self = Self { priority: DEFAULT_PRIORITY, last: (VcpuId(0), DEFAULT_PRIORITY), pending: false };
}

/// A vCPU's queues.
struct Queues<P> {
    control: Option<(P, usize)>,
    /// The port that each ends with; 0 if it is empty.
    tails: [u32; QUEUES],
}

pub(super) struct Fifo<P> {
    pages: Vec<P>,
    vcpus: Vec<Queues<P>>,
}

impl<P: Page> Fifo<P> {
    pub fn new(vcpus: usize) -> Result<Self, Errno> {
        let mut queues = Vec::new();
        queues.try_reserve_exact(vcpus).map_err(|_| Errno::ENOMEM)?;
        queues.resize_with(vcpus, || Queues { control: None, tails: [0; QUEUES] });
        Ok(Self { pages: Vec::new(), vcpus: queues })
    }

    pub fn set_control(&mut self, vcpu: VcpuId, page: P, offset: usize) -> Result<(), Errno> {
        let queues = self.vcpus.get_mut(usize::from(vcpu.0)).ok_or(Errno::ENOENT)?;
        if queues.control.is_some() {
            return Err(Errno::EINVAL);
        }
        queues.control = Some((page, offset));
        Ok(())
    }

    /// The first port whose word is in the page.
    pub fn add_page(&mut self, page: P) -> Result<u32, Errno> {
        if self.pages.len() >= MAX_PAGES {
            return Err(Errno::ENOSPC);
        }
        self.pages.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        self.pages.push(page);
        Ok((self.pages.len() as u32 - 1) * WORDS_PER_PAGE)
    }

    fn word(&self, port: u32) -> Option<&AtomicU32> {
        let page = self.pages.get((port / WORDS_PER_PAGE) as usize)?;
        Some(page.word((port % WORDS_PER_PAGE) as usize * 4))
    }

    pub fn is_pending(&self, port: u32) -> bool {
        self.word(port).is_some_and(|word| word.load(Ordering::Acquire) & PENDING != 0)
    }

    pub fn clear_pending(&self, port: u32) {
        if let Some(word) = self.word(port) {
            word.fetch_and(!PENDING, Ordering::AcqRel);
        }
    }

    /// Whether the event is pending, so that it must be put into its queue.
    pub fn unmask(&self, port: u32) -> bool {
        self.word(port).is_some_and(|word| word.fetch_and(!MASKED, Ordering::AcqRel) & PENDING != 0)
    }

    /// Whether the event is new, and whether its vCPU is to be told.
    pub fn set_pending(&mut self, port: u32, vcpu: VcpuId, placement: &mut Placement) -> (bool, bool) {
        let Some(word) = self.word(port) else {
            placement.pending = true;
            return (false, false);
        };
        let is_new = word.fetch_or(PENDING, Ordering::AcqRel) & PENDING == 0;
        if self.control(vcpu).is_none() {
            return (is_new, false);
        }
        let stays = word.load(Ordering::Acquire) & MASKED != 0 || word.fetch_or(LINKED, Ordering::AcqRel) & LINKED != 0;
        (is_new, !stays && self.enqueue(port, vcpu, placement))
    }

    /// Puts a port to the end of its queue; whether the vCPU is to be told that the queue is not empty any more.
    fn enqueue(&mut self, port: u32, vcpu: VcpuId, placement: &mut Placement) -> bool {
        let queue = (vcpu, placement.priority);
        if let Some(old) = self.tail(placement.last).filter(|old| **old == port) {
            *old = 0;
        }
        placement.last = queue;
        let Some(tail) = self.tail(queue) else { return false };
        let before = core::mem::replace(tail, port);
        if before != 0 && self.word(before).is_some_and(|word| link(word, port)) {
            return false;
        }
        let Some((page, at)) = self.control(vcpu) else { return false };
        let bit = 1 << queue.1;
        page.word(at + HEADS + usize::from(queue.1) * 4).store(port, Ordering::Release);
        page.word(at).fetch_or(bit, Ordering::AcqRel) & bit == 0
    }

    fn control(&self, vcpu: VcpuId) -> Option<(&P, usize)> {
        let (page, offset) = self.vcpus.get(usize::from(vcpu.0))?.control.as_ref()?;
        Some((page, *offset))
    }

    fn tail(&mut self, (vcpu, priority): (VcpuId, u8)) -> Option<&mut u32> {
        self.vcpus.get_mut(usize::from(vcpu.0))?.tails.get_mut(usize::from(priority))
    }
}

/// Offset of the queues' heads in a control block.
const HEADS: usize = core::mem::offset_of!(ControlBlock, head);

/// How often a link is tried to be set against a guest that changes it.
const TRIES: usize = 4;

/// Sets the link of an event that is in a queue; `false` if it is in none any more.
fn link(word: &AtomicU32, next: u32) -> bool {
    let linked = |word: u32| (word & LINKED != 0).then_some(word & !(BUSY | LINK) | next);
    let attempt = || {
        let before = word.load(Ordering::Acquire);
        let after = linked(before)?;
        Some(word.compare_exchange(before, after, Ordering::AcqRel, Ordering::Relaxed).is_ok())
    };
    match attempt() {
        None => return false,
        Some(true) => return true,
        Some(false) => {}
    }
    // Keeps a guest that goes by the rules from unmasking meanwhile.
    word.fetch_or(BUSY, Ordering::AcqRel);
    let result = (0..TRIES).map(|_| attempt()).find(|result| *result != Some(false));
    if result != Some(Some(true)) {
        word.fetch_and(!BUSY, Ordering::AcqRel);
    }
    // A guest that does not let the link be set loses the event.
    result != Some(None)
}
