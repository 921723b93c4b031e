//! Events in queues, the FIFO ABI: 131,071 ports, for a domain that asks for it. A program that does not has none of this in its image.
//!
//! Two of a vCPU's queues are used. From the one, of higher priority, events are taken as soon as they come; a port's word says whether one
//! has, until it is taken. In the other are the gathered ports. They stay there until somebody takes them, so that they cost neither an
//! interrupt each nor memory here.

use alloc::boxed::Box;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use spin::{Mutex, Once};
use xen_abi::errno::Errno;
use xen_abi::event_channel::fifo::{DEFAULT_PRIORITY, LINK, LINKED, MAX_PAGES, PENDING, WORDS_PER_PAGE};
use xen_abi::event_channel::{ControlBlock, ExpandArray, InitControl, SetPriority, op};
use xen_abi::xen::hypercall;

use super::{is_called, wake};
use crate::interrupts;
use crate::xen::call;
use crate::xen::page::Page;

/// Offsets in the control block.
const READY: usize = offset_of!(ControlBlock, ready);
const HEADS: usize = offset_of!(ControlBlock, head);

/// The queue of ports whose events are gathered, in which every port is at first, and that of others.
const GATHERED: Queue = Queue(DEFAULT_PRIORITY);
const SINGLE: Queue = Queue(DEFAULT_PRIORITY - 1);

static QUEUES: Once<Queues> = Once::new();

struct Queues {
    control: Page,
    /// The first event of each of both queues that is known and was not taken, or 0.
    heads: [AtomicU32; 2],
    /// Queues that are not empty.
    ready: AtomicU32,
    words: Box<[Once<Words>]>,
    /// How many pages of words there are.
    pages: Mutex<usize>,
}

/// A page of ports' words.
struct Words {
    page: Page,
    /// Which of the ports are gathered.
    gathered: [AtomicU64; WORDS_PER_PAGE as usize / 64],
}

impl Words {
    fn new() -> Self {
        Self { page: Page::new(), gathered: [const { AtomicU64::new(0) }; _] }
    }
}

/// Which queue, by its priority.
#[derive(Clone, Copy)]
struct Queue(u8);

impl Queue {
    const fn bit(self) -> u32 {
        1 << self.0
    }
}

/// Has events come in queues from now on. There must be no port yet.
///
/// # Errors
/// The hypervisor's.
pub(super) fn start() -> Result<(), Errno> {
    let control = Page::new();
    let mut argument = InitControl { control_gfn: control.frame(), offset: 0, vcpu: 0, link_bits: 0, pad: [0; 7] };
    // SAFETY: the page's words are atomic, so that the hypervisor may change them, and it stays.
    unsafe { call(hypercall::EVENT_CHANNEL_OP, op::INIT_CONTROL, &mut argument) }?;
    let words = (0..MAX_PAGES).map(|_| Once::new()).collect();
    let heads = [const { AtomicU32::new(0) }; 2];
    QUEUES.call_once(|| Queues { control, heads, ready: AtomicU32::new(0), words, pages: Mutex::new(0) });
    Ok(())
}

/// A port's word, if events come in queues.
pub(super) fn word(port: u32) -> Option<&'static AtomicU32> {
    QUEUES.get()?.words(port).map(|words| words.page.word(offset(port)))
}

/// Whether events come in queues.
pub(super) fn is_used() -> bool {
    QUEUES.is_completed()
}

pub(super) fn is_pending(word: &AtomicU32) -> bool {
    word.load(Ordering::Acquire) & PENDING != 0
}

pub(super) fn take(word: &AtomicU32) -> bool {
    word.fetch_and(!PENDING, Ordering::AcqRel) & PENDING != 0
}

/// Makes room for a new port's events, and has them come one by one, unless they are `gathered`.
pub(super) fn admit(port: u32, gathered: bool) {
    let Some(queues) = QUEUES.get() else { return };
    queues.grow_to(port);
    queues.set_gathered(port, gathered);
    if !gathered {
        let mut argument = SetPriority { port, priority: SINGLE.0.into() };
        // SAFETY: it changes no memory. It does not fail for a port that there is.
        let _ = unsafe { call(hypercall::EVENT_CHANNEL_OP, op::SET_PRIORITY, &mut argument) };
    }
}

