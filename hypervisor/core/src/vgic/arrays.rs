//! Accesses to the arrays with a field for each interrupt, which the distributor has for shared
//! interrupts and each redistributor's SGI frame for private ones.

use super::bank::take_lowest;
use super::cpu::{Attention, Snapshot};
use super::intid::IntId;
use super::lr::ListRegisters;
use super::registers::{Access, Field, Operation, Widths};
use super::set::VcpuSet;
use super::{Outcome, VGic};
use crate::id::VcpuId;

/// Whose interrupts an array has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// The shared ones; the places of private ones are reserved under affinity routing.
    Distributor,
    /// One vCPU's private ones, and no others.
    Sgi(VcpuId),
}

impl Frame {
    /// The interrupt that a register's first field belongs to.
    fn first(self, field: Field, offset: u32) -> Option<IntId> {
        let private = matches!(self, Self::Sgi(_));
        let first = IntId::new(field.first_interrupt(offset))?;
        (first.is_private() == private).then_some(first)
    }
}

/// Part of an array.
#[derive(Clone, Copy, Debug)]
struct Part {
    field: Field,
    first: IntId,
    /// Whose, if they are private.
    owner: VcpuId,
}

impl VGic {
    /// An access by `vcpu` to an array, of a size that it takes.
    ///
    /// Pending and active of what is listed is looked up in the reader's own list registers; what
    /// is in others' waits until they have flushed. A write does not wait: the holder heeds it
    /// when it flushes, which is as soon as it is told.
    pub(super) fn array_access(
        &mut self,
        vcpu: VcpuId,
        frame: Frame,
        field: Field,
        access: Access,
        lrs: &impl ListRegisters,
    ) -> Outcome {
        let owner = match frame {
            Frame::Distributor => vcpu,
            Frame::Sgi(owner) => owner,
        };
        let first = frame.first(field, access.offset);
        let Some(first) = first.filter(|&first| self.bank_of(owner, first).is_some()) else {
            return access.constant(0, Widths::ANY);
        };
        let part = Part { field, first, owner };
        match access.operation {
            Operation::Read => self.read_array(vcpu, part, access, lrs),
            Operation::Write(value) => self.write_array(vcpu, part, access, value),
        }
    }

    fn read_array(&mut self, vcpu: VcpuId, part: Part, access: Access, lrs: &impl ListRegisters) -> Outcome {
        if !part.field.is_state() {
            let bank = self.bank_of(part.owner, part.first);
            let value = bank.map_or(0, |bank| bank.read(part.field, part.first.bit(), access.width));
            return Outcome::Value(value);
        }
        let holders = self.other_holders(vcpu, part);
        let missing = self.missing_snapshots(vcpu, holders);
        if !missing.is_empty() {
            return Outcome::Retry(missing);
        }
        let Some(mut seen) = self.bank_of(part.owner, part.first).map(|bank| bank.clone()) else {
            return access.constant(0, Widths::ANY);
        };
        if let Some(cpu) = self.cpu(vcpu)
            && (part.owner == vcpu)
        {
            let mut used = cpu.used;
            while let Some(n) = take_lowest(&mut used) {
                let held = cpu.lr.get(n as usize);
                if let Some(intid) = held.filter(|held| held.bank() == part.first.bank()) {
                    let register = lrs.get(n as usize);
                    seen.unlist(intid.mask(), register.is_pending(), register.is_active());
                }
            }
        }
        Outcome::Value(seen.read(part.field, part.first.bit(), access.width))
    }

    fn write_array(&mut self, vcpu: VcpuId, part: Part, access: Access, value: u64) -> Outcome {
        let Part { field, first, owner } = part;
        let mut notify = VcpuSet::EMPTY;
        if field == Field::SetActive {
            self.assign_holders(vcpu, first, value as u32);
        }
        let bank = self.bank_of(owner, first);
        let mut changed = bank.map_or(0, |bank| bank.write(field, first, access.width, value));
        while let Some(bit) = take_lowest(&mut changed) {
            self.touch(owner, IntId::at(first.bank(), bit), &mut notify);
        }
        Outcome::Written(notify)
    }

    /// Shared interrupts that become active by a write belong to the vCPU that they are
    /// routed to, or else to the writer, as if it had taken them.
    fn assign_holders(&mut self, writer: VcpuId, first: IntId, mask: u32) {
        let any = self.any;
        if let Some(shared) = self.shared_mut(first) {
            let mut new = mask & !(shared.bank.active | shared.bank.listed);
            while let Some(bit) = take_lowest(&mut new) {
                let target = shared.route(IntId::at(0, bit)).target(any);
                shared.set_holder(bit, target.unwrap_or(writer));
            }
        }
    }

    /// The vCPUs other than the one which reads that have interrupts of a bank in list registers.
    fn other_holders(&mut self, reader: VcpuId, part: Part) -> VcpuSet {
        let mut holders = VcpuSet::EMPTY;
        if let Some(shared) = self.shared_mut(part.first) {
            let mut listed = shared.bank.listed;
            while let Some(bit) = take_lowest(&mut listed) {
                holders.insert(shared.holder(bit));
            }
        } else if self.cpu(part.owner).is_some_and(|cpu| cpu.bank.listed != 0) {
            holders.insert(part.owner);
        }
        holders.remove(reader);
        holders
    }

    /// Asks for those of the holders' snapshots that are missing, and returns by whom. If none is,
    /// uses up all that the reader asked for.
    fn missing_snapshots(&mut self, reader: VcpuId, holders: VcpuSet) -> VcpuSet {
        let mut missing = VcpuSet::EMPTY;
        for vcpu in holders {
            if let Some(cpu) = self.cpu_mut(vcpu).filter(|cpu| cpu.snapshot != Snapshot::Taken) {
                cpu.snapshot = Snapshot::Wanted;
                cpu.attend(Attention::All);
                missing.insert(vcpu);
            }
        }
        let Some(cpu) = self.cpu_mut(reader) else {
            return missing;
        };
        cpu.asked = cpu.asked.union(missing);
        if missing.is_empty() {
            for vcpu in core::mem::take(&mut cpu.asked) {
                if let Some(cpu) = self.cpu_mut(vcpu) {
                    cpu.snapshot = Snapshot::None;
                }
            }
        }
        missing
    }
}
