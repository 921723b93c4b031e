//! `hvm_op`.

use xen_abi::hvm::{GET_PARAM, Param, SET_PARAM};
use xen_abi::xen::{domid, hypercall::HVM_OP};

use crate::pages::{Answer, call};
use crate::{Guests, NOBODY, say, wild};

/// Asks all of it.
#[inline(never)]
pub fn probe(guests: Guests) {
    for index in 0..=40 {
        let asked = Param { domid: domid::SELF, pad: 0, index, value: 0x77 };
        let (answer, param) = call(HVM_OP, GET_PARAM, asked);
        say(format_args!("hvm get {index}"), answer);
        say(format_args!("hvm get {index} value"), Answer(param.value));
        // The value that it has; where that is not told, one that means nothing.
        let value = if answer.0 == 0 { param.value } else { 0 };
        say(format_args!("hvm set {index}"), call(HVM_OP, SET_PARAM, Param { value, ..asked }).0);
    }
    for index in [1 << 16, 1 << 31, u32::MAX] {
        let asked = Param { domid: domid::SELF, pad: 0, index, value: 0 };
        say(format_args!("hvm get {index:#x}"), call(HVM_OP, GET_PARAM, asked).0);
        say(format_args!("hvm set {index:#x}"), call(HVM_OP, SET_PARAM, asked).0);
    }
    for (name, domid) in [("me", guests.me), ("the peer", guests.peer)].into_iter().chain(NOBODY.map(|n| ("nobody", n)))
    {
        for (op, what) in [(GET_PARAM, "get"), (SET_PARAM, "set")] {
            let asked = Param { domid, pad: 0, index: 1, value: 0 };
            say(format_args!("hvm {what} 1 of {name} {domid:#x}"), call(HVM_OP, op, asked).0);
        }
    }
    for op in 2..28 {
        say(format_args!("hvm operation {op}, null"), wild::hypercall(HVM_OP, [op, 0, 0, 0, 0]));
        let zeroes = [0_u64; 8];
        say(format_args!("hvm operation {op}, zeroes"), call(HVM_OP, op, zeroes).0);
    }
}
