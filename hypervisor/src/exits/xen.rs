//! Xen's hypercalls: `HVC #0xEA1`, the number in x16, arguments in x0 to x4, the answer in x0.
//!
//! Each is a method that takes its arguments and gives a [`Reply`] or the error that Xen gives. A guest's structure is copied in
//! once, by [`Session::read`]; no reference to a guest's memory exists. Calls that take lists do a part at a time and are made
//! again by the guest for the rest, so that no call keeps a pCPU for long.

mod console_io;
mod domctl;
mod events;
mod grants;
mod hvm_op;
mod memory_op;
mod mote;
mod passthrough;
mod sched_op;
mod sysctl;
mod vcpu_op;
mod version;

use alloc::sync::Arc;
use core::ops::Range;

use mote_core::addr::{Ipa, PAGE_SIZE};
use mote_core::id::DomainId;
use mote_core::p2m::Access;
use mote_core::policy::{Action, allows};
use mote_core::sched::Leaving;
use mote_platform::guest::After;
use mote_platform::memory::{self, NotRam};
use mote_platform::{cpu, syndrome};
use xen_abi::Wire;
use xen_abi::errno::Errno;
use xen_abi::mote::call;
use xen_abi::xen::{MulticallEntry, domid, hypercall};

use super::Session;
use crate::domain::{Domain, End};
use crate::machine::machine;
use crate::memory::{FrameRef, GuestMemory};
use crate::stats::ExitReason;

/// The arguments of a hypercall.
type Arguments = [u64; 5];

/// How a hypercall goes on.
enum Reply {
    /// With this answer.
    Value(u64),
    /// The guest makes it again, with the arguments as they are now: at once, or when the vCPU has its turn again.
    Again(Option<Leaving>),
    /// With 0, at once or when the vCPU has its turn again.
    Leave(Option<Leaving>),
    /// Not at all.
    End(End),
}

impl Reply {
    const DONE: Self = Self::Value(0);
}

/// What a hypercall comes to.
type Answer = Result<Reply, Errno>;

/// Elements of a list that are worked on before the guest may be interrupted.
const BATCH: u64 = 32;

