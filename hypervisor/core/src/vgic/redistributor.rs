//! A redistributor's registers.

use super::arrays::Frame;
use super::cpu::Attention;
use super::intid::Affinity;
use super::lr::ListRegisters;
use super::registers::{Access, Block, IIDR, Operation, PIDR2, PIDR2_OFFSET, Widths, block};
use super::set::VcpuSet;
use super::{Outcome, VGic};
use crate::id::VcpuId;

/// Offsets in the first frame (IHI0069 §12.10).
mod offset {
    pub const CTLR: u32 = 0x0;
    pub const IIDR: u32 = 0x4;
    pub const TYPER: u32 = 0x8;
    pub const TYPER_HIGH: u32 = 0xc;
    pub const STATUSR: u32 = 0x10;
    pub const WAKER: u32 = 0x14;
    pub const SYNCR: u32 = 0xc0;
    /// The second frame, of SGIs and PPIs.
    pub const SGI_FRAME: u32 = 0x1_0000;
    pub const END: u32 = 0x2_0000;
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
    /// `vcpu`, with its live list registers, accesses the redistributor of `frame`: the offset is
    /// within that vCPU's 128 KiB.
    pub fn redistributor_access(
        &mut self,
        vcpu: VcpuId,
        frame: VcpuId,
        access: Access,
        lrs: &impl ListRegisters,
    ) -> Outcome {
        if !access.is_aligned() || access.offset >= offset::END || self.cpu(frame).is_none() {
            return Outcome::Abort;
        }
        let Some(in_frame) = access.offset.checked_sub(offset::SGI_FRAME) else {
            return self.redistributor_control(frame, access);
        };
        let access = Access { offset: in_frame, ..access };
        match block(access.offset) {
            Block::Array(field, widths) if widths.allow(access.width) => {
                self.array_access(vcpu, Frame::Sgi(frame), field, access, lrs)
            }
            Block::Array(..) => Outcome::Abort,
            Block::Control | Block::Reserved => access.constant(0, Widths::ANY),
        }
    }

    fn redistributor_control(&mut self, frame: VcpuId, access: Access) -> Outcome {
        match access.offset {
            offset::CTLR | offset::STATUSR | offset::SYNCR => access.constant(0, Widths::WORD),
            offset::IIDR => access.constant(IIDR, Widths::WORD),
            offset::TYPER | offset::TYPER_HIGH => {
                let half = self.redistributor_type(frame) >> access.shift_in_double();
                access.constant(half, Widths::WORD_OR_DOUBLE)
            }
            offset::WAKER => self.waker_access(frame, access),
            PIDR2_OFFSET => access.constant(PIDR2, Widths::WORD),
            _ => access.constant(0, Widths::ANY),
        }
    }

    fn redistributor_type(&self, frame: VcpuId) -> u64 {
        let last = usize::from(frame.0) + 1 == self.cpus.len();
        u64::from(Affinity::of(frame).0) << typer::AFFINITY_SHIFT
            | u64::from(frame.0) << typer::PROCESSOR_SHIFT
            | if last { typer::LAST } else { 0 }
    }

    /// Xen ignores this register, so a vCPU is awake until it says otherwise.
    fn waker_access(&mut self, frame: VcpuId, access: Access) -> Outcome {
        let mut notify = VcpuSet::EMPTY;
        let Some(cpu) = self.cpu_mut(frame).filter(|_| Widths::WORD.allow(access.width)) else {
            return Outcome::Abort;
        };
        let Operation::Write(value) = access.operation else {
            let asleep = waker::PROCESSOR_SLEEP | waker::CHILDREN_ASLEEP;
            return Outcome::Value(if cpu.asleep { asleep } else { 0 });
        };
        let asleep = value & waker::PROCESSOR_SLEEP != 0;
        if cpu.asleep != asleep {
            cpu.asleep = asleep;
            cpu.attend(Attention::All);
            notify.insert(frame);
            self.choose_any(&mut notify);
        }
        Outcome::Written(notify)
    }
}
