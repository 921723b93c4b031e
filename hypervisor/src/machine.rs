//! The machine as a whole: which pCPUs there are, which vCPU runs where, and who hears of what.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use mote_core::id::{DomainId, PcpuId, VcpuId};
use mote_core::idregs::IdRegisters;
use mote_core::sched::{Leaving, Scheduler, VcpuSlot};
use mote_platform::lock::Mutex;
use mote_platform::{firmware, gic, syndrome, timer, uart};
use spin::Once;

use crate::console::{self, Wire};
use crate::domain::Domain;
use crate::pcpu::{Pcpu, Wiring};
use crate::report;

static MACHINE: Once<Machine> = Once::new();

/// Slices in a second: each turn takes 5 ms when vCPUs compete.
const SLICES_PER_SECOND: u64 = 200;

/// What all pCPUs share. Locks are taken in this order: a domain's event channels, its grants, its memory, its UART, its
/// virtual GIC, its power; then the list of domains; the schedule; the pool of frames; the console. Of two domains' event
/// channels those of the lower number come first; of anything else of two domains' nobody holds both. A vCPU's own state is its
/// pCPU's alone.
pub struct Machine {
    /// The interrupts that EL2 uses.
    pub wiring: Wiring,
    /// What guests see of the CPU's ID registers.
    pub id_registers: IdRegisters,
    // Affinities by pCPU number.
    affinities: Box<[u64]>,
    schedule: Mutex<Schedule>,
    // Domains that are not all gone, and one more while they are being built.
    left: AtomicUsize,
    domains: Mutex<Numbered<Arc<Domain>>>,
    ram_bytes: u64,
    entered: u64,
    first_guest: Once<u64>,
}

struct Schedule {
    scheduler: Scheduler,
    /// Whose vCPU a slot is.
    vcpus: Numbered<(Arc<Domain>, VcpuId)>,
}

/// Things by their numbers.
struct Numbered<T>(Vec<Option<T>>);

impl<T: Clone> Numbered<T> {
    fn get(&self, number: usize) -> Option<T> {
        self.0.get(number).cloned().flatten()
    }

    fn set(&mut self, number: usize, to: Option<T>) {
        if self.0.len() <= number {
            self.0.resize_with(number + 1, || None);
        }
        self.0[number] = to;
    }
}

/// What a pCPU does next.
pub struct Next {
    /// The vCPU to run, or none to idle.
    pub vcpu: Option<(Arc<Domain>, VcpuId)>,
    /// Since when it could have run, in ticks.
    pub ready: u64,
    /// When to look again, in ticks.
    pub alarm: Option<u64>,
}

/// The machine, once the boot CPU has set it up.
///
/// # Panics
/// Before that.
pub fn machine() -> &'static Machine {
    MACHINE.get().expect("the boot CPU sets the machine up before anything runs")
}

