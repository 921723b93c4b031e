//! Shared interrupts: state as for private ones, and who gets them.

use super::bank::{Bank, take_lowest};
use super::intid::{Affinity, IntId};
use crate::id::VcpuId;

/// `GICD_IROUTER<n>` (IHI0069 §12.9.22), of which Aff3 is reserved since `GICD_TYPER.A3V` is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route(
    // Affinity in bits 23 to 0, `ANY` above.
    u32,
);

impl Route {
    const AFFINITY: u32 = 0xff_ffff;
    /// `Interrupt_Routing_Mode`: to any vCPU that takes part.
    const ANY: u32 = 1 << 31;

    /// As the register's 64 bits say.
    pub const fn from_register(value: u64) -> Self {
        Self(value as u32 & (Self::AFFINITY | Self::ANY))
    }

    /// As the register's 64 bits.
    pub const fn register(self) -> u64 {
        self.0 as u64
    }

    /// The vCPU it names, where `any` is the one for interrupts that may go to any.
    pub const fn target(self, any: VcpuId) -> Option<VcpuId> {
        if self.0 & Self::ANY != 0 { Some(any) } else { Affinity(self.0).vcpu() }
    }
}

/// 32 SPIs.
#[derive(Clone, Debug)]
pub(super) struct SharedBank {
    pub bank: Bank,
    routes: [Route; 32],
    // Of an interrupt that is listed or active: the vCPU that has it.
    holders: [VcpuId; 32],
}

impl SharedBank {
    pub fn new() -> Self {
        Self { bank: Bank::new(0), routes: [Route(0); 32], holders: [VcpuId(0); 32] }
    }

    pub fn route(&self, intid: IntId) -> Route {
        self.routes.get(intid.bit() as usize).copied().unwrap_or(Route(0))
    }

    pub fn set_route(&mut self, intid: IntId, route: Route) {
        if let Some(slot) = self.routes.get_mut(intid.bit() as usize) {
            *slot = route;
        }
    }

    pub fn holder(&self, bit: u32) -> VcpuId {
        self.holders.get(bit as usize).copied().unwrap_or(VcpuId(0))
    }

    pub fn set_holder(&mut self, bit: u32, vcpu: VcpuId) {
        if let Some(slot) = self.holders.get_mut(bit as usize) {
            *slot = vcpu;
        }
    }

    /// Those of `mask` that `vcpu` holds.
    pub fn held_by(&self, vcpu: VcpuId, mask: u32) -> u32 {
        let (mut left, mut held) = (mask, 0);
        while let Some(bit) = take_lowest(&mut left) {
            if self.holder(bit) == vcpu {
                held |= 1 << bit;
            }
        }
        held
    }
}
