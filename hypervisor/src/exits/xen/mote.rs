//! What Mote has besides Xen's hypercalls: becoming a template, and for the control domain making clones and hearing of their ends.

use alloc::sync::Arc;
use alloc::vec::Vec;

use mote_core::addr::Ipa;
use mote_core::sched::Leaving;
use xen_abi::domctl::Domctl;
use xen_abi::errno::Errno;
use xen_abi::mote::{CloneTemplate, Ended, Snapshot, call};

use super::{Answer, Arguments, BATCH, Reply, Session, part, put};
use crate::builder;
use crate::domain::{Domain, End};
use crate::machine::machine;

/// Most pages that a template can name to be private.
const MAX_PRIVATE: usize = 64;

impl Session<'_> {
    /// The domain becomes a template, and its vCPU leaves for good: what there is to ask of Mote alone.
    #[inline(never)]
    pub(super) fn mote_call(&mut self, &[operation, at, ..]: &Arguments) -> Answer {
        if operation != call::SNAPSHOT {
            return Err(Errno::ENOSYS);
        }
        let Snapshot { frames, count, .. } = self.read(at)?;
        let mut private = [0_u64; MAX_PRIVATE];
        let private = private.get_mut(..count as usize).ok_or(Errno::E2BIG)?;
        self.read_bytes(frames, xen_abi::Bytes::as_mut_bytes(private))?;
        let private: Option<Vec<Ipa>> = private.iter().map(|&frame| Ipa::of_frame(frame)).collect();
        match self.domain.become_template(&private.ok_or(Errno::EINVAL)?) {
            Ok(()) => Ok(Reply::Leave(Some(Leaving::Offline))),
            Err(Errno::ENOMEM) => Ok(Reply::End(End::crash("there is no memory to make it a template"))),
            Err(error) => Err(error),
        }
    }

    /// Makes a clone, which runs at once unless it is to be paused. Its number is answered, and the caller's port.
    pub(super) fn clone_template(&self, template: &Arc<Domain>, call: &mut Domctl) -> Result<(), Errno> {
        let (machine, mut asked) = (machine(), part::<CloneTemplate>(&call.u));
        let events = &self.domain.events;
        let id = machine.with_number(None, |id| {
            let own = (asked.port != 0).then(|| events.lock().allocate_unbound(id)).transpose()?;
            let link = own.map(|port| (self.domain.id, port));
            let made = builder::clone_of(machine, template, id, &asked, link).inspect_err(|_| {
                own.map(|port| self.domain.close_port(port));
            })?;
            if let Some(own) = own {
                // Another vCPU of the caller's may have closed it meanwhile.
                let _ = events.lock().connect(own, id, core::mem::replace(&mut asked.port, own));
            }
            machine.add(&made);
            Ok(id)
        })?;
        call.domain = id.get();
        put(&mut call.u, &asked);
        Ok(())
    }

    /// Passes on which ephemeral domains ended, some at a time.
    pub(super) fn ended(&self, asked: &Ended) -> Result<Ended, Errno> {
        let mut count = 0;
        while u64::from(count) < BATCH.min(asked.room.into()) {
            let Some(end) = machine().ends.lock().take() else { break };
            self.write(asked.ends.wrapping_add(u64::from(count) * size_of_val(&end) as u64), &end)?;
            count += 1;
        }
        Ok(Ended { count, lost: machine().ends.lock().lost, ..*asked })
    }
}
