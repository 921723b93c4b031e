//! Trapped system registers.

use mote_core::esr::SystemAccess;
use mote_core::sysreg::{self, Meaning};
use mote_core::timer::TimerRegister;
use mote_core::vgic::SgiRegister;
use mote_platform::guest::{After, GuestContext};
use mote_platform::{syndrome, timer};

use super::Session;
use crate::interface::Live;
use crate::machine::machine;
use crate::stats::ExitReason;

impl Session<'_> {
    #[inline(never)]
    pub(super) fn system_register(&mut self, context: &mut GuestContext, access: SystemAccess) -> After {
        self.state.exits.count(ExitReason::SystemRegister);
        let meaning = sysreg::meaning(access.register());
        let done = if access.is_read() {
            self.read_register(meaning).map(|value| context.set_register(access.rt(), value))
        } else {
            self.write_register(meaning, context.register(access.rt()))
        };
        if done.is_none() {
            return self.undefined();
        }
        syndrome::skip_instruction();
        After::Resume
    }

    /// The value read, or `None` if the register cannot be.
    fn read_register(&mut self, meaning: Meaning) -> Option<u64> {
        match meaning {
            Meaning::Ignored => Some(0),
            Meaning::Constant(value) => Some(value),
            Meaning::Identification(crm, op2) => Some(machine().id_registers.get(crm, op2)),
            Meaning::Timer(register) => Some(self.state.timer.read(register, timer::now())),
            Meaning::Sgi(_) | Meaning::Deactivate | Meaning::Undefined => None,
        }
    }

    /// Takes the value written, or returns `None` if the register cannot be.
    fn write_register(&mut self, meaning: Meaning, value: u64) -> Option<()> {
        match meaning {
            Meaning::Ignored => {}
            Meaning::Timer(register) => self.write_timer(register, value),
            Meaning::Sgi(register) => self.send_sgi(register, value),
            Meaning::Deactivate => self.deactivate(value),
            Meaning::Constant(_) | Meaning::Identification(..) | Meaning::Undefined => return None,
        }
        Some(())
    }

    fn write_timer(&mut self, register: TimerRegister, value: u64) {
        let now = timer::now();
        self.state.timer.write(register, value, now);
        self.update_timer_line(now);
    }

    fn send_sgi(&mut self, register: SgiRegister, value: u64) {
        let mut vgic = self.domain.vgic.lock();
        let mut targets = vgic.send_sgi(self.vcpu.id, value, register);
        if targets.contains(self.vcpu.id) {
            targets.remove(self.vcpu.id);
            targets = targets.union(self.flush_into(&mut vgic));
        }
        drop(vgic);
        self.domain.wake_all(targets);
    }

    fn deactivate(&mut self, value: u64) {
        let others = self.domain.vgic.lock().deactivate(self.vcpu.id, value, &mut Live);
        self.notify(others);
    }
}
