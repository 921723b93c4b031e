//! What the assembly of several files is made of: single registers by name, and lists of them.

/// The value of a system register that reading does not change; its name may come in parts.
macro_rules! read {
    ($($name:expr),+) => {{
        let value: u64;
        // SAFETY: reading this register has no effect.
        unsafe {
            core::arch::asm!(concat!("mrs {}, ", $($name),+), out(reg) value, options(nomem, nostack, preserves_flags));
        }
        value
    }};
}

/// One list of registers makes a structure, its taking from the calling CPU and its putting back, so that none is forgotten
/// in one of them. Only for registers that govern EL1 and EL0, or where `ERET` goes from EL2.
macro_rules! saved_registers {
    ($(#[$doc:meta])* $visibility:vis struct $name:ident { $($field:ident)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default)]
        #[allow(missing_docs, reason = "the fields carry the architecture's names")]
        $visibility struct $name {
            $(pub $field: u64,)*
        }

        impl $name {
            fn read(&mut self) {
                $(self.$field = crate::register::read!(stringify!($field));)*
            }

            fn write(&self) {
                $({
                    // SAFETY: the register governs EL1 and EL0, where EL2's code never runs, or where
                    // ERET goes from `run`, which is the guest in any case.
                    unsafe { core::arch::asm!(concat!("msr ", stringify!($field), ", {}"), in(reg) self.$field, options(nostack, preserves_flags)) };
                })*
            }
        }
    };
}

/// Assembly that stores or loads pairs of registers, each at `$size` times its number from `$base`.
macro_rules! pairs {
    ($access:literal, $kind:literal, $size:literal, $base:literal: $($first:literal $second:literal),*) => {
        concat!($($access, " ", $kind, $first, ", ", $kind, $second, ", [", $base, " + ", $size, " * ", $first, "]\n"),*)
    };
}

pub(crate) use {pairs, read, saved_registers};
