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
        let value = match (sysreg::meaning(access), access.is_read()) {
            // First, because it is what guests do most.
            (Meaning::Sgi, false) => {
                let value = context.register(access.rt());
                self.with_vgic(|vgic, vcpu| vgic.send_sgi(vcpu, value));
                0
            }
            (Meaning::Ignored, _) => 0,
            (Meaning::Constant(value), true) => value,
            (Meaning::Identification(crm, op2), true) => machine().id_registers.get(crm, op2),
            (Meaning::Timer(register), true) => self.state.timer.read(register, timer::now()),
            (Meaning::Timer(register), false) => {
                let now = timer::now();
                self.state.timer.write(register, context.register(access.rt()), now);
                self.update_timer_line(now);
                0
            }
            (Meaning::Deactivate, false) => {
                let value = context.register(access.rt());
                self.with_vgic(|vgic, vcpu| vgic.deactivate(vcpu, value, &mut Live));
                0
            }
            _ => return self.undefined(),
        };
        if access.is_read() {
            context.set_register(access.rt(), value);
        }
        syndrome::skip_instruction();
        After::Resume
    }
}
