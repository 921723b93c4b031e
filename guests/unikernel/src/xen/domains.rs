//! Domains' lives, as a control domain has them by `domctl`, `sysctl` and what goes with these. One function is one hypercall; none of
//! them changes the caller's own memory.

use xen_abi::domctl::{
    BindPtIrq, CreateDomain, Domctl, GetDomainInfo, INTERFACE_VERSION, IomemPermission, MaxMem, MemoryMapping,
    PT_IRQ_TYPE_SPI, SchedulerOp, VcpuContext, VcpuContextOp, info, op, sched,
};
use xen_abi::event_channel::{self, AllocUnbound};
use xen_abi::hvm::{Param, SET_PARAM};
use xen_abi::memory::{self, Reservation};
use xen_abi::mote::{self, Connect, Describe, Ended, Join, Text, Usage};
use xen_abi::sched::RemoteShutdown;
use xen_abi::sysctl::{self, GetDomainInfoList, Physinfo, ReadConsole, Sysctl};
use xen_abi::xen::{domid, hypercall};
use xen_abi::{Wire, Zeroed};

use super::events::Port;
use super::{Errno, call, hypercall as raw};

pub use xen_abi::mote::{CloneTemplate, End};

/// Pages of devices that one call maps at most.
const MAPPED_AT_ONCE: u64 = 64;

/// Makes an empty domain, paused once. The answer is its number: `wanted` if that is free, or one that is.
///
/// # Errors
/// The hypervisor's.
pub fn create(wanted: Option<u16>, mut domain: CreateDomain) -> Result<u16, Errno> {
    // SAFETY: the new domain is not the caller.
    unsafe { domctl_unchecked(op::CREATEDOMAIN, wanted.unwrap_or(0), &mut domain) }
}

/// Says what a domain is called, what shows that it is ready, and what it has besides ([`mote::flags`]).
///
/// # Errors
/// The hypervisor's: a name and a text that are too long.
pub fn describe(domain: u16, name: &str, ready: &str, flags: u32) -> Result<(), Errno> {
    let (name_len, ready_len) = (name.len() as u32, ready.len() as u32);
    let (name, ready) = (address(name.as_ptr()), address(ready.as_ptr()));
    domctl(mote::op::DESCRIBE, domain, &mut Describe { name, name_len, ready_len, ready, flags, pad: 0 })
}

/// Says how many vCPUs a domain has.
///
/// # Errors
/// The hypervisor's, if it was created for another number.
pub fn set_vcpus(domain: u16, mut count: u32) -> Result<(), Errno> {
    domctl(op::MAX_VCPUS, domain, &mut count)
}

/// Lets a domain have so many bytes of memory.
///
/// # Errors
/// The hypervisor's.
pub fn limit_memory(domain: u16, bytes: u64) -> Result<(), Errno> {
    domctl(op::MAX_MEM, domain, &mut MaxMem { max_memkb: bytes.div_ceil(1024) })
}

/// Sets the weight of a domain's vCPUs.
///
/// # Errors
/// The hypervisor's.
pub fn set_weight(domain: u16, weight: u16) -> Result<(), Errno> {
    let mut scheduling = SchedulerOp { sched_id: sched::CREDIT2, cmd: sched::PUTINFO, weight, cap: 0, pad: [0; 3] };
    // SAFETY: it changes no memory, whoever's vCPUs they are.
    unsafe { domctl_unchecked(op::SCHEDULER_OP, domain, &mut scheduling) }.map(drop)
}

/// Gives another domain new memory at these frames, 2 to the `order` of them each. Of a domain whose memory is where the machine has it
/// the list is answered.
///
/// # Errors
/// `ENOMEM` if it did not get all.
pub fn populate(domain: u16, frames: &mut [u64], order: u32) -> Result<(), Errno> {
    let wanted = frames.len() as u64;
    let mut argument = Reservation {
        extent_start: address(frames.as_mut_ptr()),
        nr_extents: wanted,
        extent_order: order,
        mem_flags: 0,
        domid: other(domain)?,
        pad: [0; 3],
    };
    // SAFETY: the list is there, and the memory is another domain's.
    let done = unsafe { call(hypercall::MEMORY_OP, memory::op::POPULATE_PHYSMAP, &mut argument) }?;
    if done == wanted { Ok(()) } else { Err(Errno::ENOMEM) }
}

/// Takes memory of another domain at these frames away, 2 to the `order` of them each.
///
/// # Errors
/// The hypervisor's.
pub fn depopulate(domain: u16, frames: &mut [u64], order: u32) -> Result<(), Errno> {
    let mut argument = Reservation {
        extent_start: address(frames.as_mut_ptr()),
        nr_extents: frames.len() as u64,
        extent_order: order,
        mem_flags: 0,
        domid: other(domain)?,
        pad: [0; 3],
    };
    // SAFETY: the list is there, and the memory is another domain's.
    unsafe { call(hypercall::MEMORY_OP, memory::op::DECREASE_RESERVATION, &mut argument) }.map(drop)
}

