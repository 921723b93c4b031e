//! Trapped system registers.

use mote_core::esr::SystemAccess;
use mote_core::sysreg::{self, Meaning};
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
        let meaning = sysreg::meaning(access);
        let done = if let (Meaning::Sgi, false) = (meaning, access.is_read()) {
            // First, because it is what guests do most.
            let value = context.register(access.rt());
            self.with_vgic(|vgic, vcpu| vgic.send_sgi(vcpu, value));
            Some(())
        } else if access.is_read() {
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
            Meaning::Sgi | Meaning::Deactivate | Meaning::Undefined => None,
        }
    }

    /// Takes the value written, or returns `None` if the register cannot be.
    fn write_register(&mut self, meaning: Meaning, value: u64) -> Option<()> {
        match meaning {
            Meaning::Ignored => {}
            Meaning::Timer(register) => {
                let now = timer::now();
                self.state.timer.write(register, value, now);
                self.update_timer_line(now);
            }
            Meaning::Deactivate => self.with_vgic(|vgic, vcpu| vgic.deactivate(vcpu, value, &mut Live)),
            Meaning::Constant(_) | Meaning::Identification(..) | Meaning::Sgi | Meaning::Undefined => return None,
        }
        Some(())
    }
}
