//! `vcpu_op`: where a vCPU's records are kept.

use core::sync::atomic::Ordering;

use mote_core::addr::{Ipa, PAGE_SIZE};
use mote_core::id::VcpuId;
use mote_core::p2m::Access;
use mote_platform::syndrome;
use xen_abi::vcpu::{RegisterRunstateArea, RegisterVcpuInfo, RunstateInfo, op};
use xen_abi::xen::{VcpuInfo, assist};

use super::{Answer, Arguments, Errno, Reply, Session};
use crate::vcpu::{RunstateArea, Vcpu};

impl Session<'_> {
    pub(super) fn vcpu_op(&mut self, &mut [op, vcpu, at, ..]: &mut Arguments) -> Answer {
        let vcpu = self.domain.vcpus.get(vcpu as u32 as usize).ok_or(Errno::ENOENT)?;
        match u64::from(op as u32) {
            op::REGISTER_VCPU_INFO => self.register_vcpu_info(vcpu.id, at),
            op::REGISTER_RUNSTATE_MEMORY_AREA => self.register_runstate(vcpu, at),
            _ => Err(Errno::EINVAL),
        }
    }

    fn register_vcpu_info(&mut self, vcpu: VcpuId, at: u64) -> Answer {
        let info: RegisterVcpuInfo = self.read(at)?;
        let offset = info.offset as usize;
        if info.offset >= PAGE_SIZE as u32 || Ipa::of_frame(info.mfn).is_none() {
            return Err(Errno::EINVAL);
        }
        if offset + size_of::<VcpuInfo>() > PAGE_SIZE as usize || !offset.is_multiple_of(align_of::<VcpuInfo>()) {
            return Err(Errno::ENXIO);
        }
        let page = self.own_page(info.mfn)?;
        let raised = self.domain.events.lock().register_vcpu_info(vcpu, page, offset)?;
        self.announce(raised);
        Ok(Reply::DONE)
    }

    /// The record is kept in the pages that the address means now. As on Xen an address that means nothing is no error.
    fn register_runstate(&mut self, vcpu: &Vcpu, at: u64) -> Answer {
        let area: RegisterRunstateArea = self.read(at)?;
        let last = area.address.wrapping_add(size_of::<RunstateInfo>() as u64 - 1);
        let mut memory = self.domain.memory.lock();
        let mut page = |address| memory.share(Ipa(syndrome::translate_stage1(address)?), Access::Full).ok();
        let pages = page(area.address).zip(page(last));
        drop(memory);
        let offset = area.address % PAGE_SIZE;
        *vcpu.runstate_area.lock() = pages.map(|(first, last)| RunstateArea { pages: [first, last], offset });
        if vcpu.id == self.vcpu.id {
            vcpu.show_runstate(&self.state.runstate, self.domain.pv.marks_updates.load(Ordering::Relaxed));
        }
        Ok(Reply::DONE)
    }

    /// `vm_assist`: of all aids Arm has one, a mark on runstate records that are being written.
    pub(super) fn vm_assist(&mut self, &mut [command, kind, ..]: &mut Arguments) -> Answer {
        if u64::from(kind as u32) != assist::RUNSTATE_UPDATE_FLAG {
            return Err(Errno::EINVAL);
        }
        let enable = match u64::from(command as u32) {
            assist::ENABLE => true,
            assist::DISABLE => false,
            _ => return Err(Errno::ENOSYS),
        };
        self.domain.pv.marks_updates.store(enable, Ordering::Relaxed);
        Ok(Reply::DONE)
    }
}
