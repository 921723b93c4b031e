//! Accesses to the arrays with a field for each interrupt, which the distributor has for shared
//! interrupts and each redistributor's SGI frame for private ones.

use super::bank::bits;
use super::cpu::{Attention, Snapshot};
use super::intid::IntId;
use super::lr::ListRegisters;
use super::registers::{Access, Field, Operation};
use super::set::VcpuSet;
use super::{Outcome, VGic};
use crate::id::VcpuId;
use crate::mmio::Width;

/// Part of an array.
#[derive(Clone, Copy)]
struct Part {
    /// Whose, if the interrupts are private.
    owner: VcpuId,
    field: Field,
    first: IntId,
    width: Width,
}

impl VGic {
    /// An access by `vcpu` to an array, of a size that it takes: to that of the private interrupts of
    /// `owner`, or to the distributor's, where the places of private ones are reserved.
    ///
    /// Pending and active of what is listed is looked up in the reader's own list registers; what
    /// is in others' waits until they have flushed. A write does not wait: the holder heeds it
    /// when it flushes, which is as soon as it is told.
    pub(super) fn array_access(
        &mut self,
        vcpu: VcpuId,
        owner: Option<VcpuId>,
        field: Field,
        access: Access,
        lrs: &impl ListRegisters,
    ) -> Outcome {
        let first = IntId::new(field.first_interrupt(access.offset));
        let first = first.filter(|first| first.is_private() == owner.is_some());
        let owner = owner.unwrap_or(vcpu);
        let part = first.map(|first| Part { owner, field, first, width: access.width });
        match access.operation {
            Operation::Read => part.map_or(Outcome::Value(0), |part| self.read_array(vcpu, part, lrs)),
            Operation::Write(value) => {
                part.into_iter().for_each(|part| self.write_array(vcpu, part, value));
                Outcome::Written(self.take_told(None))
            }
        }
    }

    fn read_array(&mut self, vcpu: VcpuId, part: Part, lrs: &impl ListRegisters) -> Outcome {
        let Part { owner, field, first, width } = part;
        let Some(bank) = self.bank(owner, first) else { return Outcome::Value(0) };
        if !field.is_state() {
            return Outcome::Value(bank.read(field, first.bit(), width));
        }
        let mut seen = bank.clone();
        let mut holders = VcpuSet::EMPTY;
        bits(bank.listed).for_each(|bit| holders.insert(bank.holders[bit]));
        holders.remove(vcpu);
        let missing = self.missing_snapshots(vcpu, holders);
        if !missing.is_empty() {
            return Outcome::Retry(missing);
        }
        let own = self.cpu(vcpu).filter(|_| owner == vcpu).map_or(0, |cpu| cpu.used);
        for register in bits(own).map(|n| lrs.get(n)) {
            if let Some(intid) = register.intid().filter(|intid| intid.bank() == first.bank()) {
                seen.unlist(intid.mask(), register.is_pending(), register.is_active());
            }
        }
        Outcome::Value(seen.read(field, first.bit(), width))
    }

    fn write_array(&mut self, vcpu: VcpuId, part: Part, value: u64) {
        let Part { owner, field, first, width } = part;
        let any = self.forwarding.any;
        let Some(bank) = self.bank(owner, first) else { return };
        if field == Field::SetActive {
            bank.assign(value as u32, vcpu, any);
        }
        for bit in bits(bank.write(field, first, width, value)) {
            self.change(owner, IntId::at(first.bank(), bit), |_| {});
        }
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
        let Some(cpu) = self.cpu_mut(reader) else { return missing };
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
