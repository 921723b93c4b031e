//! A domain's event channels (`event_channel.h`): which port leads where, and how its guest hears of what comes.
//!
//! [`EventChannels`] is the table of ports and every operation on it. How an event becomes visible is one of two formats: bits in
//! the shared page (`two_level`), to which every guest is born, or the queues of the FIFO ABI (`fifo`), which it may ask for.
//! What concerns two domains takes a [`Pair`].

mod fifo;
mod pair;
mod two_level;

#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use xen_abi::errno::Errno;
use xen_abi::event_channel::{Status, fifo as fifo_abi, status};
use xen_abi::xen::{EVENTS_2L, VcpuInfo, virq};

use crate::id::{DomainId, VcpuId};
use crate::vgic::VcpuSet;
use fifo::Fifo;
pub use pair::Pair;

/// A page of memory that a guest and the hypervisor both have, for as long as the value lives. The guest changes it at any time.
pub trait Page {
    /// The 4 bytes at `offset`, which is a multiple of 4 below 4,096.
    fn word(&self, offset: usize) -> &AtomicU32;
    /// The 8 bytes at `offset`, which is a multiple of 8 below 4,096.
    fn double(&self, offset: usize) -> &AtomicU64;
}

/// Greatest port number, as of a domain that Xen's dom0less builds.
pub const MAX_PORT: u32 = 1023;
/// The same of one that needs few.
pub const FEW_PORTS: u32 = BUCKET as u32 - 1;

/// Bytes of heap that ports up to `most` take, while their table grows as well.
pub const fn heap_bytes(most: u32) -> u64 {
    2 * ((most as usize + BUCKET) * (size_of::<Channel>() + 1)).next_power_of_two() as u64
}

/// Where a port leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Free,
    /// Waits for that domain to connect.
    Unbound(DomainId),
    /// Connected to that domain's port.
    Interdomain(DomainId, u32),
    Virq(u32),
    Ipi,
}

#[derive(Clone, Copy, Debug)]
struct Channel {
    end: End,
    vcpu: VcpuId,
    queue: fifo::Placement,
}

impl Channel {
    const FREE: Self = Self { end: End::Free, vcpu: VcpuId(0), queue: fifo::Placement::DEFAULT };
}

/// Whom to tell of what came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "vCPUs that are not told do not look"]
pub struct Raised {
    /// vCPUs to which the event interrupt is to be sent.
    pub upcalls: VcpuSet,
    /// vCPUs that wait for this event without wanting an interrupt.
    pub pollers: VcpuSet,
}

impl Raised {
    /// Nobody.
    pub const NOBODY: Self = Self { upcalls: VcpuSet::EMPTY, pollers: VcpuSet::EMPTY };

    const fn upcalls(upcalls: VcpuSet) -> Self {
        Self { upcalls, ..Self::NOBODY }
    }

    fn add(&mut self, other: Self) {
        self.upcalls = self.upcalls.union(other.upcalls);
        self.pollers = self.pollers.union(other.pollers);
    }
}

/// What becomes of an event that a guest sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It came to the domain itself, or to nobody.
    Here(Raised),
    /// It is for this port of that domain: see [`EventChannels::receive`].
    To(DomainId, u32),
}

/// What a vCPU waits for in `SCHEDOP_poll`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Polling {
    Nothing,
    Port(u32),
    Several,
}

/// A vCPU's side of events.
struct Target<P> {
    /// Where its `vcpu_info` is, if not in the shared page.
    info: Option<(P, usize)>,
    polling: Polling,
}

/// The event channels of one domain.
pub struct EventChannels<P> {
    me: DomainId,
    /// The shared page.
    pub shared: P,
    // By number; 0 is no port.
    ports: Vec<Channel>,
    // A bit for each that is not free, from 1 on.
    open: Vec<u64>,
    targets: Vec<Target<P>>,
    fifo: Option<Fifo<P>>,
    // Greatest port number, 0 if there are to be no more.
    most: u32,
    // How many vCPUs poll.
    polling: u32,
}

impl<P: Page> EventChannels<P> {
    /// No ports, of which `most` is the greatest that there can be, and 2-level events in `shared`, for domain `me`.
    ///
    /// # Errors
    /// If there is no memory.
    pub fn new(me: DomainId, vcpus: usize, most: u32, shared: P) -> Result<Self, Errno> {
        let mut targets = Vec::new();
        targets.try_reserve_exact(vcpus).map_err(|_| Errno::ENOMEM)?;
        targets.resize_with(vcpus, || Target { info: None, polling: Polling::Nothing });
        Ok(Self { me, shared, ports: Vec::new(), open: Vec::new(), targets, fifo: None, most, polling: 0 })
    }

