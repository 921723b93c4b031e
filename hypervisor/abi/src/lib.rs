//! The wire types of Xen's ABI on Arm: numbers, layouts and addresses that a guest sees.
//!
//! The authority is Xen's public headers (`xen/include/public/`, version 4.20); each module is named after the header whose
//! facts it states. This room holds facts and no behaviour; hypervisor, guests and tests share it.
//!
//! Structures have C's layout and are made of integers alone, so any bytes are a valid value and every value is bytes:
//! [`Wire`]. A handle is a virtual address of the guest's, a frame number counts pages of 4 KiB, a domain number is a `domid_t`.

#![no_std]
#![forbid(unsafe_code)]

pub mod arch_arm;
pub mod console;
pub mod domctl;
pub mod errno;
pub mod event_channel;
pub mod grant_table;
pub mod hvm;
pub mod memory;
pub mod mote;
pub mod sched;
pub mod sysctl;
pub mod vcpu;
pub mod version;
pub mod xen;

use zerocopy::{FromBytes, Immutable, IntoBytes};
pub use zerocopy::{FromZeros as Zeroed, IntoBytes as Bytes};

/// What is passed through memory as its bytes.
pub trait Wire: FromBytes + IntoBytes + Immutable + Copy {}

impl<T: FromBytes + IntoBytes + Immutable + Copy> Wire for T {}

/// What a structure looks like, for the test that compares it with C's.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Its name here.
    pub name: &'static str,
    /// What is said of it, in which its name in C stands.
    pub doc: &'static str,
    /// Its size in bytes.
    pub size: usize,
    /// Name, offset and size of each field, in bytes.
    pub fields: &'static [(&'static str, usize, usize)],
}

/// Declares structures of the ABI, a module's all at once, each with the layout and the traits that they all have. Fields are named as in Xen's headers
/// and padding is `pad`; what the others mean, the structure's own comment says.
macro_rules! wire {
    ($($(#[doc = $doc:literal])* $name:ident { $($field:ident: $type:ty),* $(,)? })*) => {
        $(
            $(#[doc = $doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            #[derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable)]
            #[repr(C)]
            #[allow(missing_docs, reason = "the structure's comment describes its fields")]
            pub struct $name { $(pub $field: $type,)* }
        )*

        /// The structures of this module.
        pub const LAYOUTS: &[$crate::Layout] = &[$($crate::Layout {
            name: stringify!($name),
            doc: concat!($($doc),*),
            size: size_of::<$name>(),
            fields: &[$((stringify!($field), core::mem::offset_of!($name, $field), size_of::<$type>()),)*],
        },)*];
    };
}
pub(crate) use wire;
