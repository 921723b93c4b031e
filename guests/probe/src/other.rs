//! The other guest: it offers an event channel and some pages, and waits for its end.

use core::sync::atomic::Ordering;
use core::time::Duration;

use mote_unikernel::time;
use mote_unikernel::xen::events::Port;
use mote_unikernel::xen::grants::Grant;
use mote_unikernel::xen::page::Page;

/// The grants, in the order in which they are made: one to be written, and one to be read alone.
pub const WRITABLE: u32 = 8;
/// As above.
pub const READ_ONLY: u32 = 9;
/// Made for somebody else.
pub const SOMEBODY_ELSE_S: u32 = 10;
/// What is in all of them, but in the first word of the first, where the port is.
pub const CONTENT: u64 = 0x0123_4567_89ab_cdef;

/// Offers them to `peer`.
pub fn serve(peer: u16) -> ! {
    let port = Port::offer(peer).expect("a port");
    let page = || {
        let page = Page::new();
        (0..512).for_each(|word| page.double(word * 8).store(CONTENT, Ordering::Relaxed));
        page
    };
    let first = page();
    let grants = [(peer, page(), false), (peer + 5, page(), true)];
    let writable = Grant::new(peer, first, true).expect("a grant");
    let _others = grants.map(|(user, page, writable)| Grant::new(user, page, writable).expect("a grant"));
    // Last, because the other end looks for it.
    writable.page().double(0).store(port.number().into(), Ordering::Release);
    loop {
        time::sleep(Duration::from_secs(1));
    }
}