    /// Leaves the pages of the guest's that it has registered, because the guest will not run again.
    pub fn forget_areas(&mut self) {
        self.fifo = None;
        self.targets.iter_mut().for_each(|target| target.info = None);
    }

    /// Makes a port for `remote` to connect to.
    ///
    /// # Errors
    /// If there are too many.
    pub fn allocate_unbound(&mut self, remote: DomainId) -> Result<u32, Errno> {
        self.allocate(End::Unbound(remote), VcpuId(0))
    }

    /// Makes `port` one end of a channel that the configuration asks for, or that waits for `remote`.
    ///
    /// # Errors
    /// If it is in use otherwise or is no port.
    pub fn connect(&mut self, port: u32, remote: DomainId, remote_port: u32) -> Result<(), Errno> {
        self.grow_to(port)?;
        let end = self.channel(port)?.end;
        if port == 0 || ![End::Free, End::Unbound(remote)].contains(&end) {
            return Err(Errno::EBUSY);
        }
        self.renew(port, End::Interdomain(remote, remote_port), VcpuId(0))
    }

    /// Binds a virtual interrupt of a vCPU.
    ///
    /// # Errors
    /// If there is no such interrupt or vCPU, it is bound already, or there are too many ports.
    pub fn bind_virq(&mut self, number: u32, vcpu: u32) -> Result<u32, Errno> {
        if number >= virq::COUNT || is_global(number) && vcpu != 0 {
            return Err(Errno::EINVAL);
        }
        let vcpu = self.vcpu(vcpu)?;
        if self.virq_port(number, vcpu).is_some() {
            return Err(Errno::EEXIST);
        }
        self.allocate(End::Virq(number), vcpu)
    }

    /// Makes a port by which the domain's vCPUs notify one of them.
    ///
    /// # Errors
    /// If there is no such vCPU or there are too many ports.
    pub fn bind_ipi(&mut self, vcpu: u32) -> Result<u32, Errno> {
        let vcpu = self.vcpu(vcpu)?;
        self.allocate(End::Ipi, vcpu)
    }

    /// Has a port notify another vCPU.
    ///
    /// # Errors
    /// If there is no such vCPU or port, or the port is one vCPU's for good.
    pub fn bind_vcpu(&mut self, port: u32, vcpu: u32) -> Result<(), Errno> {
        let vcpu = self.vcpu(vcpu)?;
        let channel = self.channel_mut(port)?;
        match channel.end {
            End::Virq(number) if !is_global(number) => return Err(Errno::EINVAL),
            End::Ipi | End::Free => return Err(Errno::EINVAL),
            End::Unbound(_) | End::Interdomain(..) | End::Virq(_) => channel.vcpu = vcpu,
        }
        Ok(())
    }

    /// What a port is, as `evtchn_status` answers it.
    ///
    /// # Errors
    /// If there is no such port.
    pub fn status(&self, dom: u16, port: u32) -> Result<Status, Errno> {
        let channel = self.channel(port)?;
        let (status, peer, peer_port) = match channel.end {
            End::Free => (status::CLOSED, 0, 0),
            End::Unbound(remote) => (status::UNBOUND, u32::from(remote.get()), 0),
            End::Interdomain(remote, port) => (status::INTERDOMAIN, u32::from(remote.get()), port),
            End::Virq(number) => (status::VIRQ, number, 0),
            End::Ipi => (status::IPI, 0, 0),
        };
        Ok(Status { dom, pad: 0, port, status, vcpu: channel.vcpu.0.into(), peer, peer_port })
    }

    /// Sends an event by a port.
    ///
    /// # Errors
    /// If it is no port that sends.
    #[inline]
    pub fn send(&mut self, port: u32) -> Result<Sent, Errno> {
        match self.channel(port)?.end {
            End::Interdomain(remote, at) if remote == self.me => Ok(Sent::Here(self.pend(at))),
            End::Interdomain(remote, at) => Ok(Sent::To(remote, at)),
            End::Ipi => Ok(Sent::Here(self.pend(port))),
            End::Unbound(_) => Ok(Sent::Here(Raised::NOBODY)),
            End::Free | End::Virq(_) => Err(Errno::EINVAL),
        }
    }

