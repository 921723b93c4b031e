//! `hvm_op`: the parameters by which a guest finds its console and its xenstore.

use core::sync::atomic::Ordering;

use xen_abi::hvm::{GET_PARAM, Param, REQUEST_VM_EVENT, SET_PARAM, param};

use super::{Action, Answer, Arguments, Errno, Reply, Session};

impl Session<'_> {
    pub(super) fn hvm_op(&mut self, &mut [op, at, ..]: &mut Arguments) -> Answer {
        if op == REQUEST_VM_EVENT {
            // It goes to whoever watches the domain, and nobody does.
            return if at == 0 { Ok(Reply::DONE) } else { Err(Errno::EINVAL) };
        }
        if op != GET_PARAM && op != SET_PARAM {
            return Err(Errno::ENOSYS);
        }
        let asked: Param = self.read(at)?;
        let domain = self.domain_for(Action::Manage, asked.domid)?;
        if asked.index == param::MONITOR_RING_PFN {
            return Err(Errno::EPERM);
        }
        let value = domain.parameter(asked.index).ok_or(Errno::EINVAL)?;
        if op == SET_PARAM {
            // Whoever builds a domain sets them.
            self.domain_for(Action::Control, asked.domid)?;
            domain.ring_parameter(asked.index).ok_or(Errno::EINVAL)?.store(asked.value, Ordering::Relaxed);
            return Ok(Reply::DONE);
        }
        self.write(at, &Param { value, ..asked })?;
        Ok(Reply::DONE)
    }
}
