//! `sysctl`: the machine, for the control domain.

use mote_platform::timer;
use xen_abi::Zeroed;
use xen_abi::domctl::{GetDomainInfo, sched::CREDIT2};
use xen_abi::sysctl::{GetDomainInfoList, INTERFACE_VERSION, Physinfo, ReadConsole, Sysctl, capability, op};

use super::domctl::domain_info;
use super::{Action, Answer, Errno, Reply, Session, part, put};
use crate::machine::machine;
use crate::{console, memory};

impl Session<'_> {
    #[inline(never)]
    pub(super) fn sysctl(&mut self, at: u64) -> Answer {
        let mut call: Sysctl = self.read(at)?;
        if call.interface_version != INTERFACE_VERSION {
            return Err(Errno::EACCES);
        }
        self.domain_for(Action::Control, self.domain.id.get())?;
        match call.cmd {
            op::READCONSOLE => self.read_log(&mut call)?,
            op::PHYSINFO => put(&mut call.u, &physinfo()),
            op::SCHED_ID => put(&mut call.u, &CREDIT2),
            op::GETDOMAININFOLIST => self.list_domains(&mut call)?,
            _ => return Err(Errno::ENOSYS),
        }
        self.write(at, &call).map(|()| Reply::DONE)
    }

    fn read_log(&self, call: &mut Sysctl) -> Result<(), Errno> {
        let mut asked: ReadConsole = part(&call.u);
        let from = if asked.incremental != 0 { asked.index } else { 0 };
        let (text, end) = console::lock().said(from, asked.count as usize, asked.clear != 0);
        self.write_bytes(asked.buffer, &text)?;
        (asked.index, asked.count) = (end, text.len() as u32);
        put(&mut call.u, &asked);
        Ok(())
    }

    fn list_domains(&self, call: &mut Sysctl) -> Result<(), Errno> {
        let mut asked: GetDomainInfoList = part(&call.u);
        asked.num_domains = 0;
        for domain in machine().domains_from(asked.first_domain).take(asked.max_domains as usize) {
            let to = u64::from(asked.num_domains) * size_of::<GetDomainInfo>() as u64;
            self.write(asked.buffer.wrapping_add(to), &domain_info(&domain))?;
            asked.num_domains += 1;
        }
        put(&mut call.u, &asked);
        Ok(())
    }
}

fn physinfo() -> Physinfo {
    let cpus = machine().pcpus() as u32;
    let (total, free) = memory::pool_bytes();
    Physinfo {
        threads_per_core: 1,
        cores_per_socket: cpus,
        nr_cpus: cpus,
        max_cpu_id: cpus - 1,
        nr_nodes: 1,
        cpu_khz: (timer::frequency() / 1000) as u32,
        capabilities: capability::HVM | capability::HAP | capability::GNTTAB_V1,
        total_pages: total / mote_core::addr::PAGE_SIZE,
        free_pages: free / mote_core::addr::PAGE_SIZE,
        ..Physinfo::new_zeroed()
    }
}
