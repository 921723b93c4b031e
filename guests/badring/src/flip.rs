//! Another vCPU, which changes words of a page while a back end reads them.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::time::Duration;

use alloc::boxed::Box;
use mote_unikernel::cpus::{self, AffinityState};
use mote_unikernel::xen::grants::Grant;
use mote_unikernel::xen::page::Page;
use spin::Mutex;

use crate::until;

/// The page, and from which word on it is changed.
static PAGE: Mutex<Option<&'static Page>> = Mutex::new(None);
static FIRST: AtomicUsize = AtomicUsize::new(0);
static ON: AtomicBool = AtomicBool::new(false);

/// For how long words are changed.
pub const FLIPPING: Duration = Duration::from_millis(400);

/// What words become: what is likely to hurt.
const VALUES: [u32; 12] = [0, 1, 2, 8, 12, 0xff, 0x0700, 0x0fff_0010, 0x8000_0000, 0xffff_0000, 0x0040_0040, u32::MAX];

/// Changes words of `page` until [`stop`]. The page is lost.
pub fn start(page: Grant, first: usize) -> &'static Grant {
    let page = &*Box::leak(Box::new(page));
    *PAGE.lock() = Some(page.page());
    FIRST.store(first, Ordering::Release);
    ON.store(true, Ordering::Release);
    cpus::start(1, change).expect("a second vCPU");
    page
}

/// Stops it.
pub async fn stop() {
    ON.store(false, Ordering::Release);
    until("the end of the second vCPU", || cpus::state(1) == Ok(AffinityState::Off)).await;
}

fn change() {
    let Some(page) = *PAGE.lock() else { return };
    let first = FIRST.load(Ordering::Acquire);
    let mut number = 0x9e37_79b9_u32;
    while ON.load(Ordering::Acquire) {
        number = number.wrapping_mul(0x0019_660d).wrapping_add(0x3c6e_f35f);
        let word = first + (number >> 16) as usize % (1024 - first);
        let value = VALUES[(number >> 8) as usize % VALUES.len()];
        page.word(word * 4).store(value, Ordering::Relaxed);
    }
}
