//! Calls: PSCI and SMCCC by `HVC #0` or `SMC #0`, Xen's hypercalls by `HVC #0xEA1`.

use mote_core::psci::{self, Action};
use mote_core::sched::Leaving;
use mote_platform::guest::{After, CallRegisters, GuestContext};
use mote_platform::syndrome;
use xen_abi::arch_arm::HYPERCALL_TAG;

use super::Session;
use crate::domain::End;
use crate::interface::Live;
use crate::stats::ExitReason;
use crate::vcpu::Start;

impl Session<'_> {
    pub(super) fn call(&mut self, call: &mut CallRegisters) -> After {
        match syndrome::esr() as u16 {
            0 => self.smccc(call),
            HYPERCALL_TAG => self.xen(call),
            _ => {
                self.state.exits.count(ExitReason::Fault);
                self.undefined()
            }
        }
    }

    /// `SMC` traps before it is executed; Xen answers it like `HVC`.
    #[inline(never)]
    pub(super) fn secure_call(&mut self, context: &mut GuestContext) -> After {
        syndrome::skip_instruction();
        self.smccc(context.call_registers())
    }

    fn smccc(&mut self, x: &mut CallRegisters) -> After {
        self.state.exits.count(ExitReason::Psci);
        let function = x[0] as u32;
        let action = match psci::immediate(function, x[1]) {
            Some(action) => action,
            None => self.domain.power.lock().call(self.vcpu.id, function, [x[1], x[2], x[3]]),
        };
        match action {
            Action::Return(value) => x[0] = value,
            Action::ReturnFour(values) => x[..4].copy_from_slice(&values),
            Action::PowerOn { vcpu, entry, context } => {
                x[0] = psci::SUCCESS;
                self.domain.start(vcpu, Start { entry, context });
            }
            Action::Suspend => {
                x[0] = psci::SUCCESS;
                let leaving = self.wait_for_interrupt();
                return self.leave_if(leaving);
            }
            Action::PowerOff => {
                let others = self.domain.vgic.lock().reset_vcpu(self.vcpu.id, &mut Live);
                self.domain.wake_all(others);
                self.share_watchdog();
                return self.leave(Leaving::Offline);
            }
            Action::SystemOff => return self.end(End::SHUTDOWN),
            Action::SystemReset => return self.end(End::REBOOT),
        }
        After::Resume
    }
}
