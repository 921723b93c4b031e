//! A guest's exits while it is loaded on a pCPU: decode, decide in core, answer.

mod abort;
mod call;
mod interrupt;
mod system;
mod xen;

use alloc::sync::Arc;

use mote_core::esr::{self, Origin, Syndrome};
use mote_core::sched::Leaving;
use mote_core::vgic::VcpuSet;
use mote_platform::guest::{After, CallRegisters, ExitHandler, GuestContext};
use mote_platform::syndrome;

use crate::domain::{Domain, End};
use crate::pcpu::Pcpu;
use crate::stats::ExitReason;
use crate::vcpu::{MachineState, Vcpu};

/// One vCPU's stay on a pCPU.
pub struct Session<'a> {
    /// The pCPU.
    pub pcpu: &'a mut Pcpu,
    /// The vCPU's domain.
    pub domain: &'a Arc<Domain>,
    /// The vCPU.
    pub vcpu: &'a Vcpu,
    /// The vCPU as a set.
    pub itself: VcpuSet,
    /// Its state besides the general registers.
    pub state: &'a mut MachineState,
    /// Why it leaves, once it has to.
    pub leaving: Leaving,
}

impl ExitHandler for Session<'_> {
    extern "C" fn hypercall(&mut self, call: &mut CallRegisters) -> After {
        self.call(call)
    }

    // All it does is to call: so it needs no stack, and a trap is as cheap as its own handler.
    extern "C" fn trap(&mut self, context: &mut GuestContext) -> After {
        match esr::decode(syndrome::esr()) {
            Syndrome::Data(abort) => self.data_abort(context, abort),
            Syndrome::Instruction(kind) => self.memory_abort(kind),
            Syndrome::System(access) => self.system_register(context, access),
            Syndrome::Wait { is_event } => self.wait(is_event),
            Syndrome::Smc => self.secure_call(context),
            Syndrome::Other => self.other_trap(),
        }
    }

    extern "C" fn interrupt(&mut self) -> After {
        self.state.exits.count(ExitReason::Interrupt);
        self.physical_interrupt()
    }

    extern "C" fn serror(&mut self) -> After {
        self.state.exits.count(ExitReason::Other);
        self.end(End::crash("an asynchronous external abort (SError) came while it ran"))
    }
}

impl Session<'_> {
    /// Sends the vCPU off its pCPU.
    fn leave(&mut self, leaving: Leaving) -> After {
        self.leaving = leaving;
        After::Leave
    }

    /// The same, if it is to leave.
    fn leave_if(&mut self, leaving: Option<Leaving>) -> After {
        leaving.map_or(After::Resume, |leaving| self.leave(leaving))
    }

    /// Ends the domain.
    fn end(&mut self, how: End) -> After {
        self.domain.end(how);
        self.leave(Leaving::Offline)
    }

    #[inline(never)]
    fn other_trap(&mut self) -> After {
        self.state.exits.count(ExitReason::Fault);
        self.undefined()
    }

    /// Gives the guest the exception of an undefined instruction.
    fn undefined(&mut self) -> After {
        take_exception(origin(), esr::UNDEFINED, None)
    }
}

/// Where the guest is.
fn origin() -> Origin {
    let (pstate, vbar) = (syndrome::pstate(), syndrome::vbar_el1());
    Origin { pstate, vbar, sctlr: syndrome::sctlr_el1() }
}

fn take_exception(origin: Origin, esr: u64, far: Option<u64>) -> After {
    let (vector, pstate) = origin.synchronous();
    syndrome::inject(vector, pstate, esr, far);
    After::Resume
}
