//! `event_channel_op`.

use mote_core::addr::PAGE_SIZE;
use mote_core::events::{Raised, Sent};
use mote_core::id::VcpuId;
use xen_abi::event_channel::{
    AllocUnbound, BindInterdomain, BindIpi, BindPirq, BindVcpu, BindVirq, ControlBlock, ExpandArray, InitControl, Port,
    Reset, SetPriority, Status, fifo, op,
};

use super::{Action, Answer, Arguments, BATCH, Errno, Reply, Session};
use crate::machine::machine;

impl Session<'_> {
    /// `EVTCHNOP_send`, the one that must be fast.
    #[inline]
    pub(super) fn send_event(&mut self, at: u64) -> Result<(), Errno> {
        let port = self.read_word(at)?;
        let sent = self.domain.events.lock().send(port)?;
        match sent {
            Sent::Here(raised) => self.announce(raised),
            Sent::To(remote, remote_port) => {
                // One that is no more hears nothing.
                if let Some(remote) = machine().domain(remote) {
                    let raised = remote.events.lock().receive(remote_port, self.domain.id, port);
                    let look = remote.raise(raised);
                    self.wake(&remote, look);
                }
            }
        }
        Ok(())
    }

    /// Tells this domain's vCPUs of events.
    #[inline]
    pub(super) fn announce(&mut self, raised: Raised) {
        let look = self.domain.raise(raised);
        if !look.is_empty() {
            self.notify(look);
        }
    }

    pub(super) fn event_channel_op(&mut self, &mut [op, at, ..]: &mut Arguments) -> Answer {
        match u64::from(op as u32) {
            op::ALLOC_UNBOUND => {
                return self.update(at, |this, asked: AllocUnbound| {
                    let domain = this.domain_for(Action::Manage, asked.dom)?;
                    let remote = this.domain_for(Action::JoinEvents, asked.remote_dom)?.id;
                    Ok(AllocUnbound { port: domain.events.lock().allocate_unbound(remote)?, ..asked })
                });
            }
            op::BIND_INTERDOMAIN => return self.update(at, Self::bind_interdomain),
            op::BIND_VIRQ => {
                return self.update(at, |this, asked: BindVirq| {
                    Ok(BindVirq { port: this.domain.events.lock().bind_virq(asked.virq, asked.vcpu)?, ..asked })
                });
            }
            op::BIND_PIRQ => return self.read::<BindPirq>(at).and(Err(Errno::EOPNOTSUPP)),
            op::BIND_IPI => {
                return self.update(at, |this, asked: BindIpi| {
                    Ok(BindIpi { port: this.domain.events.lock().bind_ipi(asked.vcpu)?, ..asked })
                });
            }
            op::CLOSE => self.domain.close_port(self.read::<Port>(at)?.port)?,
            op::SEND => self.send_event(at)?,
            op::STATUS => {
                return self.update(at, |this, Status { dom, port, .. }| {
                    this.domain_for(Action::Manage, dom)?.events.lock().status(dom, port)
                });
            }
            op::BIND_VCPU => {
                let asked: BindVcpu = self.read(at)?;
                self.domain.events.lock().bind_vcpu(asked.port, asked.vcpu)?;
            }
            op::UNMASK => {
                let Port { port } = self.read(at)?;
                let raised = self.domain.events.lock().unmask(port)?;
                self.announce(raised);
            }
            op::RESET => return self.reset(at),
            // None is ever under way that this would go on with.
            op::RESET_CONT => {
                return self.domain_for(Action::Manage, self.read::<Reset>(at)?.dom).and(Err(Errno::EBUSY));
            }
            op::INIT_CONTROL => return self.update(at, Self::init_control),
            op::EXPAND_ARRAY => {
                let asked: ExpandArray = self.read(at)?;
                let page = self.own_page(asked.array_gfn);
                let raised = self.domain.events.lock().expand_array(page)?;
                self.announce(raised);
            }
            op::SET_PRIORITY => {
                let asked: SetPriority = self.read(at)?;
                self.domain.events.lock().set_priority(asked.port, asked.priority)?;
            }
            _ => return Err(Errno::ENOSYS),
        }
        Ok(Reply::DONE)
    }

    fn bind_interdomain(&mut self, asked: BindInterdomain) -> Result<BindInterdomain, Errno> {
        let remote = self.domain_for(Action::JoinEvents, asked.remote_dom)?;
        let bound = self.domain.with_events_of(&remote, |pair| pair.bind_interdomain(asked.remote_port));
        let (local_port, raised) = bound?;
        self.announce(raised);
        Ok(BindInterdomain { local_port, ..asked })
    }

    /// Closes all ports, some at a time: those that are closed are passed over when the guest calls again.
    fn reset(&mut self, at: u64) -> Answer {
        let asked: Reset = self.read(at)?;
        let domain = self.domain_for(Action::Manage, asked.dom)?;
        for _ in 0..BATCH {
            let mut events = domain.events.lock();
            let Some(port) = events.first_open() else {
                events.leave_fifo();
                return Ok(Reply::DONE);
            };
            drop(events);
            domain.close_port(port)?;
        }
        Ok(Reply::Again(None))
    }

    fn init_control(&mut self, asked: InitControl) -> Result<InitControl, Errno> {
        if asked.vcpu as usize >= self.domain.vcpus.len() {
            return Err(Errno::ENOENT);
        }
        let offset = asked.offset as usize;
        if offset > PAGE_SIZE as usize - size_of::<ControlBlock>() || !offset.is_multiple_of(8) {
            return Err(Errno::EINVAL);
        }
        let page = self.own_page(asked.control_gfn)?;
        self.domain.events.lock().init_control(VcpuId(asked.vcpu as u8), page, offset)?;
        Ok(InitControl { link_bits: fifo::LINK_BITS as u8, ..asked })
    }
}
