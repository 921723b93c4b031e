//! Events as bits of the shared page, the format to which every guest is born: 4,096 ports.

use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering};

use xen_abi::xen::{SharedInfo, VcpuInfo};

use super::{is_called, wake};
use crate::xen::page::Page;

/// Offsets in the shared page.
const PENDING: usize = offset_of!(SharedInfo, evtchn_pending);
const MASK: usize = offset_of!(SharedInfo, evtchn_mask);
const SEL: usize = offset_of!(VcpuInfo, evtchn_pending_sel);
/// Words of 64 ports each: all that there are in this format.
const WORDS: usize = 64;

/// Events that came and were not taken yet.
static CAME: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];
/// Ports whose events one task takes, and in which words some came.
static GATHERED: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];
static GATHERED_CAME: AtomicU64 = AtomicU64::new(0);

/// The word that a port's bit is in, and the bit.
fn place(words: &'static [AtomicU64; WORDS], port: u32) -> (Option<&'static AtomicU64>, u64) {
    (words.get(port as usize / 64), 1 << (port % 64))
}

/// Takes what is pending out of the shared page and wakes who waits for it; whether some of it is gathered.
pub(super) fn collect(shared: &Page) -> bool {
    while is_called(shared) {
        let mut words = shared.double(SEL).swap(0, Ordering::AcqRel);
        while words != 0 {
            let word = words.trailing_zeros();
            words &= words - 1;
            let offset = word as usize * 8;
            let masked = shared.double(MASK + offset).load(Ordering::Acquire);
            let came = shared.double(PENDING + offset).fetch_and(masked, Ordering::AcqRel) & !masked;
            note(word, came);
        }
    }
    GATHERED_CAME.load(Ordering::Relaxed) != 0
}

fn note(word: u32, came: u64) {
    let (Some(known), Some(gathered)) = (CAME.get(word as usize), GATHERED.get(word as usize)) else { return };
    known.fetch_or(came, Ordering::AcqRel);
    let gathered = gathered.load(Ordering::Relaxed);
    if gathered & came != 0 {
        GATHERED_CAME.fetch_or(1 << word, Ordering::AcqRel);
    }
    let mut single = came & !gathered;
    while single != 0 {
        wake(word * 64 + single.trailing_zeros());
        single &= single - 1;
    }
}

/// Forgets everything that came.
pub(super) fn forget() {
    CAME.iter().for_each(|word| word.store(0, Ordering::Release));
}

pub(super) fn has_come(port: u32) -> bool {
    let (word, bit) = place(&CAME, port);
    word.is_some_and(|word| word.load(Ordering::Acquire) & bit != 0)
}

pub(super) fn take(port: u32) -> bool {
    let (word, bit) = place(&CAME, port);
    word.is_some_and(|word| word.fetch_and(!bit, Ordering::AcqRel) & bit != 0)
}

/// Has a port's events gathered from now on, or not any more.
pub(super) fn gather(port: u32, is_to: bool) {
    let (word, bit) = place(&GATHERED, port);
    let _ = word.map(|word| match is_to {
        true => word.fetch_or(bit, Ordering::AcqRel),
        false => word.fetch_and(!bit, Ordering::AcqRel),
    });
}

pub(super) fn take_gathered() -> Option<u32> {
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
