//! Every hypercall with whatever comes to mind, from a fixed seed.

use mote_unikernel::println;
use mote_unikernel::xen::Errno;
use mote_unikernel::xen::page::Page;
use xen_abi::Wire;
use xen_abi::event_channel::{self as ev, op as event_op};
use xen_abi::grant_table::{self as gt, op as grant_op};
use xen_abi::hvm;
use xen_abi::memory::{self as mem, op as memory_op};
use xen_abi::sched::{self, op as sched_op};
use xen_abi::vcpu::{self, op as vcpu_op};
use xen_abi::xen::{MulticallEntry, domid, hypercall};

use crate::Cast;
use crate::random::Random;
use crate::wild::{self, Arena, PAGE, WINDOW};

const CALLS: u32 = 20_000;
/// What the numbers begin with, if the configuration does not say `seed=`.
const SEED: u64 = 0x0bad_cafe_0bad_cafe;
/// The errors that there are: numbers below this.
const ERRNOS: usize = 128;

type Call = (u64, [u64; 5]);

/// Calls, and what is known of whom they concern.
struct Fuzzer {
    random: Random,
    arena: Arena,
    // A page for the hypervisor to write into, in which nobody looks.
    spare: Page,
    cast: Cast,
}

/// Makes many calls, and counts what they come to.
pub fn call_anything(cast: Cast, seed: Option<u64>) {
    let random = Random::new(seed.unwrap_or(SEED));
    let mut fuzzer = Fuzzer { random, arena: Arena::new(), spare: Page::new(), cast };
    let (mut well, mut errors) = (0, [0_u32; ERRNOS]);
    for _ in 0..CALLS {
        let (number, arguments) = fuzzer.call();
        match wild::raw(number, arguments) {
            Ok(_) => well += 1,
            Err(error) => count(&mut errors, error, number, arguments),
        }
    }
    println!("hostile: {CALLS} calls of any kind: {well} went well");
    for (error, count) in errors.iter().enumerate().filter(|(_, count)| **count > 0) {
        println!("hostile: error {error}: {count} times");
    }
    // The page may be gone.
    core::mem::forget(fuzzer);
}

fn count(errors: &mut [u32; ERRNOS], error: Errno, number: u64, arguments: [u64; 5]) {
    let place = errors.get_mut(error.number() as usize);
    *place.unwrap_or_else(|| panic!("hypercall {number} {arguments:x?}: {error:?}")) += 1;
}

impl Fuzzer {
    fn call(&mut self) -> Call {
        self.arena.clear();
        match self.random.below(16) {
            0..4 => self.event(),
            4..8 => self.grant(),
            8..11 => self.memory(),
            11 => self.sched(),
            12 => self.vcpu(),
            13 => self.several(),
            14 => self.others(),
            _ => self.unknown(),
        }
    }

    fn domid(&mut self) -> u16 {
        let Cast { me, victim, stranger } = self.cast;
        let some = [me, victim, stranger, 0, 1000, 0x7fef, 0x7ff1, 0x7ff2, 0x7ff4, 0x7fff, 0xffff];
        // Half of them get past the first check.
        if self.random.below(2) == 0 { domid::SELF } else { self.random.pick(&some) }
    }

    fn port(&mut self) -> u32 {
        self.random.pick(&[0, 1, 2, 3, 4, 63, 64, 65, 1022, 1023, 1024, 4095, 4096, 1 << 17, u32::MAX])
    }

    fn vcpu_number(&mut self) -> u32 {
        self.random.pick(&[0, 1, 2, 127, 128, 255, 256, 257, u32::MAX])
    }

    fn reference(&mut self) -> u32 {
        self.random.pick(&[0, 7, 8, 9, 10, 511, 512, 64 * 512 - 1, 64 * 512, u32::MAX])
    }

    fn small(&mut self) -> u64 {
        let some = [0, 1, 2, 3, 4, 8, 16, 31, 32, 33, 255, 256, 511, 512, 1023, 1024, 0xffff, 1 << 16];
        let large = [i32::MAX as u64, 1 << 31, u32::MAX as u64, 1 << 32, u64::MAX];
        if self.random.below(4) == 0 { self.random.pick(&large) } else { self.random.pick(&some) }
    }

