//! A domain: its memory, its interrupt controller, its vCPUs, and its end.

mod pv;
mod template;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering};

use mote_core::addr::Pa;
use mote_core::console::Output;
use mote_core::events::EventChannels;
use mote_core::grants::GrantTable;
use mote_core::id::{DomainId, VcpuId};
use mote_core::psci::Power;
use mote_core::sched::{Scheduler, VcpuSlot};
use mote_core::vgic::{IntId, VGic, VcpuSet};
use mote_core::vmid::Tag;
use mote_core::vpl011::Vpl011;
use mote_platform::lock::Mutex;
use mote_platform::timer;
use spin::Once;
use xen_abi::arch_arm::VPL011_INTID;
use xen_abi::mote::Usage;
use xen_abi::sched::reason;

use crate::console;
use crate::machine::machine;
use crate::memory::{FrameRef, GuestMemory, Promise};
use crate::passthrough;
use crate::stats::{Exits, Milestones};
use crate::vcpu::{Start, Vcpu};
pub use pv::Extras;
pub use template::Origin;

/// A virtual machine.
pub struct Domain {
    /// Its number.
    pub id: DomainId,
    /// Which of all domains that ever were it is: numbers are used again.
    pub serial: u64,
    /// What the control domain knows it by.
    pub handle: Mutex<[u8; 16]>,
    /// What it has on the console.
    pub output: Mutex<Output>,
    /// Its UART, if it has one; not known before somebody has said what it has.
    pub uart: Once<Option<Mutex<Vpl011>>>,
    /// Its vCPUs, by number.
    pub vcpus: Box<[Vcpu]>,
    /// Its physical memory.
    pub memory: Mutex<GuestMemory>,
    /// The root of its memory's tables, and the VMID that goes with it while it runs.
    pub root: Pa,
    /// As above.
    pub tag: Arc<Tag>,
    /// Its interrupt controller.
    pub vgic: Mutex<VGic>,
    /// Which of its vCPUs are switched on.
    pub power: Mutex<Power>,
    /// Its event channels, and the page it shares with EL2.
    pub events: Mutex<EventChannels<FrameRef>>,
    /// Its grants, and what it uses of others'.
    pub grants: Mutex<GrantTable<FrameRef>>,
    /// Whom it was joined with, by number and serial. The other may know of it, or not.
    pub peers: Mutex<Vec<(DomainId, u64)>>,
    /// What else it has by Xen's ABI.
    pub pv: Extras,
    /// When it reached what.
    pub milestones: Milestones,
    /// Bytes of EL2's heap that it takes.
    pub structure_bytes: u64,
    /// Which vCPU ran last on each pCPU, plus one: their stage-1 translations may be in the TLBs there.
    pub last_on: Box<[AtomicU8]>,
    /// How it ended; the first cause counts.
    pub end: Once<End>,
    /// vCPUs that may still be on a pCPU or come to one.
    pub alive: AtomicUsize,
    /// How often it was paused and not unpaused.
    pub pauses: AtomicU32,
    /// Whether it has given back all it had.
    pub gone: AtomicBool,
    /// Whether it gives back all it has as soon as it ends.
    pub ephemeral: AtomicBool,
    /// How many clones it has, if it is a template.
    pub clones: Once<AtomicU32>,
    /// The template whose clone it is, if it is one. Behind the memory, which shares the template's.
    pub origin: Option<Origin>,
    /// EL2's heap has room for what it may make EL2 need.
    pub _promise: Promise,
}

/// How a domain ended: Xen's code for it, and in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// One of [`reason`].
    pub code: u32,
    /// Why.
    pub why: &'static str,
}

impl End {
    /// It switched itself off.
    pub const SHUTDOWN: Self = Self { code: reason::POWEROFF, why: "it switched itself off" };
    /// It asked to be started anew.
    pub const REBOOT: Self = Self { code: reason::REBOOT, why: "it asked for a reset" };

    /// EL2 stopped it.
    pub const fn crash(why: &'static str) -> Self {
        Self { code: reason::CRASH, why }
    }
}

impl Domain {
    /// One of its vCPUs.
    ///
    /// # Panics
    /// If it has no such vCPU: numbers from guests are checked before.
    pub fn vcpu(&self, id: VcpuId) -> &Vcpu {
        &self.vcpus[usize::from(id.0)]
    }

    /// Switches a vCPU on.
    pub fn start(&self, vcpu: VcpuId, start: Start) {
        let vcpu = self.vcpu(vcpu);
        *vcpu.start.lock() = Some(start);
        machine().start(self, vcpu.slot);
    }

    /// Has its vCPUs leave their pCPUs until it is unpaused as often. As on Xen none of them runs any more when this returns.
    pub fn pause(&self) {
        if self.pauses.fetch_add(1, Ordering::AcqRel) == 0 {
            machine().with_vcpus(self, |scheduler, slot, _| scheduler.pause(slot));
        }
        // Whoever has one on its pCPU holds this.
        self.vcpus.iter().for_each(|vcpu| drop(vcpu.state.lock()));
    }