impl Session<'_> {
    /// A hypercall, by its registers x0 to x17.
    #[inline]
    pub(super) fn xen(&mut self, x: &mut [u64; 18]) -> After {
        self.state.exits.count(ExitReason::Hypercall);
        if (x[16], x[0] as u32) == (hypercall::XEN_VERSION, 0) {
            x[0] = version::VERSION;
            return After::Resume;
        }
        let send = xen_abi::event_channel::op::SEND as u32;
        if (x[16], x[0] as u32) == (hypercall::EVENT_CHANNEL_OP, send) {
            x[0] = self.send_event(x[1]).map_or_else(Errno::answer, |()| 0);
            return After::Resume;
        }
        self.any_hypercall(x)
    }

    #[inline(never)]
    fn any_hypercall(&mut self, x: &mut [u64; 18]) -> After {
        let mut arguments: Arguments = [x[0], x[1], x[2], x[3], x[4]];
        let answer = match x[16] {
            hypercall::MULTICALL => self.multicall(&mut arguments),
            // Not one of several: a template is not told of the others.
            call::HYPERCALL => self.mote_call(&arguments),
            number => self.hypercall(number, &mut arguments),
        };
        match answer {
            Ok(Reply::Value(value)) => x[0] = value,
            Err(error) => x[0] = error.answer(),
            Ok(Reply::Again(leaving)) => {
                x[..5].copy_from_slice(&arguments);
                again();
                return self.leave_if(leaving);
            }
            Ok(Reply::Leave(leaving)) => {
                x[0] = 0;
                return self.leave_if(leaving);
            }
            Ok(Reply::End(end)) => return self.end(end),
        }
        After::Resume
    }

    fn hypercall(&mut self, number: u64, arguments: &mut Arguments) -> Answer {
        match number {
            hypercall::MEMORY_OP => self.memory_op(arguments),
            hypercall::XEN_VERSION => self.xen_version(arguments),
            hypercall::CONSOLE_IO => self.console_io(arguments),
            hypercall::GRANT_TABLE_OP => self.grant_table_op(arguments),
            hypercall::VM_ASSIST => self.vm_assist(arguments),
            hypercall::VCPU_OP => self.vcpu_op(arguments),
            hypercall::SCHED_OP => self.sched_op(arguments),
            hypercall::EVENT_CHANNEL_OP => self.event_channel_op(arguments),
            hypercall::HVM_OP => self.hvm_op(arguments),
            hypercall::DOMCTL => self.domctl(arguments[0]),
            hypercall::SYSCTL => self.sysctl(arguments[0]),
            hypercall::PLATFORM_OP => self.read::<[u32; 2]>(arguments[0]).and(Err(Errno::EPERM)),
            // `PHYSDEV_OP` is one of those that are not there: no guest has a physical device.
            _ => Err(Errno::ENOSYS),
        }
    }

    /// Several hypercalls, whose answers go to where their arguments came from.
    fn multicall(&mut self, arguments: &mut Arguments) -> Answer {
        let entry_size = size_of::<MulticallEntry>() as u64;
        for _ in 0..BATCH {
            let [list, count, ..] = *arguments;
            if count == 0 {
                return Ok(Reply::DONE);
            }
            let mut entry: MulticallEntry = self.read(list)?;
            let mut inner: Arguments = entry.args.first_chunk().copied().unwrap_or_default();
            let answer = match entry.op {
                hypercall::MULTICALL => Err(Errno::EINVAL),
                number => self.hypercall(number, &mut inner),
            };
            let (result, leave) = match answer {
                Ok(Reply::Value(value)) => (value, None),
                Err(error) => (error.answer(), None),
                Ok(Reply::Leave(leaving)) => (0, leaving),
                Ok(Reply::End(end)) => return Ok(Reply::End(end)),
                Ok(again) => {
                    entry.args[..5].copy_from_slice(&inner);
                    return self.write(list, &entry).map(|()| again);
                }
            };
            self.write(list, &MulticallEntry { result, ..entry })?;
            *arguments = [list.wrapping_add(entry_size), count.wrapping_sub(1), 0, 0, 0];
            if leave.is_some() || cpu::has_interrupt() {
                return Ok(Reply::Again(leave));
            }
        }
        Ok(Reply::Again(None))
    }

    /// A page of the domain's own that EL2 is to write into.
    fn own_page(&self, gfn: u64) -> Result<FrameRef, Errno> {
        let ipa = Ipa::of_frame(gfn).ok_or(Errno::EINVAL)?;
        self.domain.memory.lock().share(ipa, Access::Full).map_err(|_| Errno::EINVAL)
    }

    /// The domain that a guest names, if the policy allows what it is about to do to it.
    #[inline(never)]
    fn domain_for(&self, action: Action, number: u16) -> Result<Arc<Domain>, Errno> {
        let domain = self.find_domain(number).ok_or(Errno::ESRCH)?;
        self.may(action, &domain).map(|()| domain)
    }

    /// Asks the policy whether the guest may do something to a domain.
    fn may(&self, action: Action, domain: &Domain) -> Result<(), Errno> {
        if allows(action, self.domain.relation(domain)) { Ok(()) } else { Err(Errno::EPERM) }
    }

    fn find_domain(&self, number: u16) -> Option<Arc<Domain>> {
        if number == domid::SELF || number == self.domain.id.get() {
            return Some(self.domain.clone());
        }
        machine().domain(DomainId::new(number)?)
    }

    /// Copies a structure in from the guest's virtual address `from`.
    fn read<T: Wire>(&self, from: u64) -> Result<T, Errno> {
        let mut value = T::new_zeroed();
        self.read_bytes(from, value.as_mut_bytes())?;
        Ok(value)
    }

    /// Copies a structure out to the guest's virtual address `to`.
    fn write<T: Wire>(&self, to: u64, value: &T) -> Result<(), Errno> {
        self.write_bytes(to, value.as_bytes())
    }

    /// Puts in place of a structure at the guest's virtual address `at` what `f` makes of it.
    fn update<T: Wire>(&mut self, at: u64, f: impl FnOnce(&mut Self, T) -> Result<T, Errno>) -> Answer {
        let asked = self.read(at)?;
        let answer = f(self, asked)?;
        self.write(at, &answer).map(|()| Reply::DONE)
    }

    /// Copies an aligned number of 4 bytes in, which a page holds whole.
    #[inline]
    fn read_word(&self, from: u64) -> Result<u32, Errno> {
        if !from.is_multiple_of(4) {
            return self.read(from);
        }
        let mut domain_memory = self.domain.memory.lock();
        let pa = locate(&mut domain_memory, from, false)?;
        memory::load_word(pa).map_err(|_| Errno::EFAULT)
    }

    #[inline(never)]
    fn read_bytes(&self, from: u64, into: &mut [u8]) -> Result<(), Errno> {
        self.each_page(from, into.len(), false, |pa, part| memory::read(pa, &mut into[part]))
    }

    #[inline(never)]
    fn write_bytes(&self, to: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.each_page(to, bytes.len(), true, |pa, part| memory::write(pa, &bytes[part]))
    }

    /// Copies `length` bytes at the guest's virtual address `at`, page by page: `copy` gets the physical address of a part, and which part.
    #[inline]
    fn each_page(
        &self,
        at: u64,
        length: usize,
        write: bool,
        mut copy: impl FnMut(u64, Range<usize>) -> Result<(), NotRam>,
    ) -> Result<(), Errno> {
        let mut domain_memory = self.domain.memory.lock();
        let mut done = 0;
        while done < length {
            let place = at.wrapping_add(done as u64);
            let end = length.min(done + room(place));
            copy(locate(&mut domain_memory, place, write)?, done..end).map_err(|_| Errno::EFAULT)?;
            done = end;
        }
        Ok(())
    }
}

/// A structure at the beginning of a union.
fn part<T: Wire>(union: &[u8; 128]) -> T {
    T::read_from_prefix(union).map_or_else(|_| T::new_zeroed(), |(value, _)| value)
}

fn put<T: Wire>(union: &mut [u8; 128], value: &T) {
    union.iter_mut().zip(value.as_bytes()).for_each(|(to, from)| *to = *from);
}

/// Lets the guest make the call again.
fn again() {
    syndrome::set_pc(syndrome::pc().wrapping_sub(4));
}

/// Bytes from a virtual address to the end of its page.
const fn room(at: u64) -> usize {
    (PAGE_SIZE - at % PAGE_SIZE) as usize
}

/// The physical address of the virtual one of the guest that is loaded. It holds for as long as its memory is locked.
#[inline]
fn locate(domain_memory: &mut GuestMemory, at: u64, write: bool) -> Result<u64, Errno> {
    match syndrome::translate(at, write) {
        Some(pa) => Ok(pa),
        None => locate_untouched(domain_memory, at, write),
    }
}

/// The same for memory that the guest has not touched itself yet.
#[cold]
fn locate_untouched(domain_memory: &mut GuestMemory, at: u64, write: bool) -> Result<u64, Errno> {
    let ipa = syndrome::translate_stage1(at).ok_or(Errno::EFAULT)?;
    domain_memory.admit(Ipa(ipa), write).map_err(|_| Errno::EFAULT)?;
    syndrome::translate(at, write).ok_or(Errno::EFAULT)
}