    /// One that the guest does not need: of the window, of nothing, past the last, or the spare one's.
    fn frame(&mut self) -> u64 {
        let window = WINDOW / PAGE;
        let some = [window, window + 1, window + 511, window + 512, self.spare.frame(), 0x10000, 0x38000];
        let far = [(1 << 27) - 1, 1 << 27, 1 << 36, (1 << 52) - 1, 1 << 52, u64::MAX];
        if self.random.below(4) == 0 { self.random.pick(&far) } else { self.random.pick(&some) }
    }

    fn address(&mut self) -> u64 {
        self.frame().wrapping_mul(PAGE).wrapping_add(self.random.pick(&[0, 0, 0, 1, 8, 4095]))
    }

    /// Of nothing, a device, past the end of the arena, of the addresses that translation knows, or of all.
    fn pointer(&mut self) -> u64 {
        let end = self.arena.address() + Arena::SIZE as u64;
        let some = [0, 1, 0x0300_1000, 0x2200_0000, 0x3000_0000, WINDOW, end, end - 1, end - 2];
        let far = [1 << 36, (1 << 39) - 4, 1 << 47, 1 << 48, 1 << 55, 1 << 63, u64::MAX - 7, u64::MAX];
        if self.random.below(2) == 0 { self.random.pick(&some) } else { self.random.pick(&far) }
    }

    /// Puts a structure where all of it can be read, or not.
    fn structure<T: Wire>(&mut self, value: T) -> u64 {
        let size = size_of::<T>();
        let offset = match self.random.below(8) {
            0 => return self.pointer(),
            // Across the border of two pages.
            1 => Arena::SIZE / 2 - size / 2,
            // As many as are left before the end: as a list it is too short.
            2 => Arena::SIZE - 3 * size,
            3 => Arena::SIZE - size / 2,
            4 => 1,
            _ => Arena::SIZE - size,
        };
        self.arena.put(offset + size, &value);
        self.arena.put(offset, &value)
    }

    fn event(&mut self) -> Call {
        let op = self.random.below(16) as u64;
        let (dom, remote_dom, port, vcpu) = (self.domid(), self.domid(), self.port(), self.vcpu_number());
        let at = match op {
            event_op::ALLOC_UNBOUND => self.structure(ev::AllocUnbound { dom, remote_dom, port }),
            event_op::BIND_INTERDOMAIN => {
                self.structure(ev::BindInterdomain { remote_dom, pad: 0, remote_port: port, local_port: port })
            }
            event_op::BIND_VIRQ => {
                let virq = self.small() as u32;
                self.structure(ev::BindVirq { virq, vcpu, port })
            }
            event_op::BIND_PIRQ => self.structure(ev::BindPirq { pirq: port, flags: vcpu, port }),
            event_op::BIND_IPI => self.structure(ev::BindIpi { vcpu, port }),
            event_op::STATUS => {
                self.structure(ev::Status { dom, pad: 0, port, status: 0, vcpu: 0, peer: 0, peer_port: 0 })
            }
            event_op::BIND_VCPU => self.structure(ev::BindVcpu { port, vcpu }),
            event_op::RESET => self.structure(ev::Reset { dom }),
            event_op::INIT_CONTROL => {
                let (control_gfn, offset) = (self.frame(), self.small() as u32);
                self.structure(ev::InitControl { control_gfn, offset, vcpu, link_bits: 0, pad: [0; 7] })
            }
            event_op::EXPAND_ARRAY => {
                let array_gfn = self.frame();
                self.structure(ev::ExpandArray { array_gfn })
            }
            event_op::SET_PRIORITY => {
                let priority = self.small() as u32;
                self.structure(ev::SetPriority { port, priority })
            }
            _ => self.structure(ev::Port { port }),
        };
        (hypercall::EVENT_CHANNEL_OP, [op, at, self.small(), self.small(), 0])
    }