impl Machine {
    /// Sets the machine up with the CPUs of these affinities; the first is the calling one.
    pub fn init(affinities: Vec<u64>, wiring: Wiring, ram_bytes: u64, entered: u64) -> &'static Self {
        let slice = timer::frequency() / SLICES_PER_SECOND;
        let scheduler = Scheduler::new(affinities.len(), slice);
        MACHINE.call_once(|| Self {
            wiring,
            id_registers: IdRegisters::new(syndrome::id_register),
            affinities: affinities.into(),
            schedule: Mutex::new(Schedule { scheduler, vcpus: Numbered(Vec::new()) }),
            left: AtomicUsize::new(1),
            domains: Mutex::new(Numbered(Vec::new())),
            ram_bytes,
            entered,
            first_guest: Once::new(),
        })
    }

    /// Does something to the schedule, and tells the pCPUs that it concerns.
    fn with_schedule<R>(&self, f: impl FnOnce(&mut Schedule, u64) -> R) -> R {
        let mut schedule = self.schedule.lock();
        let result = f(&mut schedule, timer::now());
        let summons = schedule.scheduler.take_summons();
        drop(schedule);
        for pcpu in summons {
            if let Some(&affinity) = self.affinities.get(usize::from(pcpu.0)) {
                gic::kick(affinity);
            }
        }
        result
    }

    /// A slot for a vCPU that is still to be made.
    pub fn reserve_slot(&self, weight: u32) -> Option<VcpuSlot> {
        self.with_schedule(|schedule, _| schedule.scheduler.add(weight).ok())
    }

    /// Gives a slot back whose vCPU was never made.
    pub fn free_slot(&self, slot: VcpuSlot) {
        self.with_schedule(|schedule, _| schedule.scheduler.remove(slot));
    }

    /// Puts a domain into its slots. Its vCPUs are switched off.
    pub fn add(&self, domain: &Arc<Domain>) {
        self.domains.lock().set(domain.id.get().into(), Some(domain.clone()));
        self.with_schedule(|schedule, _| {
            for vcpu in &domain.vcpus {
                schedule.vcpus.set(vcpu.slot.index(), Some((domain.clone(), vcpu.id)));
            }
        });
    }

    /// Switches a vCPU on.
    pub fn start(&self, slot: VcpuSlot) {
        self.with_schedule(|schedule, now| schedule.scheduler.start(slot, now));
    }

    /// Tells a vCPU that something happened.
    pub fn wake(&self, slot: VcpuSlot) {
        self.with_schedule(|schedule, now| schedule.scheduler.wake(slot, now));
    }

    /// The same from a vCPU that runs on `pcpu`, which needs no interrupt to learn that another one waits for it.
    pub fn wake_from(&self, slot: VcpuSlot, pcpu: &mut Pcpu) {
        let alarm = self.with_schedule(|schedule, now| {
            schedule.scheduler.wake(slot, now);
            schedule.scheduler.learn(pcpu.id, now)
        });
        if alarm.is_some() {
            pcpu.set_alarm(alarm);
        }
    }

    /// Sees to it that a vCPU runs no more; `false` if it still has to leave its pCPU.
    pub fn retire(&self, slot: VcpuSlot) -> bool {
        self.with_schedule(|schedule, _| schedule.scheduler.retire(slot))
    }

    /// Takes a vCPU off `pcpu` for good, which runs none then.
    pub fn depart(&self, pcpu: PcpuId, slot: VcpuSlot) {
        self.with_schedule(|schedule, now| schedule.scheduler.depart(pcpu, slot, now));
    }

    /// Takes a vCPU that has left for why it left, and says whom `pcpu` runs next.
    pub fn next(&self, pcpu: PcpuId, left: Option<(VcpuSlot, Leaving)>) -> Next {
        self.with_schedule(|schedule, now| {
            let next = schedule.scheduler.next(pcpu, now, left);
            let vcpu = next.vcpu.and_then(|slot| schedule.vcpus.get(slot.index()));
            let ready = next.vcpu.map_or(0, |slot| schedule.scheduler.ready_since(slot));
            Next { vcpu, ready, alarm: next.alarm }
        })
    }

    /// Whether the vCPU on `pcpu` must make room, and if not, when to ask again.
    pub fn review(&self, pcpu: PcpuId) -> Result<Option<u64>, Leaving> {
        self.with_schedule(|schedule, now| {
            let stays = !schedule.scheduler.must_leave(pcpu, now);
            stays.then(|| schedule.scheduler.alarm(pcpu)).ok_or(Leaving::Preempted)
        })
    }

    /// Whether some vCPU waits for a pCPU: else there is no one to make room for.
    pub fn is_contested(&self) -> bool {
        self.schedule.lock().scheduler.is_contested()
    }

    /// Notes that a domain is about to run its first instruction.
    pub fn first_guest(&self) {
        self.first_guest.call_once(timer::now);
    }

    /// A domain by its number, if it has not ended.
    #[inline(never)]
    pub fn domain(&self, id: DomainId) -> Option<Arc<Domain>> {
        self.domains.lock().get(id.get().into())
    }

    /// Forgets a domain whose vCPUs have all left, and reports it.
    pub fn bury(&self, domain: &Arc<Domain>) {
        let cpu_ticks = self.with_schedule(|schedule, _| {
            let mut ticks = 0;
            for vcpu in &domain.vcpus {
                ticks += schedule.scheduler.remove(vcpu.slot);
                schedule.vcpus.set(vcpu.slot.index(), None);
            }
            ticks
        });
        self.domains.lock().set(domain.id.get().into(), None);
        domain.dismantle(cpu_ticks);
    }

    /// One more domain is there.
    pub fn enter(&self) {
        self.left.fetch_add(1, Ordering::Relaxed);
    }

    /// A domain is gone with all it had, or all domains are built.
    pub fn leave(&self) {
        self.left.fetch_sub(1, Ordering::AcqRel);
    }

    /// Switches the machine off if no domain is there any more. Whoever lets the last one go comes by here.
    pub fn power_off_if_deserted(&self) {
        const OFF: usize = usize::MAX / 2;
        if self.left.compare_exchange(0, OFF, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            self.power_off();
        }
    }

    /// Ends everything.
    pub fn power_off(&self) -> ! {
        let first_guest = self.first_guest.get().copied().unwrap_or(0);
        report::machine(self.affinities.len(), self.ram_bytes, self.entered, first_guest);
        firmware::system_off()
    }

    /// How many pCPUs there are.
    pub fn pcpus(&self) -> usize {
        self.affinities.len()
    }

    /// Passes on what was typed.
    pub fn read_console(&self) {
        const CTRL_A: u8 = 1;
        while let Some(byte) = uart::read() {
            let typed = console::lock().typed(byte, &mut Wire);
            if let Some((id, switches)) = typed
                && let Some(domain) = self.domain(id)
            {
                (0..switches).for_each(|_| domain.receive(CTRL_A));
                domain.receive(byte);
            }
        }
    }
}
