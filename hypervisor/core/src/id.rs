//! Who is who: domains, vCPUs and pCPUs.

/// A domain's number. Xen keeps 0x7FF0 and above for itself (`DOMID_FIRST_RESERVED`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainId(u16);

impl DomainId {
    /// The first number that is no domain's.
    pub const FIRST_RESERVED: u16 = 0x7ff0;
    /// The control domain.
    pub const CONTROL: Self = Self(0);

    /// The domain numbered `raw`, or `None` for a reserved number.
    pub const fn new(raw: u16) -> Option<Self> {
        if raw < Self::FIRST_RESERVED { Some(Self(raw)) } else { None }
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// A vCPU's number within its domain: 0 to 127.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VcpuId(pub u8);

/// A physical CPU, numbered in the order of the machine's device tree from the boot CPU at 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PcpuId(pub u8);
