//! `domctl`: domains' lives, for the control domain. What is done, and how it fails, is as on Xen 4.20; what Mote has besides is in
//! `xen_abi::mote`.

use alloc::string::String;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use mote_core::addr::PAGE_SIZE;
use mote_core::console::Output;
use mote_core::grants::Limits;
use mote_core::id::DomainId;
use mote_core::p2m::IPA_BITS;
use mote_core::sched::State;
use mote_core::vpl011::Vpl011;
use mote_platform::lock::Mutex;
use xen_abi::Zeroed;
use xen_abi::arch_arm::MAX_VCPUS;
use xen_abi::domctl::{
    ArchConfig, CreateDomain, Domctl, GetDomainInfo, INTERFACE_VERSION, MaxMem, SchedulerOp, VGCF_ONLINE, VcpuContext,
    VcpuContextOp, create, info, op, sched,
};
use xen_abi::event_channel::fifo::LINK;
use xen_abi::mote::{self, Connect, Describe, Join, Text, flags};

use super::console_io::PART;
use super::{Action, Answer, Errno, Reply, Session, part, put};
use crate::builder::{self, Specification};
use crate::console;
use crate::domain::{Domain, End};
use crate::machine::machine;
use crate::pcpu::nanoseconds;

/// What a domain may have where its creator leaves it to us: fewer mappings than on Xen, where a domain that maps without end
/// takes 16 MiB of the hypervisor's memory. A frame of mappings is 256 of them.
const GRANT_FRAMES: u32 = 64;
const MAPTRACK_FRAMES: u32 = 8;
const MAX_MAPTRACK_FRAMES: u32 = 1024;
const MAPPINGS_PER_FRAME: u32 = 256;
/// GICv3 (`XEN_DOMCTL_CONFIG_GIC_V3`), and most SPIs that it can have.
const GIC_V3: u8 = 3;
const MAX_SPIS: u32 = 960;
/// Longest name and text of readiness, in bytes.
const MAX_NAME: u32 = 31;
const MAX_READY: u32 = 127;

