//! `GNTTABOP_copy`.

use core::fmt::Display;

use xen_abi::grant_table::{Copy, CopyEnd, op, option};
use xen_abi::xen::domid;
use xen_abi::xen::hypercall::GRANT_TABLE_OP;

use super::{EMPTY, GRANTED, HOLE, NO_REFERENCES, NONE, OWN, OWN_READ_ONLY, PAGES, PEER_S, TARGET, tell};
use crate::other::{READ_ONLY, SOMEBODY_ELSE_S, WRITABLE};
use crate::pages::{Answer, call_for};
use crate::{Guests, NOBODY, say};

const FROM: u16 = option::SOURCE_GREF;
const TO: u16 = option::DEST_GREF;

/// A page of this domain's.
fn own(page: usize) -> CopyEnd {
    CopyEnd { place: PAGES.frame(page), domid: domid::SELF, offset: 0, pad: 0 }
}

/// A page that a domain grants.
fn granted(domid: u16, reference: u32) -> CopyEnd {
    CopyEnd { place: reference.into(), domid, offset: 0, pad: 0 }
}

/// A copy of some bytes.
fn copy(source: CopyEnd, dest: CopyEnd, flags: u16) -> Copy {
    Copy { source, dest, len: 16, flags, status: 77, pad: 0 }
}

#[inline(never)]
fn ask(name: &dyn Display, copy: Copy) {
    tell(format_args!("copy {name}"), op::COPY, copy, |copy| copy.status);
}

/// Asks all of it.
#[inline(never)]
pub fn probe(guests: Guests) {
    PAGES.put(0, &0x1234_u64);
    let good = copy(granted(guests.peer, WRITABLE), own(TARGET), FROM);
    ask(&"from the peer", good);
    say("grant copied: a word", Answer(PAGES.get(TARGET * 4096 + 8)));
    ask(&"to the peer", copy(own(GRANTED), granted(guests.peer, WRITABLE), TO));
    ask(&"to the peer's to be read", copy(own(GRANTED), granted(guests.peer, READ_ONLY), TO));
    ask(&"from the peer's to be read", copy(granted(guests.peer, READ_ONLY), own(TARGET), FROM));
    ask(&"from somebody else's", copy(granted(guests.peer, SOMEBODY_ELSE_S), own(TARGET), FROM));
    ask(&"from the peer to the peer", copy(granted(guests.peer, READ_ONLY), granted(guests.peer, WRITABLE), FROM | TO));
    ask(&"from the peer's to itself", copy(granted(guests.peer, WRITABLE), granted(guests.peer, WRITABLE), FROM | TO));
    ask(&"from one's own grant", copy(granted(guests.me, OWN), own(TARGET), FROM));
    ask(&"from one's own grant, by self", copy(granted(domid::SELF, OWN), own(TARGET), FROM));
    ask(&"to one's own grant", copy(own(TARGET), granted(domid::SELF, OWN), TO));
    ask(&"to one's own grant to be read", copy(own(TARGET), granted(domid::SELF, OWN_READ_ONLY), TO));
    ask(&"from one's own grant for the peer", copy(granted(domid::SELF, PEER_S), own(TARGET), FROM));
    ask(&"from one's own grant of nothing", copy(granted(domid::SELF, EMPTY), own(TARGET), FROM));
    ask(&"to one's own grant of nothing", copy(own(TARGET), granted(domid::SELF, EMPTY), TO));
    ask(&"between one's own pages", copy(own(GRANTED), own(TARGET), 0));
    ask(&"a page onto itself", copy(own(GRANTED), own(GRANTED), 0));
    ask(&"from a page by one's number", copy(CopyEnd { domid: guests.me, ..own(GRANTED) }, own(TARGET), 0));
    ask(&"from a page of the peer's", copy(CopyEnd { domid: guests.peer, ..own(GRANTED) }, own(TARGET), 0));
    ask(&"to a page of the peer's", copy(own(TARGET), CopyEnd { domid: guests.peer, ..own(GRANTED) }, 0));
    wrong(guests);
    odd(good);
}

/// Ends that are none.
#[inline(never)]
fn wrong(guests: Guests) {
    for reference in NO_REFERENCES {
        ask(&format_args!("from {reference:#x} of the peer"), copy(granted(guests.peer, reference), own(TARGET), FROM));
        ask(&format_args!("from {reference:#x} of oneself"), copy(granted(domid::SELF, reference), own(TARGET), FROM));
        ask(&format_args!("to {reference:#x} of the peer"), copy(own(TARGET), granted(guests.peer, reference), TO));
    }
    for domid in NOBODY {
        ask(&format_args!("from a grant of {domid:#x}"), copy(granted(domid, OWN), own(TARGET), FROM));
        ask(&format_args!("from a page of {domid:#x}"), copy(CopyEnd { domid, ..own(GRANTED) }, own(TARGET), 0));
    }
    for frame in [HOLE >> 12, 0x3001, 1 << 24, 1 << 36, 1 << 52, u64::MAX] {
        let place = CopyEnd { place: frame, ..own(TARGET) };
        ask(&format_args!("from frame {frame:#x}"), copy(place, own(TARGET), 0));
        ask(&format_args!("to frame {frame:#x}"), copy(own(TARGET), place, 0));
    }
}

/// Lengths, offsets, flags, and a list.
#[inline(never)]
fn odd(good: Copy) {
    for (offset, len) in
        [(0, 0), (0, 4096), (4095, 1), (4095, 2), (4096, 0), (4096, 1), (1, 4096), (u16::MAX, 1), (0, u16::MAX)]
    {
        let source = CopyEnd { offset, ..good.source };
        ask(&format_args!("{len} bytes from {offset}"), Copy { source, len, ..good });
        let dest = CopyEnd { offset, ..good.dest };
        ask(&format_args!("{len} bytes to {offset}"), Copy { dest, len, ..good });
    }
    for flags in [4, 8, 1 << 15] {
        ask(&format_args!("with flags {flags:#x}"), Copy { flags: FROM | flags, ..good });
    }
    let bad = copy(granted(good.source.domid, NONE), own(TARGET), FROM);
    let (answer, after) = call_for(GRANT_TABLE_OP, op::COPY, [good, bad, good], 3);
    say("grant copy three", answer);
    say("grant copy three: statuses", format_args!("{:?}", after.map(|copy| copy.status)));
}
