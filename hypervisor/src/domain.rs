//! A domain: its memory, its interrupt controller, its vCPUs, and its end.

mod pv;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use mote_core::events::EventChannels;
use mote_core::grants::GrantTable;
use mote_core::id::{DomainId, VcpuId};
use mote_core::psci::Power;
use mote_core::sched::VcpuSlot;
use mote_core::vgic::{IntId, VGic, VcpuSet};
use mote_core::vpl011::Vpl011;
use mote_platform::lock::Mutex;
use mote_platform::timer;
use spin::Once;
use xen_abi::arch_arm::VPL011_INTID;

use crate::console::{self, Wire};
use crate::machine::machine;
use crate::memory::{FrameRef, GuestMemory};
use crate::report::{self, Cost};
use crate::stats::{Exits, Milestones};
use crate::vcpu::{Start, Vcpu};
pub use pv::Extras;

/// A virtual machine.
pub struct Domain {
    /// Its number.
    pub id: DomainId,
    /// Its name in the configuration.
    pub name: String,
    /// Its vCPUs, by number.
    pub vcpus: Box<[Vcpu]>,
    /// Its physical memory.
    pub memory: Mutex<GuestMemory>,
    /// Its interrupt controller.
    pub vgic: Mutex<VGic>,
    /// Which of its vCPUs are switched on.
    pub power: Mutex<Power>,
    /// Its UART, if it has one.
    pub uart: Option<Mutex<Vpl011>>,
    /// Its event channels, and the page it shares with EL2.
    pub events: Mutex<EventChannels<FrameRef>>,
    /// Its grants, and what it uses of others'.
    pub grants: Mutex<GrantTable<FrameRef>>,
    /// Whom the configuration joined it with.
    pub peers: Box<[DomainId]>,
    /// What else it has by Xen's ABI.
    pub pv: Extras,
    /// When it reached what.
    pub milestones: Milestones,
    /// Bytes of the images it was built from.
    pub image_bytes: u64,
    /// Bytes of EL2's heap that it takes.
    pub structure_bytes: u64,
    /// Which vCPU ran last on each pCPU, plus one: their stage-1 translations may be in the TLBs there.
    pub last_on: Box<[AtomicU8]>,
    /// How it ended; the first cause counts.
    pub end: Once<End>,
    /// vCPUs that may still be on a pCPU or come to one. Whoever takes the last away buries the domain.
    pub alive: AtomicUsize,
    /// The last to be dropped: everything else has gone back then.
    pub _presence: Presence,
}

/// That a domain is there: the machine stays on for it.
pub struct Presence(());

impl Presence {
    /// One more domain.
    pub fn new() -> Self {
        machine().enter();
        Self(())
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        machine().leave();
    }
}

/// How a domain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It switched itself off.
    Shutdown,
    /// It asked to be started anew; as on Xen without a toolstack, it stays down.
    Reboot,
    /// It said itself that it cannot go on, or EL2 stopped it.
    Crashed(&'static str),
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
        machine().start(vcpu.slot);
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
        for vcpu in &self.vcpus {
            if machine().retire(vcpu.slot) {
                self.let_go(vcpu);
            }
        }
    }

    /// A vCPU has left for good. The last one takes the domain with it.
    pub fn let_go(self: &Arc<Self>, vcpu: &Vcpu) {
        if !vcpu.gone.swap(true, Ordering::AcqRel) && self.alive.fetch_sub(1, Ordering::AcqRel) == 1 {
            machine().bury(self);
        }
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

    /// Takes a byte that the guest sends by its UART.
    #[inline(never)]
    pub fn send(&self, byte: u8) {
        if console::lock().send(self.id, byte, &mut Wire) {
            self.milestones.ready.store(timer::now(), Ordering::Relaxed);
        }
    }

    /// A byte for the guest's console arrives: it goes to where the guest reads.
    #[inline(never)]
    pub fn receive(&self, byte: u8) {
        if self.receive_by_ring(byte) {
            return;
        }
        let Some(uart) = &self.uart else { return self.keep_typed(byte) };
        let mut uart = uart.lock();
        uart.receive(byte);
        let others = self.drive_uart_line(&mut uart);
        drop(uart);
        self.wake_all(others);
    }

    /// Sets the UART's interrupt line to what it is; returns who must look.
    pub fn drive_uart_line(&self, uart: &mut Vpl011) -> VcpuSet {
        const UART: IntId = IntId::new(VPL011_INTID).expect("an SPI");
        match uart.line_change() {
            Some(level) => self.vgic.lock().set_line(VcpuId(0), UART, level),
            None => VcpuSet::EMPTY,
        }
    }

    /// Gives back all it had, and reports what it cost.
    pub fn dismantle(&self, cpu_ticks: u64) {
        let mut exits = Exits::new();
        for vcpu in &self.vcpus {
            exits.add(&vcpu.state.lock().machine.exits);
        }
        self.leave_others();
        let memory = self.memory.lock().release();
        console::lock().detach(self.id, &mut Wire);
        let end = self.end.get().copied().unwrap_or(End::Shutdown);
        let cost = Cost { memory, structure_bytes: self.structure_bytes, cpu_ticks, exits };
        report::domain(self, end, &cost);
    }
}
