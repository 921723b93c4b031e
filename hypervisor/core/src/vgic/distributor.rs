//! The distributor's registers.

use super::arrays::Frame;
use super::cpu::Attention;
use super::intid::IntId;
use super::lr::ListRegisters;
use super::registers::{Access, Block, IIDR, Operation, PIDR2, PIDR2_OFFSET, Widths, block};
use super::set::VcpuSet;
use super::shared::Route;
use super::{Groups, Outcome, VGic};
use crate::id::VcpuId;

/// Offsets (IHI0069 §12.8).
mod offset {
    pub const CTLR: u32 = 0x0;
    pub const TYPER: u32 = 0x4;
    pub const IIDR: u32 = 0x8;
    pub const STATUSR: u32 = 0x10;
    pub const IROUTER: u32 = 0x6000;
    pub const IROUTER_END: u32 = 0x8000;
    pub const END: u32 = 0x1_0000;
}

/// `GICD_CTLR` (IHI0069 §12.9.4): affinity routing and a single security state, both for good.
mod ctlr {
    pub const ENABLE_GROUP0: u64 = 1 << 0;
    pub const ENABLE_GROUP1: u64 = 1 << 1;
    pub const AFFINITY_ROUTING: u64 = 1 << 4;
    pub const SINGLE_SECURITY: u64 = 1 << 6;
}

/// `GICD_TYPER.IDbits` (IHI0069 §12.9.38): INTIDs of 10 bits. There is no more to say: no LPIs,
/// no message-based SPIs, no extended ranges, Aff0 below 16, Aff3 always 0, routing to any vCPU.
const TYPER_ID_BITS: u64 = (10 - 1) << 19;

impl VGic {
    /// `vcpu`, with its live list registers, accesses the distributor.
    pub fn distributor_access(&mut self, vcpu: VcpuId, access: Access, lrs: &impl ListRegisters) -> Outcome {
        if !access.is_aligned() || access.offset >= offset::END {
            return Outcome::Abort;
        }
        match block(access.offset) {
            Block::Control => self.distributor_control(access),
            Block::Array(field, widths) if widths.allow(access.width) => {
                self.array_access(vcpu, Frame::Distributor, field, access, lrs)
            }
            Block::Array(..) => Outcome::Abort,
            Block::Reserved => match access.offset {
                offset::IROUTER..offset::IROUTER_END => self.router_access(vcpu, access),
                PIDR2_OFFSET => access.constant(PIDR2, Widths::WORD),
                _ => access.constant(0, Widths::ANY),
            },
        }
    }

    #[inline]
    fn distributor_control(&mut self, access: Access) -> Outcome {
        match access.offset {
            offset::CTLR => self.control_access(access),
            offset::TYPER => access.constant(TYPER_ID_BITS | self.shared.len() as u64, Widths::WORD),
            offset::IIDR => access.constant(IIDR, Widths::WORD),
            offset::STATUSR => access.constant(0, Widths::WORD),
            _ => access.constant(0, Widths::ANY),
        }
    }

    fn control_access(&mut self, access: Access) -> Outcome {
        let Groups { zero, one } = self.groups;
        let enables = u64::from(zero) & ctlr::ENABLE_GROUP0 | u64::from(one) & ctlr::ENABLE_GROUP1;
        let fixed = ctlr::AFFINITY_ROUTING | ctlr::SINGLE_SECURITY;
        let Operation::Write(value) = access.operation else {
            return access.constant(fixed | enables, Widths::WORD);
        };
        if !Widths::WORD.allow(access.width) {
            return Outcome::Abort;
        }
        let all = |enable| if value & enable != 0 { u32::MAX } else { 0 };
        let groups = Groups { zero: all(ctlr::ENABLE_GROUP0), one: all(ctlr::ENABLE_GROUP1) };
        if groups == self.groups {
            return Outcome::Written(VcpuSet::EMPTY);
        }
        self.groups = groups;
        for cpu in &mut self.cpus {
            cpu.attend(Attention::All);
        }
        Outcome::Written(VcpuSet::first(self.cpus.len() as u32))
    }

    fn router_access(&mut self, vcpu: VcpuId, access: Access) -> Outcome {
        if !Widths::WORD_OR_DOUBLE.allow(access.width) {
            return Outcome::Abort;
        }
        let number = (access.offset - offset::IROUTER) / 8;
        let Some(intid) = IntId::new(number).filter(|intid| !intid.is_private()) else {
            return access.constant(0, Widths::ANY);
        };
        let Some(shared) = self.shared_mut(intid) else {
            return access.constant(0, Widths::ANY);
        };
        let old = shared.route(intid);
        let Operation::Write(value) = access.operation else {
            return Outcome::Value(access.truncate(old.register() >> access.shift_in_double()));
        };
        shared.set_route(intid, Route::from_register(access.replace(old.register(), value)));
        let mut notify = VcpuSet::EMPTY;
        self.touch(vcpu, intid, &mut notify);
        Outcome::Written(notify)
    }
}