    /// An event comes from `port` of another domain; it counts if the two ends still belong together.
    pub fn receive(&mut self, at: u32, from: DomainId, port: u32) -> Raised {
        let end = End::Interdomain(from, port);
        let is_it = self.channel(at).is_ok_and(|channel| channel.end == end);
        if is_it { self.pend(at) } else { Raised::NOBODY }
    }

    /// A virtual interrupt comes; a global one has no need of `vcpu`.
    pub fn raise_virq(&mut self, number: u32, vcpu: VcpuId) -> Raised {
        self.virq_port(number, vcpu).map_or(Raised::NOBODY, |port| self.pend(port))
    }

    /// Lets a masked event through, and announces it if it is pending.
    ///
    /// # Errors
    /// If there is no such port.
    pub fn unmask(&mut self, port: u32) -> Result<Raised, Errno> {
        let vcpu = self.channel(port)?.vcpu;
        Ok(match &self.fifo {
            None if two_level::unmask(self, port, vcpu) => Raised::upcalls(self.mark(vcpu)),
            Some(fifo) if fifo.unmask(port) => self.pend(port),
            _ => Raised::NOBODY,
        })
    }

    /// Sets a port's priority, which only the FIFO ABI has.
    ///
    /// # Errors
    /// If there is no such port or priority, or events are not in queues.
    pub fn set_priority(&mut self, port: u32, priority: u32) -> Result<(), Errno> {
        match self.channel(port)?.end {
            _ if self.fifo.is_none() => Err(Errno::ENOSYS),
            End::Free => Err(Errno::EACCES),
            _ if priority as usize >= fifo_abi::QUEUES => Err(Errno::EINVAL),
            _ => self.channel_mut(port).map(|channel| channel.queue.priority = priority as u8),
        }
    }

    /// Registers where a vCPU's `vcpu_info` is. Everything counts as pending then, so that nothing is lost.
    ///
    /// # Errors
    /// If it has one already.
    #[inline(never)]
    pub fn register_vcpu_info(&mut self, vcpu: VcpuId, page: P, offset: usize) -> Result<Raised, Errno> {
        let legacy = self.info(vcpu).map_or(0, |(page, at)| page.word(at).load(Ordering::Relaxed));
        let target = self.targets.get_mut(usize::from(vcpu.0)).ok_or(Errno::ENOENT)?;
        if target.info.is_some() {
            return Err(Errno::EBUSY);
        }
        page.word(offset).store(legacy, Ordering::Relaxed);
        page.double(offset + SEL).store(u64::MAX, Ordering::Release);
        target.info = Some((page, offset));
        Ok(Raised::upcalls(self.mark(vcpu)))
    }

    /// The interrupt that told a vCPU of its events is lost: it is to be told again, if there are any.
    pub fn announce_again(&self, vcpu: VcpuId) -> Raised {
        Raised::upcalls(if self.is_told(vcpu) { VcpuSet::of(vcpu) } else { VcpuSet::EMPTY })
    }

    /// Whether a vCPU knows of an event that it has not looked at.
    fn is_told(&self, vcpu: VcpuId) -> bool {
        self.info(vcpu).is_some_and(|(page, at)| page.word(at).load(Ordering::Relaxed) & UPCALL_MASK != 0)
    }

    /// Begins to wait for any of these ports; `false` if one of them is pending.
    ///
    /// # Errors
    /// If one is no port.
    pub fn poll(&mut self, vcpu: VcpuId, ports: &[u32]) -> Result<bool, Errno> {
        for &port in ports {
            if self.channel(port)?.end == End::Free {
                return Err(Errno::EINVAL);
            }
            if self.is_pending(port) {
                return Ok(false);
            }
        }
        self.set_polling(vcpu, if let &[port] = ports { Polling::Port(port) } else { Polling::Several });
        Ok(true)
    }

    /// Ends a vCPU's waiting.
    #[inline]
    pub fn end_poll(&mut self, vcpu: VcpuId) {
        if self.polling != 0 {
            self.set_polling(vcpu, Polling::Nothing);
        }
    }