    fn grant(&mut self) -> Call {
        let op = self.random.below(14) as u64;
        let (dom, gref, host_addr) = (self.domid(), self.reference(), self.address());
        let (flags, handle, frame_list) = (self.small() as u32, self.small() as u32, self.pointer());
        let at = match op {
            grant_op::MAP => {
                self.structure(gt::Map { host_addr, flags, gref, dom, status: 0, handle, dev_bus_addr: host_addr })
            }
            grant_op::UNMAP => self.structure(gt::Unmap { host_addr, dev_bus_addr: 0, handle, status: 0, pad: 0 }),
            grant_op::SETUP_TABLE => {
                let nr_frames = self.small() as u32;
                self.structure(gt::SetupTable { dom, pad: 0, nr_frames, status: 0, pad2: [0; 3], frame_list })
            }
            grant_op::COPY => {
                let copy = gt::Copy {
                    source: self.copy_end(),
                    dest: self.copy_end(),
                    len: self.small() as u16,
                    flags: self.small() as u16,
                    status: 0,
                    pad: 0,
                };
                self.structure(copy)
            }
            grant_op::UNMAP_AND_REPLACE => {
                let new_addr = self.address();
                self.structure(gt::UnmapAndReplace { host_addr, new_addr, handle, status: 0, pad: 0 })
            }
            grant_op::SET_VERSION => self.structure(gt::SetVersion { version: flags }),
            grant_op::GET_STATUS_FRAMES => {
                self.structure(gt::GetStatusFrames { nr_frames: flags, dom, status: 0, frame_list })
            }
            grant_op::SWAP_GRANT_REF => {
                let ref_b = self.reference();
                self.structure(gt::SwapGrantRef { ref_a: gref, ref_b, status: 0, pad: 0 })
            }
            grant_op::CACHE_FLUSH => {
                let (offset, length) = (self.small() as u16, self.small() as u16);
                self.structure(gt::CacheFlush { place: host_addr, offset, length, op: flags })
            }
            _ => self.structure(gt::QuerySize { dom, pad: 0, nr_frames: 0, max_nr_frames: 0, status: 0, pad2: 0 }),
        };
        let count = if self.random.below(2) == 0 { 1 } else { self.small() };
        (hypercall::GRANT_TABLE_OP, [op, at, count, 0, 0])
    }

    fn copy_end(&mut self) -> gt::CopyEnd {
        let place = if self.random.below(2) == 0 { self.frame() } else { self.reference().into() };
        gt::CopyEnd { place, domid: self.domid(), offset: self.small() as u16, pad: 0 }
    }

    fn memory(&mut self) -> Call {
        let op = self.random.below(32) as u64;
        let (domid, gpfn) = (self.domid(), self.frame());
        let at = match op {
            memory_op::INCREASE_RESERVATION | memory_op::DECREASE_RESERVATION | memory_op::POPULATE_PHYSMAP => {
                // A list of one frame, behind which there is nothing.
                self.arena.put(Arena::SIZE - 8, &gpfn);
                let extent_start = self.arena.address() + Arena::SIZE as u64 - 8;
                let (nr_extents, order) = (self.small(), self.random.pick(&[0, 0, 1, 2, 9, 10, 63, 64, u32::MAX]));
                // What lies behind the spare page is in use.
                let order = if gpfn == self.spare.frame() { 0 } else { order };
                let reservation = mem::Reservation {
                    extent_start,
                    nr_extents,
                    extent_order: order,
                    mem_flags: 0,
                    domid,
                    pad: [0; 3],
                };
                self.arena.put(64, &reservation);
                self.arena.address() + 64
            }
            memory_op::ADD_TO_PHYSMAP => {
                let (space, idx) = (self.small() as u32, self.small());
                self.structure(mem::AddToPhysmap { domid, size: 0, space, idx, gpfn })
            }
            memory_op::ADD_TO_PHYSMAP_BATCH => {
                let (space, size, foreign_domid) = (self.small() as u16, self.small() as u16, self.domid());
                let lists = [self.pointer(), self.pointer(), self.pointer()];
                let [idxs, gpfns, errs] = lists;
                self.structure(mem::AddToPhysmapBatch { domid, space, size, foreign_domid, idxs, gpfns, errs })
            }
            _ => self.structure(mem::RemoveFromPhysmap { domid, pad: [0; 3], gpfn }),
        };
        let start = self.random.pick(&[0, 0, 0, 1, 32, 1 << 26, (1 << 58) - 1]);
        (hypercall::MEMORY_OP, [op | start << 6, at, self.small(), 0, 0])
    }