/// Sets a parameter of a domain's ([`xen_abi::hvm::param`]).
///
/// # Errors
/// The hypervisor's.
pub fn set_parameter(domain: u16, index: u32, value: u64) -> Result<(), Errno> {
    let argument = Param { domid: other(domain)?, pad: 0, index, value };
    // SAFETY: it reads the structure alone.
    unsafe { raw(hypercall::HVM_OP, [SET_PARAM, address(&raw const argument), 0, 0, 0]) }.map(drop)
}

/// Makes a port of `domain`, to which `remote` may connect.
///
/// # Errors
/// The hypervisor's.
pub fn offer_port(domain: u16, remote: u16) -> Result<u32, Errno> {
    let mut argument = AllocUnbound { dom: other(domain)?, remote_dom: remote, port: 0 };
    // SAFETY: it changes the structure alone.
    unsafe { call(hypercall::EVENT_CHANNEL_OP, event_channel::op::ALLOC_UNBOUND, &mut argument) }?;
    Ok(argument.port)
}

/// Sets the registers of a vCPU that is not running.
///
/// # Errors
/// The hypervisor's.
pub fn set_vcpu(domain: u16, vcpu: u32, context: &VcpuContext) -> Result<(), Errno> {
    let ctxt = address(&raw const *context);
    domctl(op::SETVCPUCONTEXT, domain, &mut VcpuContextOp { vcpu, pad: 0, ctxt })
}

/// Lets two domains connect event channels and use each other's grants.
///
/// # Errors
/// The hypervisor's.
pub fn join(domain: u16, peer: u16) -> Result<(), Errno> {
    domctl(mote::op::JOIN, domain, &mut Join { other: peer, pad: [0; 3] })
}

/// Connects two free ports.
///
/// # Errors
/// The hypervisor's.
pub fn connect((domain, port): (u16, u32), (other, other_port): (u16, u32)) -> Result<(), Errno> {
    domctl(mote::op::CONNECT, domain, &mut Connect { port, other_port, other, pad: [0; 3] })
}

/// Gives a domain pages of devices: `count` from the machine's frame `mfn` on, at its own from `gfn` on.
///
/// # Errors
/// The hypervisor's.
pub fn give_pages(domain: u16, gfn: u64, mfn: u64, count: u64) -> Result<(), Errno> {
    let mut permission = IomemPermission { first_mfn: mfn, nr_mfns: count, allow_access: 1, pad: [0; 7] };
    domctl(op::IOMEM_PERMISSION, domain, &mut permission)?;
    for done in (0..count).step_by(MAPPED_AT_ONCE as usize) {
        let (first_gfn, first_mfn) = (gfn + done, mfn + done);
        let nr_mfns = (count - done).min(MAPPED_AT_ONCE);
        let mut mapping = MemoryMapping { first_gfn, first_mfn, nr_mfns, add_mapping: 1, padding: 0 };
        domctl(op::MEMORY_MAPPING, domain, &mut mapping)?;
    }
    Ok(())
}

/// Maps a page of a device at the machine's address for this domain itself, or takes it away.
///
/// # Errors
/// The hypervisor's.
///
/// # Safety
/// Nothing else of this domain's is there.
pub(super) unsafe fn map_own_page(frame: u64, add: bool) -> Result<(), Errno> {
    let mut mapping =
        MemoryMapping { first_gfn: frame, first_mfn: frame, nr_mfns: 1, add_mapping: add.into(), padding: 0 };
    // SAFETY: a page of a device appears or goes where nothing else is, as the caller promises.
    unsafe { domctl_unchecked(op::MEMORY_MAPPING, 0, &mut mapping) }.map(drop)
}

/// Gives a domain a shared interrupt of the machine, under the same number. On Arm that needs no permission before it.
///
/// # Errors
/// The hypervisor's.
pub fn give_interrupt(domain: u16, intid: u32) -> Result<(), Errno> {
    let spi = u16::try_from(intid).map_err(|_| Errno::EINVAL)?;
    let (irq_type, pad, pad2) = (PT_IRQ_TYPE_SPI, [0; 3], 0);
    domctl(op::BIND_PT_IRQ, domain, &mut BindPtIrq { machine_irq: intid, irq_type, spi, pad, pad2 })
}

