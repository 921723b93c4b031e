//! Aborts by stage 2: emulated devices, first touches of memory, and accesses to nothing.

use mote_core::addr::Ipa;
use mote_core::esr::{DataAbort, FaultKind};
use mote_core::id::VcpuId;
use mote_core::vgic::{Access, Operation, Outcome, VcpuSet};
use mote_platform::guest::{After, GuestContext};
use mote_platform::syndrome;
use xen_abi::arch_arm::{GICV3_DISTRIBUTOR, GICV3_REDISTRIBUTOR_STRIDE, GICV3_REDISTRIBUTORS, VPL011, Window};
use xen_abi::errno::Errno;

use super::{Session, origin, take_exception};
use crate::domain::End;
use crate::interface::Live;
use crate::passthrough;
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
    // All it does is to call, as the trap itself.
    pub(super) fn data_abort(&mut self, context: &mut GuestContext, abort: DataAbort) -> After {
        match abort.kind() {
            FaultKind::Translation if abort.is_described() => self.device_abort(context, abort),
            kind => self.memory_abort(kind),
        }
    }

    #[inline(never)]
    fn device_abort(&mut self, context: &mut GuestContext, abort: DataAbort) -> After {
        if self.device_access(context, faulting_ipa(), abort) {
            self.state.exits.count(ExitReason::Mmio);
            return After::Resume;
        }
        self.memory_abort(abort.kind())
    }

    /// An access that no device answers: to memory that is touched for the first time, or else to nothing.
    #[inline(never)]
    pub(super) fn memory_abort(&mut self, kind: FaultKind) -> After {
        let ipa = faulting_ipa();
        let is_there = match kind {
            FaultKind::AccessFlag | FaultKind::Permission if self.domain.origin.is_some() => {
                match self.domain.own(ipa) {
                    Err(Errno::ENOMEM) => {
                        let why = self.domain.memory.lock().shortage();
                        return self.end(End::crash(why));
                    }
                    // Memory that it got for itself, or that somebody who uses its grants had it get meanwhile.
                    Err(Errno::EEXIST) => self.domain.memory.lock().is_its_own(ipa, kind == FaultKind::Permission),
                    owned => owned.is_ok(),
                }
            }
            // A touch that finds it gone, or touched meanwhile, is for the next try to show. A translation may have met the moment in
            // which another vCPU's call had a block made a table, when neither was there (break-before-make).
            FaultKind::AccessFlag | FaultKind::Translation => {
                self.domain.memory.lock().touch(ipa).is_ok() || kind == FaultKind::AccessFlag
            }
            _ => false,
        };
        if is_there {
            self.state.exits.count(ExitReason::AccessFlag);
            return After::Resume;
        }
        self.state.exits.count(ExitReason::Fault);
        let origin = origin();
        take_exception(origin, origin.external_abort(syndrome::esr()), Some(syndrome::far()))
    }

    /// Does what the guest wants of a device; `false` if it is an abort.
    fn device_access(&mut self, context: &mut GuestContext, ipa: Ipa, access: DataAbort) -> bool {
        let operation = match access.is_write() {
            true => Operation::Write(context.register(access.rt())),
            false => Operation::Read,
        };
        let at = |offset: u64| Access { offset: offset as u32, width: access.width(), operation };
        let outcome = if let Some(offset) = offset_in(GICV3_DISTRIBUTOR, ipa) {
            let outcome = self.domain.vgic.lock().distributor_access(self.vcpu.id, at(offset), &Live);
            // `GICD_ISENABLER`, `GICD_ICENABLER` and `GICD_ICFGR` (IHI0069 §12.8).
            if access.is_write() && matches!(offset, 0x100..0x200 | 0xc00..0xd00) {
                passthrough::follow(self.domain);
            }
            outcome
        } else if let Some(offset) = offset_in(GICV3_REDISTRIBUTORS, ipa) {
            let frame = VcpuId((offset / GICV3_REDISTRIBUTOR_STRIDE) as u8);
            let access = at(offset % GICV3_REDISTRIBUTOR_STRIDE);
            self.domain.vgic.lock().redistributor_access(self.vcpu.id, frame, access, &Live)
        } else if let Some(offset) = offset_in(VPL011, ipa) {
            self.uart_access(at(offset))
        } else {
            Outcome::Abort
        };
        match outcome {
            Outcome::Value(value) => context.set_register(access.rt(), access.loaded(value)),
            Outcome::Written(others) => self.notify(others),
            Outcome::Abort => return false,
        }
        syndrome::skip_instruction();
        true
    }

    #[inline(never)]
    fn uart_access(&mut self, access: Access) -> Outcome {
        let Some(uart) = self.domain.uart() else { return Outcome::Abort };
        let mut uart = uart.lock();
        let (offset, size) = (access.offset.into(), access.width as u8);
        let outcome = match access.operation {
            Operation::Read => uart.read(offset, size).map(Outcome::Value),
            Operation::Write(value) => uart.write(offset, size, value).map(|sent| {
                sent.into_iter().for_each(|byte| self.domain.say(&[byte]));
                Outcome::Written(VcpuSet::EMPTY)
            }),
        };
        let others = self.domain.drive_uart_line(&mut uart);
        drop(uart);
        self.notify(others);
        outcome.unwrap_or(Outcome::Abort)
    }
}
