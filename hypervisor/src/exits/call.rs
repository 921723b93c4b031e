//! Calls: PSCI and SMCCC by `HVC #0` or `SMC #0`, Xen's hypercalls by `HVC #0xEA1`.

use mote_core::addr::Ipa;
use mote_core::psci::{self, Action, Code};
use mote_core::sched::Leaving;
use mote_platform::guest::{After, CallRegisters, GuestContext};
use mote_platform::syndrome;
use xen_abi::arch_arm::HYPERCALL_TAG;
use xen_abi::hypercall::{self, EFAULT, EINVAL, ENOSYS};
use xen_abi::sched;

use super::Session;
use crate::domain::End;
use crate::stats::ExitReason;
use crate::vcpu::Start;

impl Session<'_> {
    pub(super) fn call(&mut self, call: &mut CallRegisters) -> After {
        match syndrome::esr() as u16 {
            0 => self.smccc(call.arguments()),
            HYPERCALL_TAG => self.xen(call.arguments()),
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
        let mut arguments = [0; 18];
        arguments.copy_from_slice(&context.registers()[..18]);
        let after = self.smccc(&mut arguments);
        for (register, value) in (0..).zip(arguments) {
            context.set_register(register, value);
        }
        after
    }

    fn smccc(&mut self, x: &mut [u64; 18]) -> After {
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
                x[0] = Code::Success.value();
                self.domain.start(vcpu, Start { entry, context });
            }
            Action::Suspend => {
                x[0] = Code::Success.value();
                return self.wait_for_interrupt();
            }
            Action::PowerOff => return self.power_off(),
            Action::SystemOff => return self.end(End::Shutdown),
            Action::SystemReset => return self.end(End::Reboot),
        }
        After::Resume
    }

    fn power_off(&mut self) -> After {
        let others = {
            let mut vgic = self.domain.vgic.lock();
            vgic.reset_vcpu(self.vcpu.id, &mut crate::interface::Live)
        };
        self.domain.wake_all(others);
        self.leave(Leaving::Offline)
    }

    /// The one hypercall that a guest needs to say how it ends; all others are not there.
    fn xen(&mut self, x: &mut [u64; 18]) -> After {
        self.state.exits.count(ExitReason::Hypercall);
        x[0] = match (x[16], x[0]) {
            (hypercall::SCHED_OP, sched::SHUTDOWN) => match self.shutdown(x[1]) {
                Ok(end) => return self.end(end),
                Err(error) => error,
            },
            _ => ENOSYS,
        };
        After::Resume
    }
}

impl Session<'_> {
    /// `SCHEDOP_shutdown`: how the domain ends, or the error if it does not.
    fn shutdown(&self, argument: u64) -> Result<End, u64> {
        let mut bytes = [0; 4];
        self.read_guest(argument, &mut bytes)?;
        match u32::from_le_bytes(bytes) {
            sched::reason::POWEROFF => Ok(End::Shutdown),
            sched::reason::REBOOT => Ok(End::Reboot),
            sched::reason::CRASH => Ok(End::Crashed("it says that it crashed")),
            sched::reason::WATCHDOG => Ok(End::Crashed("its watchdog ran out")),
            _ => Err(EINVAL),
        }
    }

    /// Copies a guest's bytes from a virtual address of its own, once.
    fn read_guest(&self, address: u64, into: &mut [u8]) -> Result<(), u64> {
        let mut memory = self.domain.memory.lock();
        for (offset, byte) in (0..).zip(into) {
            let at = address.checked_add(offset).ok_or(EFAULT)?;
            let ipa = syndrome::translate_stage1(at).ok_or(EFAULT)?;
            *byte = memory.read_byte(Ipa(ipa)).map_err(|_| EFAULT)?;
        }
        Ok(())
    }
}
