//! Errors (`errno.h`).

/// What a hypercall failed with: a number that is answered negated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(i32);

impl Errno {
    /// Not allowed.
    pub const EPERM: Self = Self(1);
    /// There is no such vCPU or entry.
    pub const ENOENT: Self = Self(2);
    /// There is no such domain.
    pub const ESRCH: Self = Self(3);
    /// Too much in one call.
    pub const E2BIG: Self = Self(7);
    /// Not now; try again.
    pub const EAGAIN: Self = Self(11);
    /// No memory.
    pub const ENOMEM: Self = Self(12);
    /// Not allowed on this object.
    pub const EACCES: Self = Self(13);
    /// An address that cannot be read or written.
    pub const EFAULT: Self = Self(14);
    /// In use.
    pub const EBUSY: Self = Self(16);
    /// There already.
    pub const EEXIST: Self = Self(17);
    /// An argument that makes no sense.
    pub const EINVAL: Self = Self(22);
    /// No room left.
    pub const ENOSPC: Self = Self(28);
    /// There is no such hypercall.
    pub const ENOSYS: Self = Self(38);
    /// Not in this order.
    pub const EILSEQ: Self = Self(84);
    /// Not with this kind of object.
    pub const EOPNOTSUPP: Self = Self(95);
    /// What the caller offers is too small.
    pub const ENOBUFS: Self = Self(105);
    /// No such device or address.
    pub const ENXIO: Self = Self(6);

    /// As it is answered in x0.
    pub const fn answer(self) -> u64 {
        (self.0 as i64).wrapping_neg() as u64
    }

    /// The error in an answer, if it is one.
    pub const fn in_answer(answer: u64) -> Option<Self> {
        let value = answer as i64;
        if value < 0 && value >= -4095 { Some(Self(-value as i32)) } else { None }
    }

    /// Its number, more than 0.
    pub const fn number(self) -> i32 {
        self.0
    }
}
