//! The machine as a whole: which pCPUs there are, which vCPU runs where, and who hears of what.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use mote_core::id::{DomainId, PcpuId, VcpuId};
use mote_core::idregs::IdRegisters;
use mote_core::ledger::Ledger;
use mote_core::sched::{Leaving, Next, Scheduler, State, VcpuSlot};
use mote_core::vmid::Vmids;
use mote_platform::lock::Mutex;
use mote_platform::{firmware, gic, heap, image, stage2, syndrome, timer, uart};
use spin::Once;
use xen_abi::errno::Errno;
use xen_abi::xen::virq;

use crate::builder::Control;
use crate::console;
use crate::domain::{Domain, End};
use crate::memory;
use crate::passthrough;
use crate::pcpu::{Pcpu, Wiring};

static MACHINE: Once<Machine> = Once::new();

/// Slices in a second: each turn takes 5 ms when vCPUs compete.
const SLICES_PER_SECOND: u64 = 200;
/// Ends of ephemeral domains that wait to be read.
const ENDS: usize = 1024;
/// How much of an ephemeral domain is taken apart where it ended: what is left is for the control domain.
const PARTS_AT_ONCE: u32 = 8;

/// What all pCPUs share. Locks are taken in this order: the number given last; a domain's event channels, its grants, its memory, its UART,
/// its virtual GIC, its power, its output; then the list of domains; the schedule; the pool of frames; the console. Of two domains' event
/// channels those of the lower number come first, and a clone's output before its template's; of anything else of two domains' nobody holds
/// both. A vCPU's own state is its pCPU's alone.
pub struct Machine {
    /// The interrupts that EL2 uses.
    pub wiring: Wiring,
    /// What guests see of the CPU's ID registers.
    pub id_registers: IdRegisters,
    control: Control,
    // Affinities by pCPU number.
    affinities: Box<[u64]>,
    schedule: Mutex<Schedule>,
    // How many domains there ever were, and the number given last; who holds that makes a domain.
    serials: AtomicU64,
    last_number: Mutex<u16>,
    // When the control domain began that has ended for good.
    over: Once<u64>,
    domains: Mutex<Numbered<Arc<Domain>>>,
    /// Ephemeral domains that ended, for the control domain to read. An innermost lock.
    pub ends: Mutex<Ledger<ENDS>>,
    /// Which of its devices' interrupts are whose.
    pub owners: passthrough::Owners,
    /// Bytes of its RAM.
    pub ram_bytes: u64,
    entered: u64,
}

struct Schedule {
    scheduler: Scheduler,
    /// Whose vCPU a slot is.
    vcpus: Numbered<(Arc<Domain>, VcpuId)>,
    vmids: Vmids,
}

impl Schedule {
    /// Whether a slot is a domain's: when that has gone, another may have it.
    fn is_of(&self, slot: VcpuSlot, domain: &Domain) -> bool {
        matches!(self.vcpus.0.get(slot.index()), Some(Some((owner, _))) if core::ptr::eq(&**owner, domain))
    }

    /// Gives a domain that is about to run a VMID.
    #[cold]
    fn renew_vmid(&mut self, domain: &Domain) {
        let Self { scheduler, vcpus, vmids } = self;
        let running = scheduler.running().filter_map(|slot| Some(&*vcpus.0.get(slot.index())?.as_ref()?.0.tag));
        vmids.renew(&domain.tag, running, stage2::forget_all);
        // Whoever invalidates by it must know it before anything is translated by it.
        stage2::publish();
    }
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

/// The machine, once the boot CPU has set it up.
///
/// # Panics
/// Before that.
pub fn machine() -> &'static Machine {
    MACHINE.get().expect("the boot CPU sets the machine up before anything runs")
}

