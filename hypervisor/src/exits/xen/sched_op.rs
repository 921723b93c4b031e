//! `sched_op`: giving the pCPU up, and the domain's end.

use mote_core::sched::Leaving;
use mote_core::timer::{earliest, ticks};
use mote_platform::{syndrome, timer};
use xen_abi::Bytes;
use xen_abi::sched::{Poll, RemoteShutdown, Shutdown, Watchdog, op};
use xen_abi::xen::domid;

use super::{Action, Answer, Arguments, Errno, Reply, Session};

/// Most ports that can be waited for at once, as on Xen.
const MAX_PORTS: usize = 128;

impl Session<'_> {
    pub(super) fn sched_op(&mut self, &mut [op, at, ..]: &mut Arguments) -> Answer {
        match u64::from(op as u32) {
            op::YIELD => Ok(Reply::Leave(self.yield_pcpu())),
            op::BLOCK => {
                syndrome::unmask_interrupts();
                Ok(Reply::Leave(self.wait_for_interrupt()))
            }
            op::SHUTDOWN => self.read(at).map(|Shutdown { reason }| Reply::End(self.domain.ending(reason))),
            op::SHUTDOWN_CODE => {
                let Shutdown { reason } = self.read(at)?;
                self.domain.pv.reason.call_once(|| reason & 0xff);
                Ok(Reply::DONE)
            }
            op::POLL => self.poll(at),
            op::REMOTE_SHUTDOWN => self.remote_shutdown(at),
            op::WATCHDOG => {
                let asked: Watchdog = self.read(at)?;
                let deadline = timer::now().saturating_add(u64::from(asked.timeout).saturating_mul(timer::frequency()));
                let deadline = (asked.timeout != 0 || asked.id == 0).then_some(deadline);
                let id = self.domain.set_watchdog(asked.id, deadline)?;
                self.update_timer_line(timer::now());
                self.share_watchdog();
                Ok(Reply::Value(u64::from(id)))
            }
            op::PIN_OVERRIDE => Err(Errno::EPERM),
            _ => Err(Errno::ENOSYS),
        }
    }

    /// Gives the pCPU up until one of some events is pending, masked or not, or until a time.
    fn poll(&mut self, at: u64) -> Answer {
        let asked: Poll = self.read(at)?;
        let mut ports = [0_u32; MAX_PORTS];
        let ports = ports.get_mut(..asked.nr_ports as usize).ok_or(Errno::EINVAL)?;
        self.read_bytes(asked.ports, ports.as_mut_bytes())?;
        if !self.domain.events.lock().poll(self.vcpu.id, ports)? {
            return Ok(Reply::DONE);
        }
        let Some(Leaving::Blocked { deadline }) = self.wait_for_interrupt() else {
            self.domain.events.lock().end_poll(self.vcpu.id);
            return Ok(Reply::DONE);
        };
        let timeout = (asked.timeout != 0).then(|| ticks(asked.timeout, timer::frequency()));
        Ok(Reply::Leave(Some(Leaving::Blocked { deadline: earliest(deadline, timeout) })))
    }

    fn remote_shutdown(&mut self, at: u64) -> Answer {
        let asked: RemoteShutdown = self.read(at)?;
        if asked.domain_id == domid::SELF {
            return Err(Errno::ESRCH);
        }
        let domain = self.domain_for(Action::Shutdown, asked.domain_id)?;
        domain.end(domain.ending(asked.reason));
        Ok(Reply::DONE)
    }
}
