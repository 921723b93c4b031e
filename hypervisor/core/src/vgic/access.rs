//! Accesses to the distributor and the redistributors.

use super::bank::bits;
use super::intid::{Affinity, IntId};
use super::lr::ListRegisters;
use super::registers::{Access, Field, Operation, Register, Widths, distributor, redistributor};
use super::{Outcome, VGic};
use crate::id::VcpuId;
use crate::mmio::Width;

/// `GICD_CTLR` (IHI0069 §12.9.4): affinity routing and a single security state, both for good. There is no group 0.
mod ctlr {
    pub const ENABLE_GROUP1: u64 = 1 << 1;
    pub const ROUTING_AND_SINGLE_SECURITY: u64 = 1 << 4 | 1 << 6;
}

/// `GICR_TYPER` (IHI0069 §12.11.40).
mod typer {
    pub const AFFINITY_SHIFT: u32 = 32;
    pub const PROCESSOR_SHIFT: u32 = 8;
    pub const LAST: u64 = 1 << 4;
}

impl VGic {
    /// `vcpu`, with its live list registers, accesses the distributor.
    #[inline]
    pub fn distributor_access(&mut self, vcpu: VcpuId, access: Access, lrs: &impl ListRegisters) -> Outcome {
        self.access(vcpu, vcpu, distributor(access.offset, self.shared.len() as u64), access, lrs)
    }

    /// `vcpu`, with its live list registers, accesses the redistributor of `frame`: the offset is
    /// within that vCPU's 128 KiB.
    #[inline(never)]
    pub fn redistributor_access(
        &mut self,
        vcpu: VcpuId,
        frame: VcpuId,
        access: Access,
        lrs: &impl ListRegisters,
    ) -> Outcome {
        if self.cpu(frame).is_none() {
            return Outcome::Abort;
        }
        self.access(vcpu, frame, redistributor(access.offset), access, lrs)
    }

    /// An access to a register of the distributor, or of the redistributor that is `owner`'s.
    // Inlined, so that constants cost little; what is long is not.
    #[inline(always)]
    fn access(
        &mut self,
        vcpu: VcpuId,
        owner: VcpuId,
        (register, widths): (Register, Widths),
        access: Access,
        lrs: &impl ListRegisters,
    ) -> Outcome {
        if !access.is_aligned() || widths & access.width as Widths == 0 {
            return Outcome::Abort;
        }
        match (register, access.operation) {
            (Register::Constant(value), Operation::Read) => return Outcome::Value(access.truncate(value)),
            (Register::Array(field, first), Operation::Read) => {
                return Outcome::Value(self.read_array(vcpu, owner, (field, first), access.width, lrs));
            }
            (_, Operation::Read) => return Outcome::Value(access.part(self.read_register(register, owner, access))),
            (Register::Array(field, first), Operation::Write(value)) => {
                self.write_array(owner, (field, first), access.width, value);
            }
            (Register::Control, Operation::Write(value)) => self.write_control(value),
            // The high half has Aff3, of which there is none.
            (Register::Router, Operation::Write(value)) if access.offset.is_multiple_of(8) => {
                self.write_router(access, value);
            }
            _ => {}
        }
        Outcome::Written(self.take_told())
    }

    /// All 64 bits of a register that is neither constant nor an array.
    #[inline(never)]
    fn read_register(&mut self, register: Register, owner: VcpuId, access: Access) -> u64 {
        match register {
            Register::Control => ctlr::ROUTING_AND_SINGLE_SECURITY | ctlr::ENABLE_GROUP1 & u64::from(self.forwarding),
            Register::Router => {
                let target = routed(access).and_then(|it| Some(self.bank(owner, it)?.targets[it.bit()]));
                target.map_or(0, |target| Affinity::of(target).0.into())
            }
            Register::RedistributorType => {
                let last = usize::from(owner.0) + 1 == self.cpus.len();
                let affinity = u64::from(Affinity::of(owner).0) << typer::AFFINITY_SHIFT;
                let number = u64::from(owner.0) << typer::PROCESSOR_SHIFT;
                affinity | number | if last { typer::LAST } else { 0 }
            }
            Register::Constant(_) | Register::Array(..) => 0,
        }
    }

    #[inline(never)]
    fn write_control(&mut self, value: u64) {
        let forwarding = if value & ctlr::ENABLE_GROUP1 != 0 { u32::MAX } else { 0 };
        if core::mem::replace(&mut self.forwarding, forwarding) != forwarding {
            (0..self.cpus.len()).for_each(|index| self.attend(VcpuId(index as u8)));
        }
    }

    /// As on Xen, a route to a vCPU that there is not is ignored, and what may go to any vCPU goes to the first.
    #[inline(never)]
    fn write_router(&mut self, access: Access, value: u64) {
        const AFFINITY: u32 = 0xff_ffff;
        const ANY: u64 = 1 << 31;
        let affinity = if value & ANY == 0 { value as u32 & AFFINITY } else { 0 };
        let target = Affinity(affinity).vcpu().filter(|&target| self.cpu(target).is_some());
        if let (Some(intid), Some(target)) = (routed(access), target) {
            self.change(target, intid, |bank| bank.targets[intid.bit()] = target);
        }
    }

    /// What `vcpu` reads in an array with a field for each interrupt, from that of `first` on: `owner`'s, if it is private.
    ///
    /// Pending and active of what is listed is looked up in the reader's own list registers. What is in another vCPU's
    /// reads as neither, where Xen says so of all.
    // Not inlined, so that single registers need not pay for its stack frame.
    #[inline(never)]
    fn read_array(
        &mut self,
        vcpu: VcpuId,
        owner: VcpuId,
        (field, first): (Field, IntId),
        width: Width,
        lrs: &impl ListRegisters,
    ) -> u64 {
        let own = self.cpu(vcpu).filter(|_| owner == vcpu).map_or(0, |cpu| cpu.used);
        let Some(bank) = self.bank(owner, first) else { return 0 };
        let mut seen = bank.clone();
        for register in bits(own).map(|n| lrs.get(n)) {
            if let Some(intid) = register.intid().filter(|intid| intid.bank() == first.bank()) {
                seen.unlist(intid.mask(), register.is_pending(), register.is_active());
            }
        }
        seen.read(field, first.bit(), width)
    }

    /// Writes such an array. This does not wait: the holder heeds it when it flushes, which is as soon as it is told.
    #[inline(never)]
    fn write_array(&mut self, owner: VcpuId, (field, first): (Field, IntId), width: Width, value: u64) {
        let Some(bank) = self.bank(owner, first) else { return };
        for bit in bits(bank.write(field, first, width, value)) {
            self.change(owner, IntId::at(first.bank(), bit), |_| {});
        }
    }
}

/// The interrupt whose `GICD_IROUTER<n>` is accessed: private ones have none.
fn routed(access: Access) -> Option<IntId> {
    IntId::new(access.offset % 0x2000 / 8).filter(|intid| !intid.is_private())
}
