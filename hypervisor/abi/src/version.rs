//! What hypervisor this is (`version.h`, `features.h`).

use crate::wire;

/// Operations (`XENVER_*`).
pub mod op {
    /// Major and minor version.
    pub const VERSION: u64 = 0;
    /// 16 bytes of text behind it.
    pub const EXTRAVERSION: u64 = 1;
    /// [`super::CompileInfo`].
    pub const COMPILE_INFO: u64 = 2;
    /// 1,024 bytes of text.
    pub const CAPABILITIES: u64 = 3;
    /// 64 bytes of text.
    pub const CHANGESET: u64 = 4;
    /// An address that means nothing on Arm.
    pub const PLATFORM_PARAMETERS: u64 = 5;
    /// [`super::FeatureInfo`].
    pub const GET_FEATURES: u64 = 6;
    /// Bytes in a page.
    pub const PAGESIZE: u64 = 7;
    /// The domain's UUID.
    pub const GUEST_HANDLE: u64 = 8;
    /// The hypervisor's arguments.
    pub const COMMANDLINE: u64 = 9;
    /// The build's mark.
    pub const BUILD_ID: u64 = 10;
    /// Texts without a limit, and their length.
    pub const EXTRAVERSION2: u64 = 11;
    /// As above.
    pub const CAPABILITIES2: u64 = 12;
    /// As above.
    pub const CHANGESET2: u64 = 13;
    /// As above.
    pub const COMMANDLINE2: u64 = 14;
}

/// What a guest of Xen on Arm is told that there is (`XENFEAT_*`), as bits of submap 0.
pub mod feature {
    /// Bits 0 and 2: the guest's memory is translated.
    pub const TRANSLATED: u32 = 1 | 1 << 2;
    /// Memory operations take a NUMA node.
    pub const MEMORY_OP_VNODE: u32 = 1 << 13;
    /// Calls by SMCCC are answered.
    pub const ARM_SMCCC: u32 = 1 << 14;
    /// Its memory is not the machine's.
    pub const NOT_DIRECT_MAPPED: u32 = 1 << 16;
    /// A runstate area may be named by an IPA.
    pub const RUNSTATE_PHYS_AREA: u32 = 1 << 18;
}

wire! {
    /// `struct xen_compile_info`: by what, by whom, where and when.
    CompileInfo { compiler: [u8; 64], compile_by: [u8; 16], compile_domain: [u8; 32], compile_date: [u8; 32] }

    /// `struct xen_feature_info`: which 32 features; they are answered.
    FeatureInfo { submap_idx: u32, submap: u32 }

    /// `struct xen_varbuf`, without its bytes: how many there is room for.
    VarBuf { len: u32 }
}