impl Session<'_> {
    #[inline(never)]
    pub(super) fn domctl(&mut self, at: u64) -> Answer {
        let mut call: Domctl = self.read(at)?;
        if call.interface_version != INTERFACE_VERSION {
            return Err(Errno::EACCES);
        }
        if call.cmd == op::CREATEDOMAIN {
            self.domain_for(Action::Control, self.domain.id.get())?;
            self.create_domain(&mut call)?;
            return self.write(at, &call).map(|()| Reply::DONE);
        }
        let domain = self.find_domain(call.domain).ok_or(Errno::ESRCH)?;
        let is_of_clone = [op::DESTROYDOMAIN, op::UNPAUSEDOMAIN].contains(&call.cmd) && domain.origin.is_some();
        let serves = call.cmd == mote::op::CLONE || is_of_clone;
        self.may(if serves { Action::Clone } else { Action::Control }, &domain)?;
        let is_self = domain.id == self.domain.id;
        match call.cmd {
            op::DESTROYDOMAIN | op::PAUSEDOMAIN | op::SETVCPUCONTEXT if is_self => return Err(Errno::EINVAL),
            op::DESTROYDOMAIN => return destroy(&domain),
            op::PAUSEDOMAIN => domain.pause(),
            op::UNPAUSEDOMAIN => domain.unpause(),
            op::GETDOMAININFO => put(&mut call.u, &domain_info(&domain)),
            op::MAX_MEM => {
                domain.memory.lock().allow(part::<MaxMem>(&call.u).max_memkb.saturating_mul(1024) & !(PAGE_SIZE - 1))
            }
            op::SETVCPUCONTEXT => self.set_vcpu_context(&domain, &part(&call.u))?,
            op::MAX_VCPUS if part::<u32>(&call.u) as usize != domain.vcpus.len() => return Err(Errno::EINVAL),
            op::MAX_VCPUS | op::HYPERCALL_INIT => {}
            op::SCHEDULER_OP => {
                let parameters = schedule(&domain, part(&call.u))?;
                put(&mut call.u, &parameters);
            }
            op::IOMEM_PERMISSION => self.iomem_permission(&part(&call.u))?,
            op::MEMORY_MAPPING => self.memory_mapping(&domain, &part(&call.u))?,
            op::BIND_PT_IRQ => self.bind_pt_irq(&domain, &part(&call.u))?,
            mote::op::DESCRIBE => self.describe(&domain, &part(&call.u))?,
            mote::op::JOIN => domain.join(&*self.domain_for(Action::Control, part::<Join>(&call.u).other)?)?,
            mote::op::CONNECT => self.connect(&domain, &part(&call.u))?,
            mote::op::PRINT | mote::op::TYPE => {
                let asked: Text = part(&call.u);
                let mut room = [0; PART];
                let text = self.read_part(asked.at, asked.length as usize, &mut room)?;
                if call.cmd == mote::op::PRINT { domain.say(text) } else { domain.hear(text) }
            }
            mote::op::WATCH => domain.output.lock().watch(part::<u32>(&call.u) != 0, &mut console::lock()),
            mote::op::CLONE => self.clone_template(&domain, &mut call)?,
            mote::op::ENDED => {
                let ended = self.ended(&part(&call.u))?;
                put(&mut call.u, &ended);
            }
            mote::op::USAGE => self.write(part(&call.u), &domain.usage())?,
            _ => return Err(Errno::ENOSYS),
        }
        self.write(at, &call).map(|()| Reply::DONE)
    }

    fn create_domain(&self, call: &mut Domctl) -> Result<(), Errno> {
        let mut asked: CreateDomain = part(&call.u);
        let known = create::HVM | create::HAP | create::XS_DOMAIN;
        let limit = |asked: i32, default: u32, most: u32| match u32::try_from(asked) {
            Ok(asked) if asked > most => Err(Errno::EINVAL),
            Ok(asked) => Ok(asked),
            Err(_) => Ok(default),
        };
        let ArchConfig { gic_version, sve_vl, tee_type, nr_spis, .. } = asked.arch;
        if asked.flags & (create::HVM | create::HAP) != create::HVM | create::HAP
            || asked.flags & !known != 0
            || !matches!(gic_version, 0 | GIC_V3)
            || !(1..=MAX_VCPUS).contains(&asked.max_vcpus)
            || (sve_vl, tee_type, nr_spis > MAX_SPIS) != (0, 0, false)
        {
            return Err(Errno::EINVAL);
        }
        let grants = Limits {
            frames: limit(asked.max_grant_frames, GRANT_FRAMES, GRANT_FRAMES)?,
            mappings: MAPPINGS_PER_FRAME * limit(asked.max_maptrack_frames, MAPTRACK_FRAMES, MAX_MAPTRACK_FRAMES)?,
        };
        let machine = machine();
        let wanted = DomainId::new(call.domain).filter(|id| *id != DomainId::CONTROL);
        let (vcpus, spis, handle) = (asked.max_vcpus, nr_spis, asked.handle);
        let ports = asked.max_evtchn_port.min(LINK);
        let id = machine.with_number(wanted, |id| {
            machine.add(&builder::create(machine, &Specification { id, vcpus, spis, grants, ports, handle })?);
            Ok(id)
        })?;
        call.domain = id.get();
        (asked.arch.gic_version, asked.arch.clock_frequency) = (GIC_V3, 0);
        put(&mut call.u, &asked);
        Ok(())
    }

    /// A text of the guest's.
    fn read_text(&self, at: u64, length: u32, most: u32) -> Result<String, Errno> {
        let mut bytes = alloc::vec![0; length.min(most) as usize];
        self.read_bytes(at, &mut bytes)?;
        String::from_utf8(bytes).ok().filter(|_| length <= most).ok_or(Errno::EINVAL)
    }

    fn describe(&self, domain: &Arc<Domain>, asked: &Describe) -> Result<(), Errno> {
        let has = |flag| asked.flags & flag != 0;
        let name = self.read_text(asked.name, asked.name_len, MAX_NAME)?;
        let ready = self.read_text(asked.ready, asked.ready_len, MAX_READY)?;
        if domain.uart.is_completed() {
            return Err(Errno::EBUSY);
        }
        let mut memory = domain.memory.lock();
        (memory.by_pages, memory.direct) = (has(flags::TRACK_TOUCHED), has(flags::DIRECT_MAP));
        drop(memory);
        domain.ephemeral.store(has(flags::EPHEMERAL), Ordering::Relaxed);
        domain.pv.is_driver.store(has(flags::DRIVER), Ordering::Relaxed);
        *domain.output.lock() = Output::new(name, ready);
        domain.uart.call_once(|| has(flags::VPL011).then(|| Mutex::new(Vpl011::new())));
        Ok(())
    }

    fn connect(&self, domain: &Arc<Domain>, asked: &Connect) -> Result<(), Errno> {
        let other = self.domain_for(Action::Control, asked.other)?;
        domain.events.lock().connect(asked.port, other.id, asked.other_port)?;
        other.events.lock().connect(asked.other_port, domain.id, asked.port)?;
        // Xen lets the second hear something at once: it might have missed it.
        let raised = other.events.lock().receive(asked.other_port, domain.id, asked.port);
        other.announce(raised);
        Ok(())
    }

    /// Sets the registers of a vCPU that does not run, and switches it on if it is to be online.
    fn set_vcpu_context(&self, domain: &Domain, asked: &VcpuContextOp) -> Result<(), Errno> {
        let vcpu = domain.vcpus.get(asked.vcpu as usize).ok_or(Errno::EINVAL)?;
        if domain.clones.is_completed() {
            return Err(Errno::EBUSY);
        }
        let context: VcpuContext = self.read(asked.ctxt)?;
        vcpu.state.try_lock().ok_or(Errno::EBUSY)?.set_context(&context)?;
        if context.flags & VGCF_ONLINE != 0 {
            domain.power.lock().on.insert(vcpu.id);
            machine().start(domain, vcpu.slot);
        }
        Ok(())
    }
}