/// A port was closed: whoever has its number next is not to be in the queue for single ports. The other may still have it.
pub(super) fn dismiss(port: u32) {
    let Some(queues) = QUEUES.get() else { return };
    queues.set_gathered(port, false);
    interrupts::masked(|| queues.take_single());
}

/// Takes what came by single ports off their queue and wakes who waits for it; whether something is gathered.
pub(super) fn collect(shared: &Page) -> bool {
    let Some(queues) = QUEUES.get() else { return false };
    while is_called(shared) {
        queues.take_single();
    }
    queues.look() & GATHERED.bit() != 0
}

/// Takes a gathered event, if there is one. By one task alone.
pub(super) fn take_gathered() -> Option<Option<u32>> {
    QUEUES.get().map(|queues| core::iter::from_fn(|| queues.next(GATHERED, 1)).find(|port| queues.is_wanted(*port)))
}

impl Queues {
    fn words(&self, port: u32) -> Option<&Words> {
        self.words.get((port / WORDS_PER_PAGE) as usize)?.get()
    }

    fn set_gathered(&self, port: u32, gathered: bool) {
        let Some(words) = self.words(port) else { return };
        let (word, bit) = gathered_bit(words, port);
        let _ = word.map(|word| match gathered {
            true => word.fetch_or(bit, Ordering::Relaxed),
            false => word.fetch_and(!bit, Ordering::Relaxed),
        });
    }

    /// Wakes those who wait for events in the queue for single ports, which is empty then.
    fn take_single(&self) {
        while let Some(port) = self.next(SINGLE, 0) {
            wake(port);
        }
    }

    /// Takes the event of a gathered port that was in the queue. A single one may have been there since another had its number.
    fn is_wanted(&self, port: u32) -> bool {
        let Some(words) = self.words(port) else { return false };
        let (gathered, bit) = gathered_bit(words, port);
        if gathered.is_some_and(|gathered| gathered.load(Ordering::Relaxed) & bit != 0) {
            return take(words.page.word(offset(port)));
        }
        interrupts::masked(|| wake(port));
        false
    }

    /// Which queues are not empty.
    fn look(&self) -> u32 {
        let news = self.control.word(READY).swap(0, Ordering::AcqRel);
        self.ready.fetch_or(news, Ordering::AcqRel) | news
    }

    /// Takes the first event of a queue off it: its port. `head` is the queue's place among the heads.
    fn next(&self, queue: Queue, head: usize) -> Option<u32> {
        interrupts::masked(|| self.take_first(queue, head))
    }

    /// The same while no interrupt comes.
    fn take_first(&self, queue: Queue, head: usize) -> Option<u32> {
        if self.look() & queue.bit() == 0 {
            return None;
        }
        let known = self.heads.get(head)?;
        let first = match known.load(Ordering::Relaxed) {
            0 => self.control.word(HEADS + usize::from(queue.0) * 4).load(Ordering::Acquire),
            first => first,
        };
        let word = self.words(first).map(|words| words.page.word(offset(first)));
        let next = word.map_or(0, |word| word.fetch_and(!(LINKED | LINK), Ordering::AcqRel) & LINK);
        known.store(next, Ordering::Relaxed);
        if next == 0 {
            // Whatever comes from here on is announced anew.
            self.ready.fetch_and(!queue.bit(), Ordering::AcqRel);
        }
        Some(first)
    }

    /// Gives the hypervisor pages of words up to that of `port`.
    fn grow_to(&self, port: u32) {
        interrupts::masked(|| {
            let mut pages = self.pages.lock();
            while let Some(place) = self.words.get(*pages).filter(|_| *pages <= (port / WORDS_PER_PAGE) as usize) {
                let page = &place.call_once(Words::new).page;
                let mut argument = ExpandArray { array_gfn: page.frame() };
                // SAFETY: as for the control block. If it fails, the port's events are lost, and no one else's.
                let _ = unsafe { call(hypercall::EVENT_CHANNEL_OP, op::EXPAND_ARRAY, &mut argument) };
                *pages += 1;
            }
        });
    }
}

/// Offset of a port's word in its page.
const fn offset(port: u32) -> usize {
    (port % WORDS_PER_PAGE) as usize * size_of::<u32>()
}

/// Where it stands whether a port is gathered.
fn gathered_bit(words: &Words, port: u32) -> (Option<&AtomicU64>, u64) {
    (words.gathered.get((port % WORDS_PER_PAGE) as usize / 64), 1 << (port % 64))
}
