//! A physical CPU's life: pick a vCPU, run it until it has to leave, pick the next.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use mote_core::id::{PcpuId, VcpuId};
use mote_core::machine::Machine as Description;
use mote_core::sched::Leaving;
use mote_core::timer::earliest;
use mote_core::vgic::{Hcr, IntId, VcpuSet};
use mote_platform::gic::{self, Redistributor};
use mote_platform::guest;
use mote_platform::{cpu, list_registers, stage2, timer};
use xen_abi::arch_arm::{TIMER_PHYSICAL_INTID, TIMER_VIRTUAL_INTID};

use crate::domain::Domain;
use crate::exits::Session;
use crate::interface::Live;
use crate::machine::machine;
use crate::passthrough;
use crate::vcpu::{Vcpu, VcpuState};

/// The virtual timer's interrupt, as guests know it.
pub const VIRTUAL_TIMER: IntId = IntId::new(TIMER_VIRTUAL_INTID).expect("a PPI");
/// The emulated physical timer's interrupt, as guests know it.
pub const PHYSICAL_TIMER: IntId = IntId::new(TIMER_PHYSICAL_INTID).expect("a PPI");

/// A time of the physical counter as guests' records have it.
pub fn nanoseconds(ticks: u64) -> u64 {
    mote_core::timer::nanoseconds(ticks, timer::frequency())
}

/// The physical interrupts that EL2 uses, as INTIDs.
#[derive(Clone, Copy, Debug)]
pub struct Wiring {
    /// EL2's own timer.
    pub alarm: u32,
    /// The virtual timer.
    pub virtual_timer: IntId,
    /// The virtual CPU interface.
    pub maintenance: u32,
    /// The console, if it has one.
    pub console: Option<u32>,
}

impl Wiring {
    /// What the device tree says.
    pub fn new(machine: &Description, console: Option<u32>) -> Self {
        Self {
            alarm: machine.hypervisor_timer,
            virtual_timer: IntId::new(machine.virtual_timer)
                .expect("the device tree names a PPI for the virtual timer"),
            maintenance: machine.gic.maintenance,
            console,
        }
    }

    /// `None` if EL2 never asked for it.
    fn cause(&self, intid: u32) -> Option<Cause> {
        Some(match intid {
            gic::KICK => Cause::Kick,
            intid if intid == u32::from(self.virtual_timer.get()) => Cause::VirtualTimer,
            intid if intid == self.alarm => Cause::Alarm,
            intid if intid == self.maintenance => Cause::Maintenance,
            intid if Some(intid) == self.console => Cause::Console,
            intid => Cause::Device(IntId::new(intid).filter(|intid| !intid.is_private())?),
        })
    }
}

/// Why a physical interrupt came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Another pCPU asks for attention.
    Kick,
    /// EL2's own alarm.
    Alarm,
    /// The loaded vCPU's virtual timer. The interrupt stays active.
    VirtualTimer,
    /// The loaded vCPU's list registers need care.
    Maintenance,
    /// Somebody typed.
    Console,
    /// Some domain's device. The interrupt stays active.
    Device(IntId),
}

/// What a pCPU owns.
pub struct Pcpu {
    /// Its number.
    pub id: PcpuId,
    /// The interrupts that it takes.
    pub wiring: Wiring,
    redistributor: Redistributor,
    // Whether the vCPU that left last has the virtual timer's interrupt in hand, so that it is active here.
    timer_active: bool,
    // When the scheduler wants to look again, and when the loaded vCPU's physical timer fires.
    alarm: Option<u64>,
    timer_deadline: Option<u64>,
    // What the timer is set to.
    programmed: Option<u64>,
}

impl Pcpu {
    /// Prepares the calling CPU.
    ///
    /// # Panics
    /// If its redistributor cannot be set up: the machine is not what its device tree says.
    pub fn bring_up() -> Self {
        let machine = machine();
        let wiring = machine.wiring;
        guest::configure_traps();
        stage2::leave_guest();
        let mut redistributor = gic::init_this_cpu().expect("every CPU has a redistributor");
        let virtual_timer = u32::from(wiring.virtual_timer.get());
        for ppi in [wiring.alarm, virtual_timer, wiring.maintenance] {
            redistributor.enable(ppi).expect("the device tree names PPIs");
        }
        let id = PcpuId(cpu::this() as u8);
        Self { id, wiring, redistributor, timer_active: false, alarm: None, timer_deadline: None, programmed: None }
    }

    /// Serves the domains, for good.
    pub fn serve(mut self) -> ! {
        let machine = machine();
        let mut next = machine.next(self.id, None);
        loop {
            self.alarm = next.alarm;
            self.set_timer_deadline(None);
            let Some((domain, index)) = next.vcpu else {
                self.idle();
                next = machine.next(self.id, None);
                continue;
            };
            let vcpu = domain.vcpu(index);
            let leaving = if domain.has_ended() { Leaving::Offline } else { self.run(&domain, vcpu, next.ready) };
            // The domain's tables and its VMID may be another's as soon as the scheduler takes the vCPU back.
            stage2::leave_guest();
            next = machine.next(self.id, Some((vcpu.slot, leaving)));
            if domain.has_ended() {
                if machine.retire(&domain, vcpu.slot) {
                    domain.let_go(vcpu);
                }
                drop(domain);
                machine.power_off_if_over();
            }
        }
    }