/// A part of a domain's end; its caller asks again until nothing is left.
fn destroy(domain: &Arc<Domain>) -> Answer {
    domain.refuse_clones()?;
    domain.end(End { code: 0, why: "it was destroyed" });
    Ok(if domain.is_still() && domain.dismantle() { Reply::DONE } else { Reply::Again(None) })
}

/// What the control domain is told of a domain.
pub(super) fn domain_info(domain: &Domain) -> GetDomainInfo {
    let (states, ticks) = machine().activity(domain);
    let any = |is: fn(&State) -> bool| states.iter().any(is);
    let mut flags = info::HVM_GUEST | info::HAP;
    if let Some(end) = domain.end.get() {
        flags |= info::SHUTDOWN | end.code << info::SHUTDOWN_SHIFT;
    }
    let is_running = any(|state| matches!(state, State::Running { .. }));
    let is_ready = is_running || any(|state| matches!(state, State::Queued | State::Held));
    for (flag, is_set) in [
        (info::PAUSED, domain.pauses.load(Ordering::Relaxed) > 0),
        (info::RUNNING, is_running),
        (info::BLOCKED, !is_ready),
        (info::DYING, domain.gone.load(Ordering::Relaxed)),
        (info::XS_DOMAIN, domain.id == DomainId::CONTROL),
    ] {
        flags |= if is_set { flag } else { 0 };
    }
    let (tot_pages, max_pages) = domain.memory.lock().pages();
    GetDomainInfo {
        domain: domain.id.get(),
        flags,
        tot_pages,
        max_pages,
        shared_info_frame: u64::MAX,
        cpu_time: nanoseconds(ticks),
        nr_online_vcpus: domain.power.lock().on.count() as u32,
        max_vcpu_id: domain.vcpus.len() as u32 - 1,
        handle: *domain.handle.lock(),
        gpaddr_bits: IPA_BITS as u8,
        ..GetDomainInfo::new_zeroed()
    }
}

/// credit2's parameters: a weight, which 0 leaves as it is, and the hundredths of a pCPU that all vCPUs may have together, 0 for no limit.
fn schedule(domain: &Domain, asked: SchedulerOp) -> Result<SchedulerOp, Errno> {
    if asked.sched_id != sched::CREDIT2 || !matches!(asked.cmd, sched::GETINFO | sched::PUTINFO) {
        return Err(Errno::EINVAL);
    }
    let mut now = SchedulerOp { weight: 0, cap: 0, ..asked };
    machine().with_vcpus(domain, |scheduler, slot, _| {
        let (weight, cap) = scheduler.parameters(slot);
        if asked.cmd == sched::PUTINFO {
            let weight = if asked.weight == 0 { weight } else { asked.weight.into() };
            scheduler.set_parameters(slot, weight, u32::from(asked.cap).div_ceil(domain.vcpus.len() as u32));
        }
        (now.weight, now.cap) = (weight as u16, now.cap.saturating_add(cap as u16));
    });
    Ok(if asked.cmd == sched::GETINFO { now } else { asked })
}
