//! Aborts by stage 2: emulated devices, first touches of memory, and accesses to nothing.

use mote_core::addr::Ipa;
use mote_core::esr::{DataAbort, DataAccess, FaultKind};
use mote_core::id::VcpuId;
use mote_core::mmio::Width;
use mote_core::vgic::{Access, Operation, Outcome, VcpuSet};
use mote_platform::guest::{After, GuestContext};
use mote_platform::syndrome;
use xen_abi::arch_arm::{GICV3_DISTRIBUTOR, GICV3_REDISTRIBUTOR_STRIDE, GICV3_REDISTRIBUTORS, VPL011, Window};

use super::{Session, origin, take_exception};
use crate::interface::Live;
use crate::stats::ExitReason;

/// `HPFAR_EL2.FIPA` holds bits 47:12 of the IPA from bit 4 up (Arm ARM D24.2.58).
const FIPA_MASK: u64 = 0xff_ffff_fff0;
const FIPA_SHIFT: u32 = 8;
const PAGE_OFFSET: u64 = 0xfff;

/// The IPA of the abort that was just taken.
fn faulting_ipa() -> Ipa {
    Ipa((syndrome::hpfar() & FIPA_MASK) << FIPA_SHIFT | syndrome::far() & PAGE_OFFSET)
}

fn offset_in(window: Window, ipa: Ipa) -> Option<u64> {
    ipa.0.checked_sub(window.base).filter(|&offset| offset < window.size)
}

impl Session<'_> {
    #[inline(never)]
    pub(super) fn data_abort(&mut self, context: &mut GuestContext, abort: DataAbort) -> After {
        let ipa = faulting_ipa();
        if abort.kind() == FaultKind::AccessFlag {
            return self.first_touch(ipa);
        }
        let access = abort.access().filter(|_| abort.kind() == FaultKind::Translation);
        let outcome = match access {
            Some(access) => self.device_access(context, ipa, access),
            None => Outcome::Abort,
        };
        match (outcome, access) {
            (Outcome::Value(value), Some(access)) => {
                context.set_register(access.rt(), access.loaded(value));
                syndrome::skip_instruction();
            }
            (Outcome::Written(others), _) => {
                syndrome::skip_instruction();
                self.notify(others);
            }
            (Outcome::Retry(others), _) => self.notify(others),
            (Outcome::Abort | Outcome::Value(_), _) => {
                if abort.kind() == FaultKind::Translation && self.is_there_now(ipa) {
                    return After::Resume;
                }
                self.state.exits.count(ExitReason::Fault);
                let origin = origin();
                let esr = origin.data_abort(syndrome::esr());
                return take_exception(origin, esr, Some(syndrome::far()));
            }
        }
        self.state.exits.count(ExitReason::Mmio);
        After::Resume
    }

    #[inline(never)]
    pub(super) fn instruction_abort(&mut self, kind: FaultKind) -> After {
        let ipa = faulting_ipa();
        if kind == FaultKind::AccessFlag {
            return self.first_touch(ipa);
        }
        if kind == FaultKind::Translation && self.is_there_now(ipa) {
            return After::Resume;
        }
        self.state.exits.count(ExitReason::Fault);
        let origin = origin();
        take_exception(origin, origin.instruction_abort(), Some(syndrome::far()))
    }

    /// Whether there is memory at `ipa` after all: a translation fault may have met the moment in which another vCPU's call
    /// had a block made a table, when neither was there (break-before-make).
    fn is_there_now(&mut self, ipa: Ipa) -> bool {
        let is_there = self.domain.memory.lock().touch(ipa).is_ok();
        if is_there {
            self.state.exits.count(ExitReason::AccessFlag);
        }
        is_there
    }

    fn first_touch(&mut self, ipa: Ipa) -> After {
        self.state.exits.count(ExitReason::AccessFlag);
        // If another vCPU was quicker, or the domain ends meanwhile, there is nothing to do.
        let _ = self.domain.memory.lock().touch(ipa);
        After::Resume
    }

    fn device_access(&mut self, context: &GuestContext, ipa: Ipa, access: DataAccess) -> Outcome {
        let operation = match access.is_write() {
            true => Operation::Write(context.register(access.rt())),
            false => Operation::Read,
        };
        let width = access.width();
        if let Some(offset) = offset_in(GICV3_DISTRIBUTOR, ipa) {
            let access = Access { offset: offset as u32, width, operation };
            return self.domain.vgic.lock().distributor_access(self.vcpu.id, access, &Live);
        }
        if let Some(offset) = offset_in(GICV3_REDISTRIBUTORS, ipa) {
            let (frame, offset) = (offset / GICV3_REDISTRIBUTOR_STRIDE, offset % GICV3_REDISTRIBUTOR_STRIDE);
            let access = Access { offset: offset as u32, width, operation };
            return self.redistributor_access(frame, access);
        }
        match offset_in(VPL011, ipa) {
            Some(offset) => self.uart_access(offset, width, operation),
            None => Outcome::Abort,
        }
    }

    fn redistributor_access(&mut self, frame: u64, access: Access) -> Outcome {
        let frame = VcpuId(frame as u8);
        if usize::from(frame.0) >= self.domain.vcpus.len() {
            return Outcome::Abort;
        }
        self.domain.vgic.lock().redistributor_access(self.vcpu.id, frame, access, &Live)
    }

    #[inline(never)]
    fn uart_access(&mut self, offset: u64, width: Width, operation: Operation) -> Outcome {
        let Some(uart) = &self.domain.uart else { return Outcome::Abort };
        let mut uart = uart.lock();
        let size = width as u8;
        let done = match operation {
            Operation::Read => uart.read(offset, size).map(|value| (Some(value), None)),
            Operation::Write(value) => uart.write(offset, size, value).map(|sent| (None, sent)),
        };
        let Ok((value, sent)) = done else { return Outcome::Abort };
        if let Some(byte) = sent {
            self.domain.send(byte);
        }
        let others: VcpuSet = self.domain.drive_uart_line(&mut uart);
        drop(uart);
        match value {
            Some(value) => {
                self.notify(others);
                Outcome::Value(value)
            }
            None => Outcome::Written(others),
        }
    }
}