    /// Asks for the FIFO ABI, with the control block of `vcpu` at `offset` of `page`.
    ///
    /// # Errors
    /// If the vCPU has one or there is no memory.
    pub fn init_control(&mut self, vcpu: VcpuId, page: P, offset: usize) -> Result<(), Errno> {
        if let Some(fifo) = &mut self.fifo {
            return fifo.set_control(vcpu, page, offset);
        }
        let mut fifo = Fifo::new(self.targets.len())?;
        fifo.set_control(vcpu, page, offset)?;
        for (port, channel) in (0..).zip(&mut self.ports) {
            let pending = two_level::is_pending(&self.shared, port);
            channel.queue = fifo::Placement { pending, ..fifo::Placement::DEFAULT };
        }
        self.fifo = Some(fifo);
        Ok(())
    }

    /// Adds a page of event words, if there is one, and announces what was pending without it.
    ///
    /// # Errors
    /// If events are not in queues or there are enough pages; else what is wrong with the page.
    pub fn expand_array(&mut self, page: Result<P, Errno>) -> Result<Raised, Errno> {
        let fifo = self.fifo.as_mut().ok_or(Errno::EOPNOTSUPP)?;
        let first = fifo.add_page(page?)?;
        let mut raised = Raised::NOBODY;
        for port in first..(first + fifo_abi::WORDS_PER_PAGE).min(self.ports.len() as u32) {
            if self.channel(port).is_ok_and(|channel| channel.queue.pending) {
                raised.add(self.pend(port));
            }
        }
        Ok(raised)
    }

    /// After every port was closed: back to bits in the shared page.
    pub fn leave_fifo(&mut self) {
        self.fifo = None;
    }

    /// Refuses new ports from now on, because the domain ends.
    pub fn shut(&mut self) {
        self.most = 0;
    }

    /// The first port in use that is the guest's to close.
    pub fn first_open(&self) -> Option<u32> {
        let (word, open) = (0..).zip(&self.open).find(|(_, open)| **open != 0)?;
        Some(word * 64 + open.trailing_zeros() + 1)
    }

    /// The domain that a port is connected to or waits for, if it is of that kind. That does not change while the port is open.
    ///
    /// # Errors
    /// If the port is not in use, or is the hypervisor's.
    pub fn peer(&self, port: u32) -> Result<Option<DomainId>, Errno> {
        match self.channel(port)?.end {
            End::Free => Err(Errno::EINVAL),
            End::Interdomain(remote, _) | End::Unbound(remote) => Ok(Some(remote)),
            End::Virq(_) | End::Ipi => Ok(None),
        }
    }

    #[inline(never)]
    fn allocate(&mut self, end: End, vcpu: VcpuId) -> Result<u32, Errno> {
        let word = self.open.iter().position(|&open| open != u64::MAX).unwrap_or(self.open.len());
        let open = self.open.get(word).map_or(0, |open| open.trailing_ones());
        let port = (word * BUCKET) as u32 + open + 1;
        self.grow_to(port)?;
        self.renew(port, end, vcpu).map(|()| port)
    }

    /// Makes a port another. The queue that it was in last is remembered: it may still be in it.
    fn renew(&mut self, port: u32, end: End, vcpu: VcpuId) -> Result<(), Errno> {
        let channel = self.channel_mut(port)?;
        let queue = fifo::Placement { last: channel.queue.last, ..fifo::Placement::DEFAULT };
        *channel = Channel { end, vcpu, queue };
        let bit = port.wrapping_sub(1);
        let open = self.open.get_mut(bit as usize / BUCKET).ok_or(Errno::EINVAL)?;
        *open = *open & !(1 << (bit % 64)) | u64::from(end != End::Free) << (bit % 64);
        Ok(())
    }

    /// Xen's table grows by 64 ports, and what is free but has its place is a port (`EVTCHNS_PER_BUCKET`).
    fn grow_to(&mut self, port: u32) -> Result<(), Errno> {
        if port > self.most || self.fifo.is_none() && port >= EVENTS_2L {
            return Err(Errno::ENOSPC);
        }
        let words = (port as usize / BUCKET + 1).max(self.open.len());
        self.open.try_reserve(words - self.open.len()).map_err(|_| Errno::ENOMEM)?;
        self.ports.try_reserve(words * BUCKET - self.ports.len()).map_err(|_| Errno::ENOMEM)?;
        self.open.resize(words, 0);
        self.ports.resize(words * BUCKET, Channel::FREE);
        Ok(())
    }

