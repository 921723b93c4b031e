//! Events as bits: a word of pending events, a word that masks them, and for each vCPU a word that says which are worth a look.

use core::sync::atomic::Ordering;

use xen_abi::xen::SharedInfo;

use super::{EventChannels, Page, SEL};
use crate::id::VcpuId;

const PENDING: usize = core::mem::offset_of!(SharedInfo, evtchn_pending);
const MASK: usize = core::mem::offset_of!(SharedInfo, evtchn_mask);

/// Offset of the word that a port's bit is in, behind `base`, and the bit.
const fn place(base: usize, port: u32) -> (usize, u64) {
    (base + (port as usize / 64 % 64) * 8, 1 << (port % 64))
}

fn set<P: Page>(page: &P, (offset, bit): (usize, u64)) -> bool {
    page.double(offset).fetch_or(bit, Ordering::AcqRel) & bit != 0
}

fn clear<P: Page>(page: &P, (offset, bit): (usize, u64)) -> bool {
    page.double(offset).fetch_and(!bit, Ordering::AcqRel) & bit != 0
}

fn test<P: Page>(page: &P, (offset, bit): (usize, u64)) -> bool {
    page.double(offset).load(Ordering::Acquire) & bit != 0
}

/// Whether the event is new, and whether its vCPU is to be told.
pub(super) fn set_pending<P: Page>(events: &EventChannels<P>, port: u32, vcpu: VcpuId) -> (bool, bool) {
    if set(&events.shared, place(PENDING, port)) {
        return (false, false);
    }
    let masked = test(&events.shared, place(MASK, port));
    (true, !masked && select(events, port, vcpu))
}

/// Whether its vCPU is to be told.
pub(super) fn unmask<P: Page>(events: &EventChannels<P>, port: u32, vcpu: VcpuId) -> bool {
    clear(&events.shared, place(MASK, port)) && is_pending(&events.shared, port) && select(events, port, vcpu)
}

pub(super) fn is_pending<P: Page>(shared: &P, port: u32) -> bool {
    test(shared, place(PENDING, port))
}

pub(super) fn clear_pending<P: Page>(shared: &P, port: u32) {
    clear(shared, place(PENDING, port));
}

/// Notes that a port's word is worth a look; whether that is news.
fn select<P: Page>(events: &EventChannels<P>, port: u32, vcpu: VcpuId) -> bool {
    events.info(vcpu).is_some_and(|(page, at)| !set(page, (at + SEL, 1 << (port / 64 % 64))))
}
