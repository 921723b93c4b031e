//! The machine, for the control domain (`sysctl.h`).

use crate::wire;

/// `XEN_SYSCTL_INTERFACE_VERSION` of Xen 4.20: a caller must name it.
pub const INTERFACE_VERSION: u32 = 0x15;

/// Operations (`XEN_SYSCTL_*`).
pub mod op {
    /// [`super::ReadConsole`]
    pub const READCONSOLE: u32 = 1;
    /// [`super::Physinfo`]
    pub const PHYSINFO: u32 = 3;
    /// The scheduler's number.
    pub const SCHED_ID: u32 = 4;
    /// [`super::GetDomainInfoList`]
    pub const GETDOMAININFOLIST: u32 = 6;
}

/// What the machine can do (`XEN_SYSCTL_PHYSCAP_*`).
pub mod capability {
    /// Whole virtual machines.
    pub const HVM: u32 = 1 << 0;
    /// Translation by the machine.
    pub const HAP: u32 = 1 << 3;
    /// Grants of version 1.
    pub const GNTTAB_V1: u32 = 1 << 8;
}

wire! {
    /// `struct xen_sysctl`: an operation, the version of the interface that its caller knows, and what it needs.
    Sysctl { cmd: u32, interface_version: u32, u: [u8; 128] }

    /// `struct xen_sysctl_readconsole`: what the hypervisor said, from an index on or all there is, whether to forget it, and where to
    /// put how much of it.
    ReadConsole { clear: u8, incremental: u8, pad0: u8, pad1: u8, index: u32, buffer: u64, count: u32, pad: u32 }

    /// `struct xen_sysctl_physinfo`: CPUs, their counter's kHz, [`capability`] flags, and memory in pages.
    Physinfo {
        threads_per_core: u32, cores_per_socket: u32, nr_cpus: u32, max_cpu_id: u32, nr_nodes: u32, max_node_id: u32, cpu_khz: u32,
        capabilities: u32, arch_capabilities: u32, pad: u32, total_pages: u64, free_pages: u64, scrub_pages: u64,
        outstanding_pages: u64, max_mfn: u64, hw_cap: [u32; 8],
    }

    /// `struct xen_sysctl_getdomaininfolist`: from which domain on, how many at most, where to, and how many there were.
    GetDomainInfoList { first_domain: u16, pad: u16, max_domains: u32, buffer: u64, num_domains: u32, pad2: u32 }
}
