//! Accesses to the arrays with a field for each interrupt, which the distributor has for shared
//! interrupts and each redistributor's SGI frame for private ones.

use super::bank::bits;
use super::cpu::{Attention, Snapshot};
use super::intid::IntId;
use super::lr::ListRegisters;
use super::registers::Field;
use super::set::VcpuSet;
use super::{Outcome, VGic};
use crate::id::VcpuId;
use crate::mmio::Width;

/// Part of an array.
#[derive(Clone, Copy)]
pub(super) struct Part {
    /// Whose, if the interrupts are private.
    pub owner: VcpuId,
    pub field: Field,
    pub first: IntId,
    pub width: Width,
}

impl VGic {
    /// What `vcpu` reads.
    ///
    /// Pending and active of what is listed is looked up in the reader's own list registers; what
    /// is in others' waits until they have flushed.
    // Not inlined, so that single registers need not pay for its stack frame.
    #[inline(never)]
    pub(super) fn read_array(&mut self, vcpu: VcpuId, part: Part, lrs: &impl ListRegisters) -> Outcome {
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

    /// `vcpu` writes. This does not wait: the holder heeds it when it flushes, which is as soon as it is told.
    #[inline(never)]
    pub(super) fn write_array(&mut self, vcpu: VcpuId, part: Part, value: u64) {
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