/// Takes a domain's vCPUs off their pCPUs, until it is unpaused as often.
///
/// # Errors
/// The hypervisor's.
pub fn pause(domain: u16) -> Result<(), Errno> {
    domctl(op::PAUSEDOMAIN, domain, &mut [0_u8; 0])
}

/// Takes back one time that a domain was paused.
///
/// # Errors
/// The hypervisor's.
pub fn unpause(domain: u16) -> Result<(), Errno> {
    domctl(op::UNPAUSEDOMAIN, domain, &mut [0_u8; 0])
}

/// Ends a domain for a reason ([`xen_abi::sched::reason`]). It is there until it is destroyed.
///
/// # Errors
/// The hypervisor's.
pub fn shut_down(domain: u16, reason: u32) -> Result<(), Errno> {
    let mut argument = RemoteShutdown { domain_id: other(domain)?, pad: 0, reason };
    // SAFETY: it reads the structure alone.
    unsafe { call(hypercall::SCHED_OP, xen_abi::sched::op::REMOTE_SHUTDOWN, &mut argument) }.map(drop)
}

/// Destroys a domain, and gives back all it has.
///
/// # Errors
/// The hypervisor's.
pub fn destroy(domain: u16) -> Result<(), Errno> {
    domctl(op::DESTROYDOMAIN, domain, &mut [0_u8; 0])
}

/// Whether any of a domain's vCPUs is on a pCPU.
///
/// # Errors
/// The hypervisor's.
pub fn is_running(domain: u16) -> Result<bool, Errno> {
    has_flag(domain, info::RUNNING)
}

/// Whether a domain is paused.
///
/// # Errors
/// The hypervisor's.
pub fn is_paused(domain: u16) -> Result<bool, Errno> {
    has_flag(domain, info::PAUSED)
}

fn has_flag(domain: u16, flag: u32) -> Result<bool, Errno> {
    let mut found = GetDomainInfo::new_zeroed();
    domctl(op::GETDOMAININFO, domain, &mut found)?;
    Ok(found.flags & flag != 0)
}

/// Writes to the machine's console in a domain's name.
///
/// # Errors
/// The hypervisor's: more than 128 bytes.
pub fn print(domain: u16, text: &[u8]) -> Result<(), Errno> {
    domctl(mote::op::PRINT, domain, &mut Text { at: address(text.as_ptr()), length: text.len() as u32, pad: 0 })
}

/// Types at a domain's UART, which drops what it has no room for.
///
/// # Errors
/// The hypervisor's: more than 128 bytes.
pub fn type_at(domain: u16, text: &[u8]) -> Result<(), Errno> {
    domctl(mote::op::TYPE, domain, &mut Text { at: address(text.as_ptr()), length: text.len() as u32, pad: 0 })
}

/// Says whether somebody watches a domain's console, so that its output goes to the machine's as it comes.
///
/// # Errors
/// The hypervisor's.
pub fn watch(domain: u16, is_watched: bool) -> Result<(), Errno> {
    domctl(mote::op::WATCH, domain, &mut u32::from(is_watched))
}

/// Makes a clone of a template. The answer is its number.
///
/// # Errors
/// The hypervisor's: `EINVAL` if it is no template, `EBUSY` if it is being destroyed, `ENOMEM`.
pub fn clone(template: u16, mut clone: CloneTemplate) -> Result<u16, Errno> {
    // SAFETY: neither domain is the caller.
    unsafe { domctl_unchecked(mote::op::CLONE, other(template)?, &mut clone) }
}

/// The same with a port of the clone's connected from the beginning, at the other end of which is the port that is answered.
///
/// # Errors
/// As [`clone`]; `ENOSPC` if no port is left, `EPERM` if the caller does not serve the template.
pub fn clone_linked(template: u16, mut clone: CloneTemplate) -> Result<(u16, Port), Errno> {
    // SAFETY: neither domain is the caller.
    let number = unsafe { domctl_unchecked(mote::op::CLONE, other(template)?, &mut clone) }?;
    Ok((number, Port::new_gathered(clone.port)))
}

/// Which ephemeral domains ended since this was asked last, as many as there is room for. The answer is how many that are, and how many
/// there were since the start that nobody will hear of.
///
/// # Errors
/// The hypervisor's.
pub fn ended(room: &mut [End]) -> Result<(usize, u64), Errno> {
    let ends = address(room.as_mut_ptr());
    let mut asked = Ended { ends, room: room.len() as u32, count: 0, lost: 0 };
    // SAFETY: it changes nothing but the list.
    unsafe { domctl_unchecked(mote::op::ENDED, 0, &mut asked) }?;
    Ok(((asked.count as usize).min(room.len()), asked.lost))
}