    fn idle(&mut self) {
        cpu::wait_for_interrupt();
        while let Some(cause) = self.acknowledge() {
            match cause {
                Cause::Console => machine().read_console(),
                // No vCPU is here whose it could be.
                Cause::VirtualTimer => self.release(VIRTUAL_TIMER),
                Cause::Device(intid) => passthrough::deliver(intid, |domain, set| domain.wake_all(set)),
                _ => {}
            }
        }
    }

    /// Takes the pending physical interrupt of highest priority, if EL2 knows it. Only the virtual timer's and devices' are left active.
    pub fn acknowledge(&mut self) -> Option<Cause> {
        let intid = gic::acknowledge()?;
        let cause = self.wiring.cause(intid);
        match cause {
            Some(Cause::VirtualTimer | Cause::Device(_)) => return cause,
            // It is asserted until it is set anew.
            Some(Cause::Alarm) => self.program(None),
            _ => {}
        }
        gic::deactivate(intid);
        cause
    }

    /// Lets the physical interrupt of the virtual timer or of a device come again: nobody will end the one that is in hand.
    pub fn release(&mut self, intid: IntId) {
        if intid == VIRTUAL_TIMER {
            self.redistributor.set_active(u32::from(self.wiring.virtual_timer.get()), false);
        } else {
            gic::deactivate(intid.get().into());
        }
    }

    /// Sets the alarm for the scheduler.
    pub fn set_alarm(&mut self, alarm: Option<u64>) {
        self.alarm = alarm;
        self.program_alarm();
    }

    /// Sets the alarm for the loaded vCPU's physical timer.
    pub fn set_timer_deadline(&mut self, deadline: Option<u64>) {
        self.timer_deadline = deadline;
        self.program_alarm();
    }

    fn program_alarm(&mut self) {
        let deadline = earliest(self.alarm, self.timer_deadline);
        if deadline != self.programmed {
            self.program(deadline);
        }
    }

    fn program(&mut self, deadline: Option<u64>) {
        self.programmed = deadline;
        timer::set_alarm(deadline);
    }

    /// Runs a vCPU until it has to leave.
    fn run(&mut self, domain: &Arc<Domain>, vcpu: &Vcpu, ready: u64) -> Leaving {
        let mut state = vcpu.state.lock();
        self.load(domain, vcpu, &mut state);
        state.machine.runstate.enter(nanoseconds(ready), nanoseconds(timer::now()));
        vcpu.show_runstate(&state.machine.runstate, domain.pv.marks_updates.load(Ordering::Relaxed));
        let VcpuState { context, machine: rest } = &mut *state;
        let itself = VcpuSet::of(vcpu.id);
        let mut session = Session { pcpu: self, domain, vcpu, itself, state: rest, leaving: Leaving::Preempted };
        session.settle();
        guest::run(context, &mut session);
        let leaving = session.leaving;
        state.machine.runstate.leave(leaving, nanoseconds(timer::now()));
        vcpu.show_runstate(&state.machine.runstate, domain.pv.marks_updates.load(Ordering::Relaxed));
        self.save(domain, vcpu.id, &mut state);
        leaving
    }

    fn load(&mut self, domain: &Domain, vcpu: &Vcpu, state: &mut VcpuState) {
        if let Some(start) = vcpu.start.lock().take() {
            state.reset(start);
            domain.announce_again(vcpu.id);
        }
        stage2::load(domain.root.0, domain.tag.vmid());
        self.forget_siblings(domain, vcpu.id);
        state.machine.system.load();
        state.machine.floating_point.load();
        state.machine.interface.load();
        list_registers::set_control(Hcr::BASE.0);
        let in_flight = domain.vgic.lock().hw_in_flight(vcpu.id, VIRTUAL_TIMER);
        if in_flight != self.timer_active {
            self.redistributor.set_active(u32::from(self.wiring.virtual_timer.get()), in_flight);
            self.timer_active = in_flight;
        }
        let first = &domain.milestones.first_instruction;
        if first.load(Ordering::Relaxed) == 0 {
            first.store(timer::now(), Ordering::Relaxed);
        }
    }

    /// Another vCPU of the domain may have left its own translations here under the same tags.
    fn forget_siblings(&self, domain: &Domain, vcpu: VcpuId) {
        let Some(last) = domain.last_on.get(usize::from(self.id.0)) else { return };
        let marker = vcpu.0 + 1;
        if last.swap(marker, Ordering::Relaxed) != marker {
            stage2::forget_stage1();
        }
    }

    fn save(&mut self, domain: &Domain, vcpu: VcpuId, state: &mut VcpuState) {
        state.machine.system.save();
        state.machine.floating_point.save();
        let mut vgic = domain.vgic.lock();
        let others = vgic.sync(vcpu, &mut Live);
        self.timer_active = vgic.hw_in_flight(vcpu, VIRTUAL_TIMER);
        drop(vgic);
        state.machine.interface.save();
        domain.wake_all(others);
    }
}
