//! Domains, for the control domain (`domctl.h`).

use crate::wire;

/// `XEN_DOMCTL_INTERFACE_VERSION` of Xen 4.20: a caller must name it.
pub const INTERFACE_VERSION: u32 = 0x17;

/// Operations (`XEN_DOMCTL_*`).
pub mod op {
    /// [`super::CreateDomain`]; the number is answered.
    pub const CREATEDOMAIN: u32 = 1;
    /// Ends a domain and gives back all it has.
    pub const DESTROYDOMAIN: u32 = 2;
    /// Takes its vCPUs off their pCPUs, until as many times is unpaused.
    pub const PAUSEDOMAIN: u32 = 3;
    /// The opposite.
    pub const UNPAUSEDOMAIN: u32 = 4;
    /// [`super::GetDomainInfo`]
    pub const GETDOMAININFO: u32 = 5;
    /// [`super::MaxMem`]
    pub const MAX_MEM: u32 = 11;
    /// [`super::VcpuContextOp`]
    pub const SETVCPUCONTEXT: u32 = 12;
    /// A number of vCPUs, which the domain must have been created for.
    pub const MAX_VCPUS: u32 = 15;
    /// [`super::SchedulerOp`]
    pub const SCHEDULER_OP: u32 = 16;
    /// [`super::IomemPermission`]
    pub const IOMEM_PERMISSION: u32 = 20;
    /// Nothing on Arm, whose hypercalls need no page.
    pub const HYPERCALL_INIT: u32 = 22;
    /// [`super::BindPtIrq`]
    pub const BIND_PT_IRQ: u32 = 38;
    /// [`super::MemoryMapping`]
    pub const MEMORY_MAPPING: u32 = 39;
}

/// What a domain is to be (`XEN_DOMCTL_CDF_*`).
pub mod create {
    /// A whole virtual machine, as all are on Arm.
    pub const HVM: u32 = 1 << 0;
    /// With translation by the machine, as all are on Arm.
    pub const HAP: u32 = 1 << 1;
    /// It serves xenstore.
    pub const XS_DOMAIN: u32 = 1 << 4;
}

/// How a domain is (`XEN_DOMINF_*`).
pub mod info {
    /// It is being destroyed.
    pub const DYING: u32 = 1 << 0;
    /// It has shut down; the reason is [`SHUTDOWN_SHIFT`] bits up.
    pub const SHUTDOWN: u32 = 1 << 2;
    /// It is paused.
    pub const PAUSED: u32 = 1 << 3;
    /// All its vCPUs wait.
    pub const BLOCKED: u32 = 1 << 4;
    /// A vCPU of it runs.
    pub const RUNNING: u32 = 1 << 5;
    /// It serves xenstore.
    pub const XS_DOMAIN: u32 = 1 << 7;
    /// It has translation by the machine.
    pub const HAP: u32 = 1 << 8;
    /// It is a whole virtual machine.
    pub const HVM_GUEST: u32 = 1 << 1;
    /// Where the shutdown's reason is.
    pub const SHUTDOWN_SHIFT: u32 = 16;
}

/// What [`SchedulerOp`] is to do (`XEN_DOMCTL_SCHEDOP_*`), and the scheduler that it names (`XEN_SCHEDULER_CREDIT2`).
pub mod sched {
    /// Set.
    pub const PUTINFO: u32 = 0;
    /// Ask.
    pub const GETINFO: u32 = 1;
    /// Whose parameters they are.
    pub const CREDIT2: u32 = 6;
}

/// A shared peripheral interrupt (`PT_IRQ_TYPE_SPI`).
pub const PT_IRQ_TYPE_SPI: u32 = 4;
/// A vCPU is to be online (`VGCF_online`).
pub const VGCF_ONLINE: u32 = 1;

wire! {
    /// `struct xen_domctl`: an operation, the version of the interface that its caller knows, the domain it is about, and what else it
    /// needs.
    Domctl { cmd: u32, interface_version: u32, domain: u16, pad: [u16; 3], u: [u8; 128] }

    /// `struct xen_arch_domainconfig`: the version of its GIC (0 for the machine's own), no SVE, no TEE, its SPIs.
    ArchConfig { gic_version: u8, sve_vl: u8, tee_type: u16, nr_spis: u32, clock_frequency: u32 }

    /// `struct xen_domctl_createdomain`: a name of 16 bytes for the toolstack, [`create`] flags, and limits; those of grants are the
    /// hypervisor's own where they are negative.
    CreateDomain {
        ssidref: u32, handle: [u8; 16], flags: u32, iommu_opts: u32, max_vcpus: u32, max_evtchn_port: u32, max_grant_frames: i32,
        max_maptrack_frames: i32, grant_opts: u32, altp2m_opts: u32, vmtrace_size: u32, cpupool_id: u32, arch: ArchConfig,
    }

    /// `struct xen_domctl_getdomaininfo`: [`info`] flags, pages that it has and may have, nanoseconds that it ran.
    GetDomainInfo {
        domain: u16, pad1: u16, flags: u32, tot_pages: u64, max_pages: u64, outstanding_pages: u64, shr_pages: u64, paged_pages: u64,
        shared_info_frame: u64, cpu_time: u64, nr_online_vcpus: u32, max_vcpu_id: u32, ssidref: u32, handle: [u8; 16], cpupool: u32,
        gpaddr_bits: u8, pad2: [u8; 7], arch_config: ArchConfig, pad3: u32,
    }

    /// `struct xen_domctl_max_mem`: KiB that it may have.
    MaxMem { max_memkb: u64 }

    /// `struct xen_domctl_vcpucontext`: a vCPU, and where its [`VcpuContext`] is.
    VcpuContextOp { vcpu: u32, pad: u32, ctxt: u64 }

    /// `struct vcpu_guest_core_regs`: the general registers.
    CoreRegs {
        x: [u64; 31], pc64: u64, cpsr: u64, spsr_el1: u64, spsr_fiq: u32, spsr_irq: u32, spsr_und: u32, spsr_abt: u32, sp_el0: u64,
        sp_el1: u64, elr_el1: u64,
    }

    /// `struct vcpu_guest_context`: whether a vCPU is online, and its registers.
    VcpuContext { flags: u32, pad: u32, user_regs: CoreRegs, sctlr: u64, ttbcr: u64, ttbr0: u64, ttbr1: u64 }


    /// `struct xen_domctl_scheduler_op`: credit2's parameters: a weight, and a cap in percent of a pCPU.
    SchedulerOp { sched_id: u32, cmd: u32, weight: u16, cap: u16, pad: [u32; 3] }


    /// `struct xen_domctl_iomem_permission`: whether a domain may have pages of devices.
    IomemPermission { first_mfn: u64, nr_mfns: u64, allow_access: u8, pad: [u8; 7] }

    /// `struct xen_domctl_bind_pt_irq`: a machine's interrupt, and the same SPI of the guest.
    BindPtIrq { machine_irq: u32, irq_type: u32, spi: u16, pad: [u16; 3], pad2: u64 }

    /// `struct xen_domctl_memory_mapping`: where pages of devices are to be seen, and whether or no longer.
    MemoryMapping { first_gfn: u64, first_mfn: u64, nr_mfns: u64, add_mapping: u32, padding: u32 }
}