impl Machine {
    /// Sets the machine up with the CPUs of these affinities; the first is the calling one. Its RAM's bytes and the tick at which EL2
    /// was entered are for reports.
    pub fn init(
        affinities: Vec<u64>,
        wiring: Wiring,
        control: Control,
        [ram_bytes, entered]: [u64; 2],
    ) -> &'static Self {
        let slice = timer::frequency() / SLICES_PER_SECOND;
        let scheduler = Scheduler::new(affinities.len(), slice);
        MACHINE.call_once(|| Self {
            wiring,
            control,
            id_registers: IdRegisters::new(syndrome::id_register),
            affinities: affinities.into(),
            schedule: Mutex::new(Schedule {
                scheduler,
                vcpus: Numbered(Vec::new()),
                vmids: Vmids::new(stage2::greatest_vmid()),
            }),
            serials: AtomicU64::new(0),
            last_number: Mutex::new(0),
            over: Once::new(),
            domains: Mutex::new(Numbered(Vec::new())),
            ends: Mutex::new(Ledger::default()),
            owners: Mutex::default(),
            ram_bytes,
            entered,
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

    /// A number that no other domain ever has.
    pub fn serial(&self) -> u64 {
        self.serials.fetch_add(1, Ordering::Relaxed)
    }

    /// Has `make` make a domain under the number `wanted`, or any that is free.
    ///
    /// # Errors
    /// `EEXIST` if the number is taken, `ENOMEM` if all are, and what `make` says.
    pub fn with_number(
        &self,
        wanted: Option<DomainId>,
        make: impl FnOnce(DomainId) -> Result<DomainId, Errno>,
    ) -> Result<DomainId, Errno> {
        let mut last = self.last_number.lock();
        let is_free = |id: &DomainId| self.domain(*id).is_none();
        if let Some(wanted) = wanted {
            return make(Some(wanted).filter(is_free).ok_or(Errno::EEXIST)?);
        }
        let mut numbers = (*last + 1..DomainId::FIRST_RESERVED).chain(1..=*last).filter_map(DomainId::new);
        let id = make(numbers.find(is_free).ok_or(Errno::ENOMEM)?)?;
        *last = id.get();
        Ok(id)
    }

    /// Puts a domain into its slots. Its vCPUs are switched off, unless it is a clone, and paused as it is.
    pub fn add(&self, domain: &Arc<Domain>) {
        // It may run, and end, as soon as it is in its slots.
        self.domains.lock().set(domain.id.get().into(), Some(domain.clone()));
        self.with_schedule(|schedule, now| {
            for vcpu in &domain.vcpus {
                schedule.vcpus.set(vcpu.slot.index(), Some((domain.clone(), vcpu.id)));
                if domain.pauses.load(Ordering::Relaxed) > 0 {
                    schedule.scheduler.pause(vcpu.slot);
                }
                if domain.origin.is_some() {
                    schedule.scheduler.start(vcpu.slot, now);
                }
            }
        });
    }

    /// Does something to each vCPU of a domain that is still there.
    pub fn with_vcpus(&self, domain: &Domain, mut f: impl FnMut(&mut Scheduler, VcpuSlot, u64)) {
        self.with_schedule(|schedule, now| {
            for vcpu in &domain.vcpus {
                if schedule.is_of(vcpu.slot, domain) {
                    f(&mut schedule.scheduler, vcpu.slot, now);
                }
            }
        });
    }

    /// What a domain's vCPUs are doing, each, and for how many ticks they ran in all.
    pub fn activity(&self, domain: &Domain) -> (Vec<State>, u64) {
        let (mut states, mut ticks) = (Vec::with_capacity(domain.vcpus.len()), 0);
        self.with_vcpus(domain, |scheduler, slot, now| {
            let (state, ran) = scheduler.activity(slot, now);
            states.push(state);
            ticks += ran;
        });
        (states, ticks)
    }

    /// Switches a domain's vCPU on.
    pub fn start(&self, domain: &Domain, slot: VcpuSlot) {
        self.with_schedule(|schedule, now| {
            if schedule.is_of(slot, domain) {
                schedule.scheduler.start(slot, now);
            }
        });
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

    /// Sees to it that a domain's vCPU runs no more; `false` if it still has to leave its pCPU.
    pub fn retire(&self, domain: &Domain, slot: VcpuSlot) -> bool {
        self.with_schedule(|schedule, _| !schedule.is_of(slot, domain) || schedule.scheduler.retire(slot))
    }

    /// Takes a vCPU that has left for why it left, and says whom `pcpu` runs next.
    pub fn next(&self, pcpu: PcpuId, left: Option<(VcpuSlot, Leaving)>) -> Next<(Arc<Domain>, VcpuId)> {
        self.with_schedule(|schedule, now| {
            let next = schedule.scheduler.next(pcpu, now, left);
            let vcpu = next.vcpu.and_then(|slot| schedule.vcpus.get(slot.index()));
            if let Some((domain, _)) = vcpu.as_ref().filter(|(domain, _)| !schedule.vmids.is_current(&domain.tag)) {
                schedule.renew_vmid(domain);
            }
            Next { vcpu, ready: next.ready, alarm: next.alarm }
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

    /// A domain by its number, if it has not ended.
    #[inline(never)]
    pub fn domain(&self, id: DomainId) -> Option<Arc<Domain>> {
        self.domains.lock().get(id.get().into())
    }

    /// A domain has ended and its vCPUs have left: the control domain is to see to it, which itself takes the machine with it.
    pub fn ended(&self, domain: &Arc<Domain>) {
        if domain.id != DomainId::CONTROL {
            let may_go = domain.ephemeral.load(Ordering::Relaxed) && domain.refuse_clones().is_ok();
            let is_gone = may_go && (0..PARTS_AT_ONCE).any(|_| domain.dismantle());
            if !is_gone {
                self.tell_control(virq::DOM_EXC);
            }
            return;
        }
        let end = domain.end.get().copied().unwrap_or(End::SHUTDOWN);
        while !domain.dismantle() {}
        let (lived, before) = (timer::now() - domain.milestones.created, domain.handle.lock()[0]);
        let is_too_soon = lived < timer::frequency() || before == u8::MAX;
        if end != End::SHUTDOWN {
            let then = if is_too_soon { "too soon to be built again" } else { "it is built again" };
            console::log(format_args!("the control domain has ended: {}: {then}", end.why));
        }
        if end == End::SHUTDOWN || is_too_soon {
            self.over.call_once(|| domain.milestones.first_instruction.load(Ordering::Relaxed));
        } else {
            self.build_control(before + 1);
        }
    }

    /// Builds the control domain, which was built so often before. Without it there is nothing to do.
    pub fn build_control(&self, before: u8) {
        if let Err(error) = self.control.build(self, before) {
            panic!("the control domain cannot be built: {error:?}");
        }
    }

    /// Ends everything if the control domain has ended for good, with a line of JSON on what EL2 measured of itself: times are ticks of
    /// the physical counter, sizes bytes. What of the pool is not free then is lost.
    pub fn power_off_if_over(&self) {
        let Some(first_guest) = self.over.get() else { return };
        let (pool, free) = memory::pool_bytes();
        console::log(format_args!(
            "report {{\"kind\":\"machine\",\"pcpus\":{},\"memory_bytes\":{},\"image_bytes\":{},\"hypervisor_bytes\":{},\"hz\":{},\
             \"entered\":{},\"first_guest\":{first_guest},\"pool_bytes\":{pool},\"free_bytes\":{free}}}",
            self.affinities.len(),
            self.ram_bytes,
            image::file_size(),
            image::region().len() + image::extension().len() - heap::free(),
            timer::frequency(),
            self.entered,
        ));
        firmware::system_off()
    }

    /// Tells the control domain that something happened to a domain.
    pub fn tell_control(&self, what: u32) {
        if let Some(control) = self.domain(DomainId::CONTROL) {
            let raised = control.events.lock().raise_virq(what, VcpuId(0));
            control.announce(raised);
        }
    }

    /// Forgets a domain that has given back what it had.
    pub fn bury(&self, domain: &Domain) {
        let mut ran = 0;
        self.with_schedule(|schedule, _| {
            for vcpu in &domain.vcpus {
                ran += schedule.scheduler.remove(vcpu.slot);
                schedule.vcpus.set(vcpu.slot.index(), None);
            }
        });
        self.domains.lock().set(domain.id.get().into(), None);
        if !domain.ephemeral.load(Ordering::Relaxed) || self.ends.lock().add(domain.obituary(ran)) {
            self.tell_control(virq::DOM_EXC);
        }
    }

    /// The domains from a number on.
    pub fn domains_from(&self, first: u16) -> impl Iterator<Item = Arc<Domain>> {
        let all = self.domains.lock().0.len() as u16;
        (first..all).filter_map(DomainId::new).filter_map(|id| self.domain(id))
    }

    /// How many pCPUs there are.
    pub fn pcpus(&self) -> usize {
        self.affinities.len()
    }

    /// Somebody typed: the control domain reads it when it can.
    pub fn read_console(&self) {
        uart::interrupt_when_typed(false);
        self.tell_control(virq::CONSOLE);
    }
}
