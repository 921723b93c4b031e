//! Accesses to the distributor and the redistributors.

use super::arrays::Part;
use super::bank::{Forwarding, Route};
use super::intid::{Affinity, IntId};
use super::lr::ListRegisters;
use super::registers::{Access, Operation, Register, Widths, distributor, redistributor};
use super::{Outcome, VGic};
use crate::id::VcpuId;

/// `GICD_CTLR` (IHI0069 §12.9.4): affinity routing and a single security state, both for good.
mod ctlr {
    pub const ENABLE_GROUP0: u64 = 1 << 0;
    pub const ENABLE_GROUP1: u64 = 1 << 1;
    pub const ROUTING_AND_SINGLE_SECURITY: u64 = 1 << 4 | 1 << 6;
}

/// `GICR_TYPER` (IHI0069 §12.11.40).
mod typer {
    pub const AFFINITY_SHIFT: u32 = 32;
    pub const PROCESSOR_SHIFT: u32 = 8;
    pub const LAST: u64 = 1 << 4;
}

/// `GICR_WAKER` (IHI0069 §12.11.42).
mod waker {
    pub const PROCESSOR_SLEEP: u64 = 1 << 1;
    pub const CHILDREN_ASLEEP: u64 = 1 << 2;
}

impl VGic {
    /// `vcpu`, with its live list registers, accesses the distributor.
    #[inline]
    pub fn distributor_access(&mut self, vcpu: VcpuId, access: Access, lrs: &impl ListRegisters) -> Outcome {
        self.access(vcpu, None, distributor(access.offset, self.shared.len() as u64), access, lrs)
    }

    /// `vcpu`, with its live list registers, accesses the redistributor of `frame`: the offset is
    /// within that vCPU's 128 KiB.
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
        self.access(vcpu, Some(frame), redistributor(access.offset), access, lrs)
    }

    /// An access to a register of the distributor, or of the redistributor that is `owner`'s.
    // Inlined, so that constants cost little; what is long is not.
    #[inline(always)]
    fn access(
        &mut self,
        vcpu: VcpuId,
        owner: Option<VcpuId>,
        (register, widths): (Register, Widths),
        access: Access,
        lrs: &impl ListRegisters,
    ) -> Outcome {
        if !access.is_aligned() || !widths.allow(access.width) {
            return Outcome::Abort;
        }
        // The places of private interrupts in the distributor are reserved.
        let part = |field, first| {
            let first = IntId::new(first).filter(|first| first.is_private() == owner.is_some())?;
            Some(Part { owner: owner.unwrap_or(vcpu), field, first, width: access.width })
        };
        match (register, access.operation) {
            (Register::Constant(value), Operation::Read) => return Outcome::Value(access.truncate(value)),
            (Register::Array(field, first), Operation::Read) => {
                return part(field, first).map_or(Outcome::Value(0), |part| self.read_array(vcpu, part, lrs));
            }
            (Register::Array(field, first), Operation::Write(value)) => {
                part(field, first).into_iter().for_each(|part| self.write_array(vcpu, part, value));
            }
            (_, Operation::Read) => return Outcome::Value(self.read_register(register, owner, access)),
            (Register::Control, Operation::Write(value)) => self.write_control(value),
            (Register::Router, Operation::Write(value)) => self.write_router(vcpu, access, value),
            (Register::Waker, Operation::Write(value)) => self.write_waker(owner, value),
            _ => {}
        }
        Outcome::Written(self.take_told(None))
    }

    #[inline(never)]
    fn read_register(&mut self, register: Register, owner: Option<VcpuId>, access: Access) -> u64 {
        match register {
            Register::Control => {
                let Forwarding { group0, group1, .. } = self.forwarding;
                let groups = ctlr::ENABLE_GROUP0 & u64::from(group0) | ctlr::ENABLE_GROUP1 & u64::from(group1);
                ctlr::ROUTING_AND_SINGLE_SECURITY | groups
            }
            Register::Router => {
                let route = routed(access).and_then(|it| Some(self.bank(VcpuId(0), it)?.routes[it.bit()]));
                access.part(route.map_or(0, Route::register))
            }
            Register::RedistributorType => {
                let frame = owner.unwrap_or(VcpuId(0));
                let last = usize::from(frame.0) + 1 == self.cpus.len();
                let affinity = u64::from(Affinity::of(frame).0) << typer::AFFINITY_SHIFT;
                let number = u64::from(frame.0) << typer::PROCESSOR_SHIFT;
                access.part(affinity | number | if last { typer::LAST } else { 0 })
            }
            Register::Waker => {
                let asleep = owner.and_then(|owner| self.cpu(owner)).is_some_and(|cpu| cpu.asleep);
                if asleep { waker::PROCESSOR_SLEEP | waker::CHILDREN_ASLEEP } else { 0 }
            }
            Register::Constant(_) | Register::Array(..) => 0,
        }
    }

    #[inline(never)]
    fn write_control(&mut self, value: u64) {
        let all = |enable| if value & enable != 0 { u32::MAX } else { 0 };
        let groups = [all(ctlr::ENABLE_GROUP0), all(ctlr::ENABLE_GROUP1)];
        if groups == [self.forwarding.group0, self.forwarding.group1] {
            return;
        }
        [self.forwarding.group0, self.forwarding.group1] = groups;
        (0..self.cpus.len()).for_each(|index| self.attend(VcpuId(index as u8)));
    }

    #[inline(never)]
    fn write_router(&mut self, vcpu: VcpuId, access: Access, value: u64) {
        let Some(intid) = routed(access) else { return };
        self.change(vcpu, intid, |bank| {
            let route = &mut bank.routes[intid.bit()];
            *route = Route::from_register(access.replace(route.register(), value));
        });
    }

    /// Xen ignores this register, so a vCPU is awake until it says otherwise.
    #[inline(never)]
    fn write_waker(&mut self, owner: Option<VcpuId>, value: u64) {
        let asleep = value & waker::PROCESSOR_SLEEP != 0;
        if let Some(owner) = owner
            && let Some(cpu) = self.cpu_mut(owner)
            && cpu.asleep != asleep
        {
            cpu.asleep = asleep;
            self.attend(owner);
            self.choose_any();
        }
    }
}

/// The interrupt whose `GICD_IROUTER<n>` is accessed: private ones have none.
fn routed(access: Access) -> Option<IntId> {
    IntId::new(access.offset % 0x2000 / 8).filter(|intid| !intid.is_private())
}
