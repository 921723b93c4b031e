//! Errors (`errno.h`).

/// What a hypercall failed with: a number that is answered negated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(i32);

/// Declares the errors by name and number.
macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        impl Errno {
            $($(#[$doc])* pub const $name: Self = Self($number);)*
        }
    };
}

errors! {
    /// Not allowed.
    EPERM = 1,
    /// There is no such vCPU or entry.
    ENOENT = 2,
    /// There is no such domain.
    ESRCH = 3,
    /// Too much in one call.
    E2BIG = 7,
    /// Not now; try again.
    EAGAIN = 11,
    /// No memory.
    ENOMEM = 12,
    /// Not allowed on this object.
    EACCES = 13,
    /// An address that cannot be read or written.
    EFAULT = 14,
    /// In use.
    EBUSY = 16,
    /// There already.
    EEXIST = 17,
    /// An argument that makes no sense.
    EINVAL = 22,
    /// No room left.
    ENOSPC = 28,
    /// There is no such hypercall.
    ENOSYS = 38,
    /// There is no such information.
    ENODATA = 61,
    /// Not with this kind of object.
    EOPNOTSUPP = 95,
    /// What the caller offers is too small.
    ENOBUFS = 105,
    /// No such device or address.
    ENXIO = 6,
}

impl Errno {
    /// As it is answered in x0.
    #[must_use]
    pub const fn answer(self) -> u64 {
        (self.0 as i64).wrapping_neg() as u64
    }

    /// The error in an answer, if it is one.
    #[must_use]
    pub const fn in_answer(answer: u64) -> Option<Self> {
        let value = answer as i64;
        if value < 0 && value >= -4095 { Some(Self(-value as i32)) } else { None }
    }

    /// Its number, more than 0.
    #[must_use]
    pub const fn number(self) -> i32 {
        self.0
    }
}
