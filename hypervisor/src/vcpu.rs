//! A vCPU: what of it outlives its time on a pCPU.

use core::sync::atomic::{AtomicBool, Ordering, fence};

use mote_core::addr::PAGE_SIZE;
use mote_core::id::VcpuId;
use mote_core::runstate::Runstate;
use mote_core::sched::VcpuSlot;
use mote_core::timer::PhysicalTimer;
use mote_platform::guest::{FloatingPoint, GuestContext, SystemRegisters};
use mote_platform::list_registers::VirtualInterface;
use mote_platform::lock::Mutex;
use mote_platform::memory;
use xen_abi::Bytes;
use xen_abi::domctl::VcpuContext;
use xen_abi::errno::Errno;
use xen_abi::mote::call::Identity;
use xen_abi::vcpu::{RunstateInfo, runstate};

use crate::memory::FrameRef;
use crate::stats::Exits;

/// A virtual CPU of a domain.
pub struct Vcpu {
    /// Its number in the domain.
    pub id: VcpuId,
    /// Its place in the scheduler.
    pub slot: VcpuSlot,
    /// Held by the pCPU that runs it, for as long as it runs.
    pub state: Mutex<VcpuState>,
    /// Where it begins when it runs next, if PSCI has just switched it on.
    pub start: Mutex<Option<Start>>,
    /// Where its guest wants to read what it is doing.
    pub runstate_area: Mutex<Option<RunstateArea>>,
    /// Whether it has left for good, because its domain ended.
    pub gone: AtomicBool,
}

/// How a vCPU begins (PSCI `CPU_ON`).
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// IPA of its first instruction.
    pub entry: u64,
    /// Its x0.
    pub context: u64,
}

/// The registers of a vCPU, and what EL2 keeps with them.
pub struct VcpuState {
    /// General registers.
    pub context: GuestContext,
    /// Everything else.
    pub machine: MachineState,
}

/// The part of a vCPU's state that its exits may change while the general registers are lent to the guest.
#[derive(Clone)]
pub struct MachineState {
    /// System registers, valid while it does not run.
    pub system: SystemRegisters,
    /// SIMD and floating point, valid while it does not run.
    pub floating_point: FloatingPoint,
    /// The virtual CPU interface, valid while it does not run.
    pub interface: VirtualInterface,
    /// Its physical timer.
    pub timer: PhysicalTimer,
    /// What it has been doing.
    pub runstate: Runstate,
    /// What its exits were for.
    pub exits: Exits,
}

/// A place for a runstate record in the guest's memory: a record may lie across two pages.
pub struct RunstateArea {
    /// The pages of its first and of its last byte.
    pub pages: [FrameRef; 2],
    /// The place of its first byte in its page.
    pub offset: u64,
}

impl RunstateArea {
    fn write(&self, at: usize, bytes: &[u8]) {
        let at = self.offset as usize + at;
        let (first, second) = bytes.split_at(bytes.len().min((PAGE_SIZE as usize).saturating_sub(at)));
        let [page, next] = &self.pages;
        // Pages are RAM for as long as they are referred to.
        let _ = memory::write(page.base().0 + at as u64, first);
        let behind = (at + first.len()) as u64 % PAGE_SIZE;
        let _ = memory::write(next.base().0 + behind, second);
    }
}

impl Vcpu {
    /// Shows the guest its record, if it wants to see it.
    pub fn show_runstate(&self, record: &Runstate, marked: bool) {
        let area = self.runstate_area.lock();
        let Some(area) = &*area else { return };
        let mut info = record.info;
        if !marked {
            return area.write(0, info.as_bytes());
        }
        let since = core::mem::offset_of!(RunstateInfo, state_entry_time);
        info.state_entry_time |= runstate::UPDATE;
        area.write(since, info.state_entry_time.as_bytes());
        fence(Ordering::SeqCst);
        area.write(0, info.as_bytes());
        fence(Ordering::SeqCst);
        area.write(since, record.info.state_entry_time.as_bytes());
    }
}

impl VcpuState {
    /// A vCPU that is not switched on yet, in a domain whose virtual time began at physical tick `time_origin`.
    pub fn new(mpidr: u64, time_origin: u64) -> Self {
        Self {
            context: GuestContext::default(),
            machine: MachineState {
                system: SystemRegisters::at_reset(0, mpidr, time_origin),
                floating_point: FloatingPoint::default(),
                interface: VirtualInterface::default(),
                timer: PhysicalTimer::default(),
                runstate: Runstate::new(0),
                exits: Exits::default(),
            },
        }
    }

    /// Sets its registers as the control domain gives them.
    ///
    /// # Errors
    /// If they are not those of a vCPU in AArch64 state at EL1 or EL0.
    pub fn set_context(&mut self, context: &VcpuContext) -> Result<(), Errno> {
        /// `SPSR_EL2.M`, of EL0 and EL1 alone, and the other fields that a guest may have (Arm ARM C5.2.19).
        const MODES: [u64; 3] = [0b0_0000, 0b0_0100, 0b0_0101];
        const FIELDS: u64 = 0xf000_03c0;
        let from = &context.user_regs;
        let mode = from.cpsr & 0x1f;
        if !MODES.contains(&mode) {
            return Err(Errno::EINVAL);
        }
        (0..).zip(from.x).for_each(|(register, value)| self.context.set_register(register, value));
        let system = &mut self.machine.system;
        (system.elr_el2, system.spsr_el2) = (from.pc64, from.cpsr & FIELDS | mode);
        (system.sp_el0, system.sp_el1) = (from.sp_el0, from.sp_el1);
        (system.elr_el1, system.spsr_el1) = (from.elr_el1, from.spsr_el1);
        (system.sctlr_el1, system.tcr_el1) = (context.sctlr, context.ttbcr);
        (system.ttbr0_el1, system.ttbr1_el1) = (context.ttbr0, context.ttbr1);
        Ok(())
    }

    /// A clone's: it goes on where this one is, and finds in its registers who it is.
    pub fn fork(&self, identity: &Identity, now: u64) -> Self {
        let mut context = self.context.clone();
        let values = [1, identity.domain.into()].into_iter().chain(identity.seed).chain(identity.argument);
        (0..).zip(values).for_each(|(register, value)| context.set_register(register, value));
        let (runstate, exits) = (Runstate::new(now), Exits::default());
        Self { context, machine: MachineState { runstate, exits, ..self.machine.clone() } }
    }

    /// Puts it at the beginning of `start`, everything else as after a reset.
    pub fn reset(&mut self, start: Start) {
        let system = &self.machine.system;
        let (mpidr, time_origin) = (system.vmpidr_el2, system.cntvoff_el2);
        self.context = GuestContext::default();
        self.context.set_register(0, start.context);
        self.machine.system = SystemRegisters::at_reset(start.entry, mpidr, time_origin);
        self.machine.floating_point = FloatingPoint::default();
        self.machine.interface = VirtualInterface::default();
        self.machine.timer.reset();
    }
}
