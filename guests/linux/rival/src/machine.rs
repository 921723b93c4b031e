//! Virtual machines by KVM (Documentation/virt/kvm/api.rst): one vCPU, one page of memory, and a program that touches a device, of which there
//! is none, so that who runs it is asked.

use crate::calls::{self, File};

/// Requests of `ioctl` (include/uapi/linux/kvm.h).
mod request {
    pub const CREATE_VM: usize = 0xae01;
    pub const GET_VCPU_MMAP_SIZE: usize = 0xae04;
    pub const CREATE_VCPU: usize = 0xae41;
    pub const SET_USER_MEMORY_REGION: usize = 0x4020_ae46;
    pub const RUN: usize = 0xae80;
    pub const ARM_VCPU_INIT: usize = 0x4020_aeae;
    pub const ARM_PREFERRED_TARGET: usize = 0x8020_aeaf;
}

/// Bytes of the guest's memory.
const MEMORY: usize = 4096;
/// `exit_reason` in `struct kvm_run`: its place, and that of an access to a device.
const EXIT_REASON: usize = 8;
const EXIT_MMIO: u32 = 6;
/// `mov x1, #0x20000000; str w0, [x1]`. A vCPU begins at address 0.
const PROGRAM: [u32; 2] = [0xd2a4_0001, 0xb900_0020];

/// `struct kvm_userspace_memory_region`.
#[repr(C)]
struct Region {
    slot: u32,
    flags: u32,
    guest_address: u64,
    size: u64,
    address: u64,
}

/// `struct kvm_vcpu_init`.
#[repr(C)]
#[derive(Default)]
struct VcpuInit {
    target: u32,
    features: [u32; 7],
}

/// What a machine's life took, in ticks.
pub struct Times {
    /// From before it was made until its first exit.
    pub to_first_exit: u64,
    /// Until it was gone.
    pub whole: u64,
}

/// Has a machine live, from its making to its end. Nothing if there is no KVM or it refuses.
pub fn live() -> Option<Times> {
    let kvm = File::open(c"/dev/kvm")?;
    let start = calls::now();
    let to_first_exit = {
        let vm = kvm.make(request::CREATE_VM, 0)?;
        let memory = calls::map(None, MEMORY)?;
        memory.write(&PROGRAM);
        let region =
            Region { slot: 0, flags: 0, guest_address: 0, size: MEMORY as u64, address: memory.address() as u64 };
        vm.ask(request::SET_USER_MEMORY_REGION, &mut { region })?;
        let vcpu = vm.make(request::CREATE_VCPU, 0)?;
        let mut init = VcpuInit::default();
        vm.ask(request::ARM_PREFERRED_TARGET, &mut init)?;
        vcpu.ask(request::ARM_VCPU_INIT, &mut init)?;
        let run = calls::map(Some(&vcpu), kvm.ask_number(request::GET_VCPU_MMAP_SIZE)?)?;
        vcpu.ask_number(request::RUN)?;
        let ticks = calls::now() - start;
        (run.read(EXIT_REASON) == EXIT_MMIO).then_some(ticks)?
    };
    Some(Times { to_first_exit, whole: calls::now() - start })
}
