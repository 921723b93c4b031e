//! Copies of parts of frames between a frontend's pages and this domain's, all of a list by one hypercall.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;

use mote_netback::{Local, Transfer};
use xen_abi::grant_table::{Copy, CopyEnd, op, option};
use xen_abi::xen::{domid, hypercall};

use super::hypercall::hypercall as raw;
use super::page::SIZE;

/// Room for a list of copies, which several may have in common.
#[derive(Clone, Default)]
pub struct Room(Rc<RefCell<Vec<Copy>>>);

/// Copies with one domain.
pub struct Transfers {
    granter: u16,
    room: Room,
}

impl Transfers {
    /// With domain `granter`.
    #[must_use]
    pub const fn new(granter: u16, room: Room) -> Self {
        Self { granter, room }
    }

    /// Makes the copies, and notes in each whether it was made.
    pub fn make(&mut self, transfers: &mut [Transfer<'_>]) {
        let granter = self.granter;
        let mut list = self.room.0.borrow_mut();
        list.clear();
        list.extend(transfers.iter_mut().map(|transfer| copy(granter, transfer)));
        let arguments = [op::COPY, list.as_mut_ptr().addr() as u64, list.len() as u64, 0, 0];
        // SAFETY: only the slices are written of which the transfers hold exclusive references, for as long as this takes; the list
        // itself is ours. A copy whose part here would not end in its page is refused by the hypervisor.
        let called = unsafe { raw(hypercall::GRANT_TABLE_OP, arguments) };
        for (transfer, copy) in transfers.iter_mut().zip(&*list) {
            transfer.done = called.is_ok() && copy.status == 0;
        }
    }
}

#[inline]
fn copy(granter: u16, transfer: &mut Transfer<'_>) -> Copy {
    let grant = CopyEnd { place: transfer.reference.into(), domid: granter, offset: transfer.offset, pad: 0 };
    match &mut transfer.local {
        Local::Fetch(to) => {
            let dest = here(to.as_mut_ptr().expose_provenance());
            Copy { source: grant, dest, len: to.len() as u16, flags: option::SOURCE_GREF, status: -1, pad: 0 }
        }
        Local::Store(from) => {
            let source = here(from.as_ptr().expose_provenance());
            Copy { source, dest: grant, len: from.len() as u16, flags: option::DEST_GREF, status: -1, pad: 0 }
        }
    }
}

const fn here(address: usize) -> CopyEnd {
    CopyEnd { place: (address / SIZE) as u64, domid: domid::SELF, offset: (address % SIZE) as u16, pad: 0 }
}