    /// Takes back one time that it was paused.
    pub fn unpause(&self) {
        let taken = self.pauses.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |pauses| pauses.checked_sub(1));
        if taken == Ok(1) {
            let built = &self.milestones.built;
            let _ = built.compare_exchange(0, timer::now(), Ordering::Relaxed, Ordering::Relaxed);
            machine().with_vcpus(self, Scheduler::resume);
        }
    }

    /// Whether it has ended, though vCPUs of it may still be on their way off.
    pub fn has_ended(&self) -> bool {
        self.end.is_completed()
    }

    /// Ends it. Its vCPUs leave their pCPUs as soon as these look.
    #[inline(never)]
    pub fn end(self: &Arc<Self>, how: End) {
        if self.has_ended() {
            return;
        }
        self.end.call_once(|| how);
        self.milestones.ended.store(timer::now(), Ordering::Relaxed);
        for vcpu in &self.vcpus {
            if machine().retire(self, vcpu.slot) {
                self.let_go(vcpu);
            }
        }
    }

    /// A vCPU has left for good. With the last one the control domain learns of it.
    pub fn let_go(self: &Arc<Self>, vcpu: &Vcpu) {
        if !vcpu.gone.swap(true, Ordering::AcqRel) && self.alive.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.output.lock().complete(&mut console::lock());
            machine().ended(self);
        }
    }

    /// Whether all its vCPUs have left for good.
    pub fn is_still(&self) -> bool {
        self.alive.load(Ordering::Acquire) == 0
    }

    /// Lets vCPUs look at their interrupts again.
    pub fn wake_all(&self, set: VcpuSet) {
        if !set.is_empty() {
            self.wake_each(set, |slot| machine().wake(slot));
        }
    }

    /// The same, in the way that `wake` does it.
    #[inline(never)]
    pub fn wake_each(&self, set: VcpuSet, wake: impl FnMut(VcpuSlot)) {
        self.vcpus.iter().filter(|vcpu| set.contains(vcpu.id)).map(|vcpu| vcpu.slot).for_each(wake);
    }

    /// Takes what the guest writes to its console. Who was not given a name, as clones are not, is called after its template and its number.
    #[inline(never)]
    pub fn say(&self, text: &[u8]) {
        let mut output = self.output.lock();
        if output.name.is_empty() {
            let template = self.origin.as_ref().map_or("domain".into(), |template| template.output.lock().name.clone());
            output.name = alloc::format!("{template}.{}", self.id.get());
        }
        if output.say(text, &mut console::lock()) {
            self.milestones.ready.store(timer::now(), Ordering::Relaxed);
        }
    }

    /// Types something at its UART, if it has one.
    pub fn hear(&self, text: &[u8]) {
        let Some(uart) = self.uart() else { return };
        let mut uart = uart.lock();
        text.iter().for_each(|&byte| uart.receive(byte));
        let others = self.drive_uart_line(&mut uart);
        drop(uart);
        self.wake_all(others);
    }

    /// Its UART, if it has one.
    pub fn uart(&self) -> Option<&Mutex<Vpl011>> {
        self.uart.get()?.as_ref()
    }

    /// Sets the UART's interrupt line to what it is; returns who must look.
    pub fn drive_uart_line(&self, uart: &mut Vpl011) -> VcpuSet {
        const UART: IntId = IntId::new(VPL011_INTID).expect("an SPI");
        match uart.line_change() {
            Some(level) => self.vgic.lock().set_line(VcpuId(0), UART, level),
            None => VcpuSet::EMPTY,
        }
    }

    /// Gives back a part of what it had; whether that was the last. None of its vCPUs is on a pCPU any more.
    pub fn dismantle(self: &Arc<Self>) -> bool {
        if !self.leave_others() || !self.memory.lock().release() {
            return false;
        }
        if !self.gone.swap(true, Ordering::AcqRel) {
            // What a guest had in registers stays with nobody.
            self.vcpus.iter().for_each(|vcpu| vcpu.state.lock().reset(Start { entry: 0, context: 0 }));
            passthrough::release(self);
            self.output.lock().complete(&mut console::lock());
            machine().bury(self);
        }
        true
    }

    /// What it costs.
    pub fn usage(&self) -> Usage {
        let mut exits = Exits::default();
        for vcpu in &self.vcpus {
            // One that runs is counted when it leaves.
            if let Some(state) = vcpu.state.try_lock() {
                exits.0.iter_mut().zip(state.machine.exits.0).for_each(|(sum, count)| *sum += count);
            }
        }
        let read = |milestone: &core::sync::atomic::AtomicU64| milestone.load(Ordering::Relaxed);
        let (_, cpu_ticks) = machine().activity(self);
        let mut reason = [0; 80];
        let why = self.end.get().map_or("", |end| end.why);
        reason.iter_mut().zip(why.bytes()).for_each(|(to, from)| *to = from);
        Usage {
            created: self.milestones.created,
            built: read(&self.milestones.built),
            first_instruction: read(&self.milestones.first_instruction),
            ready: read(&self.milestones.ready),
            ended: read(&self.milestones.ended),
            cpu_ticks,
            structures: self.structure_bytes,
            exits: exits.0,
            events: read(&self.pv.told),
            clones: self.clones.get().map_or(0, |clones| 1 + u64::from(clones.load(Ordering::Relaxed))),
            reason,
            ..self.memory.lock().usage()
        }
    }
}