    fn channel(&self, port: u32) -> Result<Channel, Errno> {
        match self.ports.get(port as usize) {
            Some(channel) => Ok(*channel),
            // The first come to be with the first that is used.
            None if port <= FEW_PORTS => Ok(Channel::FREE),
            None => Err(Errno::EINVAL),
        }
    }

    fn channel_mut(&mut self, port: u32) -> Result<&mut Channel, Errno> {
        self.ports.get_mut(port as usize).ok_or(Errno::EINVAL)
    }

    fn vcpu(&self, number: u32) -> Result<VcpuId, Errno> {
        if (number as usize) < self.targets.len() { Ok(VcpuId(number as u8)) } else { Err(Errno::ENOENT) }
    }

    fn virq_port(&self, number: u32, vcpu: VcpuId) -> Option<u32> {
        let is_it = |channel: &Channel| channel.end == End::Virq(number) && (is_global(number) || channel.vcpu == vcpu);
        (0..).zip(&self.ports).find_map(|(port, channel)| is_it(channel).then_some(port))
    }

    #[inline(never)]
    fn free(&mut self, port: u32) {
        match &self.fifo {
            None => two_level::clear_pending(&self.shared, port),
            Some(fifo) => fifo.clear_pending(port),
        }
        let _ = self.renew(port, End::Free, VcpuId(0));
    }

    /// Makes an event pending, and says who must hear of it.
    #[inline(never)]
    fn pend(&mut self, port: u32) -> Raised {
        let Some(channel) = self.ports.get_mut(port as usize) else { return Raised::NOBODY };
        let vcpu = channel.vcpu;
        let (is_new, announce) = match &mut self.fifo {
            None => two_level::set_pending(self, port, vcpu),
            Some(fifo) => fifo.set_pending(port, vcpu, &mut channel.queue),
        };
        if !is_new && !announce {
            return Raised::NOBODY;
        }
        Raised {
            upcalls: if announce { self.mark(vcpu) } else { VcpuSet::EMPTY },
            pollers: if self.polling > 0 { self.pollers(port) } else { VcpuSet::EMPTY },
        }
    }

    fn is_pending(&self, port: u32) -> bool {
        match &self.fifo {
            None => two_level::is_pending(&self.shared, port),
            Some(fifo) => fifo.is_pending(port),
        }
    }

    /// Tells a vCPU that there is something to look at; it is to be interrupted if it did not know.
    fn mark(&self, vcpu: VcpuId) -> VcpuSet {
        let is_news =
            |(page, at): (&P, usize)| page.word(at).fetch_or(UPCALL_PENDING, Ordering::AcqRel) & UPCALL_PENDING == 0;
        if self.info(vcpu).is_some_and(is_news) { VcpuSet::of(vcpu) } else { VcpuSet::EMPTY }
    }

    /// Where the `vcpu_info` of a vCPU is.
    fn info(&self, vcpu: VcpuId) -> Option<(&P, usize)> {
        match &self.targets.get(usize::from(vcpu.0))?.info {
            Some((page, offset)) => Some((page, *offset)),
            None if vcpu == VcpuId(0) => Some((&self.shared, 0)),
            None => None,
        }
    }

    fn set_polling(&mut self, vcpu: VcpuId, polling: Polling) {
        let Some(target) = self.targets.get_mut(usize::from(vcpu.0)) else { return };
        let before = core::mem::replace(&mut target.polling, polling);
        self.polling += u32::from(polling != Polling::Nothing);
        self.polling -= u32::from(before != Polling::Nothing);
    }

    fn pollers(&self, port: u32) -> VcpuSet {
        let polls = |polling| polling == Polling::Several || polling == Polling::Port(port);
        let targets = (0..).map(VcpuId).zip(&self.targets);
        let pollers = targets.filter(|(_, target)| polls(target.polling)).map(|(vcpu, _)| VcpuSet::of(vcpu));
        pollers.fold(VcpuSet::EMPTY, VcpuSet::union)
    }
}

/// Ports that come to be at once (`EVTCHNS_PER_BUCKET`).
const BUCKET: usize = 64;
/// `vcpu_info.evtchn_upcall_pending` in the word it is part of.
const UPCALL_PENDING: u32 = 1;
const UPCALL_MASK: u32 = 0xff;
/// Offset of `vcpu_info.evtchn_pending_sel`.
const SEL: usize = core::mem::offset_of!(VcpuInfo, evtchn_pending_sel);

const fn is_global(number: u32) -> bool {
    virq::GLOBAL >> number & 1 != 0
}