    /// Nothing that ends the domain or waits for what does not come.
    fn sched(&mut self) -> Call {
        let op = self.random.pick(&[0, 2, 3, 4, 5, 6, 7, 8, 255]);
        let at = match op {
            sched_op::SHUTDOWN | sched_op::SHUTDOWN_CODE => 1 << 48,
            sched_op::POLL => {
                let (ports, nr_ports) = (self.arena.address(), self.small() as u32);
                self.structure(sched::Poll { ports, nr_ports, pad: 0, timeout: 1 })
            }
            sched_op::REMOTE_SHUTDOWN => {
                let domain_id = self.random.pick(&[self.cast.victim, self.cast.stranger, 0, 1000, 0x7ff1, 0xffff]);
                let reason = self.small() as u32;
                self.structure(sched::RemoteShutdown { domain_id, pad: 0, reason })
            }
            sched_op::WATCHDOG => {
                let id = self.random.pick(&[1, 2, 3, u32::MAX]);
                self.structure(sched::Watchdog { id, timeout: 0 })
            }
            _ => self.pointer(),
        };
        (hypercall::SCHED_OP, [op, at, 0, 0, 0])
    }

    fn vcpu(&mut self) -> Call {
        let op = self.random.below(17) as u64;
        let vcpu = self.vcpu_number();
        let at = match op {
            vcpu_op::REGISTER_VCPU_INFO => {
                let (mfn, offset) = (self.frame(), self.small() as u32);
                self.structure(vcpu::RegisterVcpuInfo { mfn, offset, rsvd: 0 })
            }
            _ => {
                let spare = self.spare.address() as u64;
                let address = if self.random.below(2) == 0 { spare + 8 } else { self.pointer() };
                self.structure(vcpu::RegisterRunstateArea { address })
            }
        };
        (hypercall::VCPU_OP, [op, vcpu.into(), at, 0, 0])
    }

    /// A list of one call, or of that and of what follows in the arena: zeroes, to its end.
    fn several(&mut self) -> Call {
        let (op, inner) = match self.random.below(4) {
            0 => self.event(),
            1 => self.grant(),
            2 => self.sched(),
            _ => (hypercall::MULTICALL, [self.pointer(), 1, 0, 0, 0]),
        };
        let [a, b, c, d, e] = inner;
        let entry = MulticallEntry { op, result: 0, args: [a, b, c, d, e, 0] };
        self.arena.put(512, &entry);
        let list = if self.random.below(8) == 0 { self.pointer() } else { self.arena.address() + 512 };
        (hypercall::MULTICALL, [list, self.random.pick(&[0, 1, 2, 40]), 0, 0, 0])
    }

    fn others(&mut self) -> Call {
        let domid = self.domid();
        match self.random.below(5) {
            0 => {
                let at = self.structure(0_u64);
                (hypercall::XEN_VERSION, [self.random.below(18) as u64, at, 0, 0, 0])
            }
            1 => {
                let (index, value) = (self.small() as u32, self.small());
                let at = self.structure(hvm::Param { domid, pad: 0, index, value });
                (hypercall::HVM_OP, [self.random.below(4) as u64, at, 0, 0, 0])
            }
            // Nothing is written to the console: what can be read is not.
            2 => (hypercall::CONSOLE_IO, [0, self.small(), 1 << 48, 0, 0]),
            3 => (hypercall::CONSOLE_IO, [self.random.pick(&[1, 2, 255]), self.small(), self.pointer(), 0, 0]),
            _ => (hypercall::VM_ASSIST, [self.small(), self.small(), 0, 0, 0]),
        }
    }

    /// Numbers that mean nothing, or that are not for guests.
    fn unknown(&mut self) -> Call {
        let known = [hypercall::SCHED_OP, hypercall::MULTICALL, hypercall::MEMORY_OP];
        let any = self.random.below(64) as u64;
        let number = self.random.pick(&[any, 35, 36, 7, 1 << 31, 1 << 32, u64::MAX]);
        let number = if known.contains(&number) { u64::MAX } else { number };
        let at = self.structure(0_u64);
        (number, [at, self.pointer(), self.small(), self.small(), self.small()])
    }
}