/// What a domain cost, the caller too.
///
/// # Errors
/// The hypervisor's.
pub fn usage(domain: u16) -> Result<Usage, Errno> {
    let mut usage = Usage::new_zeroed();
    // SAFETY: it changes nothing but the structure.
    unsafe { domctl_unchecked(mote::op::USAGE, domain, &mut address(&raw mut usage)) }?;
    Ok(usage)
}

/// The weight of a domain's vCPUs, the caller's too.
///
/// # Errors
/// The hypervisor's.
pub fn weight(domain: u16) -> Result<u16, Errno> {
    let mut asked = SchedulerOp { sched_id: sched::CREDIT2, cmd: sched::GETINFO, weight: 0, cap: 0, pad: [0; 3] };
    // SAFETY: it changes nothing but the structure.
    unsafe { domctl_unchecked(op::SCHEDULER_OP, domain, &mut asked) }?;
    Ok(asked.weight)
}

/// How the domains are from number `first` on, as many as there is room for. The answer is how many that are.
///
/// # Errors
/// The hypervisor's.
pub fn list(first: u16, room: &mut [GetDomainInfo]) -> Result<usize, Errno> {
    let buffer = address(room.as_mut_ptr());
    let max_domains = room.len() as u32;
    let mut argument = GetDomainInfoList { first_domain: first, pad: 0, max_domains, buffer, num_domains: 0, pad2: 0 };
    system(sysctl::op::GETDOMAININFOLIST, &mut argument)?;
    Ok((argument.num_domains as usize).min(max_domains as usize))
}

/// What the machine has.
///
/// # Errors
/// The hypervisor's.
pub fn machine() -> Result<Physinfo, Errno> {
    let mut info = Physinfo::new_zeroed();
    system(sysctl::op::PHYSINFO, &mut info)?;
    Ok(info)
}

/// What the hypervisor itself has said from number `from` on, or from the oldest that is kept; `room` takes as much as it can. The answer is
/// how many bytes that are, and the number behind them.
///
/// # Errors
/// The hypervisor's.
pub fn log(from: Option<u32>, room: &mut [u8]) -> Result<(usize, u32), Errno> {
    let mut asked = ReadConsole {
        incremental: from.is_some().into(),
        index: from.unwrap_or(0),
        buffer: address(room.as_mut_ptr()),
        count: room.len() as u32,
        ..ReadConsole::new_zeroed()
    };
    system(sysctl::op::READCONSOLE, &mut asked)?;
    Ok(((asked.count as usize).min(room.len()), asked.index))
}

/// The number of a domain that is not the caller, who is number 0.
const fn other(domain: u16) -> Result<u16, Errno> {
    if domain == 0 || domain >= domid::SELF { Err(Errno::EINVAL) } else { Ok(domain) }
}

fn domctl<T: Wire>(cmd: u32, domain: u16, argument: &mut T) -> Result<(), Errno> {
    let domain = other(domain)?;
    // SAFETY: the domain is not the caller, and addresses in arguments are those of this module.
    unsafe { domctl_unchecked(cmd, domain, argument) }.map(drop)
}

/// The answer is the domain's number.
///
/// # Safety
/// What the operation does to the caller's memory must be sound.
unsafe fn domctl_unchecked<T: Wire>(cmd: u32, domain: u16, argument: &mut T) -> Result<u16, Errno> {
    let mut u = [0; 128];
    put(&mut u, argument);
    let mut domctl = Domctl { cmd, interface_version: INTERFACE_VERSION, domain, pad: [0; 3], u };
    // SAFETY: the structure is there; for the rest the caller answers.
    unsafe { raw(hypercall::DOMCTL, [address(&raw mut domctl), 0, 0, 0, 0]) }?;
    take(&domctl.u, argument);
    Ok(domctl.domain)
}

fn system<T: Wire>(cmd: u32, argument: &mut T) -> Result<(), Errno> {
    let mut u = [0; 128];
    put(&mut u, argument);
    let mut sysctl = Sysctl { cmd, interface_version: sysctl::INTERFACE_VERSION, u };
    // SAFETY: the structure is there, and addresses in arguments are those of this module.
    unsafe { raw(hypercall::SYSCTL, [address(&raw mut sysctl), 0, 0, 0, 0]) }?;
    take(&sysctl.u, argument);
    Ok(())
}

fn put<T: Wire>(union: &mut [u8], argument: &T) {
    union.iter_mut().zip(argument.as_bytes()).for_each(|(to, from)| *to = *from);
}

fn take<T: Wire>(union: &[u8], argument: &mut T) {
    argument.as_mut_bytes().iter_mut().zip(union).for_each(|(to, from)| *to = *from);
}

/// The address of what a hypercall is about, which may be changed by it if it is `mut`.
fn address<T>(of: *const T) -> u64 {
    of.expose_provenance() as u64
}
