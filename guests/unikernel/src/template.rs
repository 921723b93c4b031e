//! Templates and clones, which Mote alone has: a guest that waits for work becomes a template, and each clone of it goes on from there.
//!
//! What must not be the same in two clones the library renews: its random numbers ([`seed`]) and its event channels (a
//! [`Port`](crate::xen::events::Port) of before is closed in a clone). Grants of before are none, either: but for the one port and the
//! grants of [`become_linked`]. Time goes on: deadlines that passed since the template stopped have passed for its clones.

use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering};

use spin::Mutex;
use xen_abi::arch_arm::HYPERCALL_TAG;
use xen_abi::errno::Errno;
use xen_abi::mote::{Snapshot, call};

use crate::xen::events::{self, Port};
use crate::xen::page::Page;
use crate::{executor, interrupts, time};

pub use xen_abi::mote::call::Identity;

/// What a driver domain tells a clone that it launches for a connection: places in [`Identity::argument`].
pub mod argument {
    /// How long the clone is to wait for another connection when it has served one, in milliseconds.
    pub const KEEP: usize = 0;
}

/// Who this domain is, if it is a clone.
static IDENTITY: Mutex<Option<Identity>> = Mutex::new(None);
/// Whether it is one.
static IS_CLONE: AtomicU32 = AtomicU32::new(0);

/// Lets the other tasks that are ready have their turn, then makes this domain a template, which never runs again: what comes back is
/// a clone. Clones find zeroes in pages that are `private`.
///
/// # Errors
/// The hypervisor's, and this domain goes on: `ENOSYS` if it is not Mote, `EPERM` if this is a clone, `EBUSY` while it has another vCPU on, or
/// others' pages or devices.
pub async fn snapshot(private: &[&Page]) -> Result<Identity, Errno> {
    executor::yield_now().await;
    become_template(private)
}

/// The same where whoever makes a clone is to connect it at `port` and with what was granted to him, as a network's back end does: those stay
/// what they were, if he does.
///
/// # Errors
/// As above.
pub fn become_linked(port: &Port) -> Result<Identity, Errno> {
    freeze(&[], port.number())
}

/// The same at once, for who has no tasks.
///
/// # Errors
/// As above; `E2BIG` if more than 64 pages are private.
pub fn become_template(private: &[&Page]) -> Result<Identity, Errno> {
    freeze(private, 0)
}

fn freeze(private: &[&Page], kept: u32) -> Result<Identity, Errno> {
    if !events::is_plain() {
        return Err(Errno::EBUSY);
    }
    let mut frames = [0; 64];
    let places = frames.get_mut(..private.len()).ok_or(Errno::E2BIG)?;
    places.iter_mut().zip(private).for_each(|(place, page)| *place = page.frame());
    let frames = frames.as_ptr().expose_provenance() as u64;
    let argument = Snapshot { frames, count: private.len() as u32, pad: 0 };
    // Once for all clones.
    time::wake_on_virtual_timer();
    interrupts::masked(|| {
        let identity = call(&argument)?;
        *IDENTITY.lock() = Some(identity);
        IS_CLONE.store(1, Ordering::Release);
        events::forget(kept);
        Ok(identity)
    })
}

/// Who this domain is, if it is a clone.
#[must_use]
pub fn identity() -> Option<Identity> {
    *IDENTITY.lock()
}

/// Bits that are this clone's own and that nobody can guess.
#[must_use]
pub(crate) fn seed() -> Option<u64> {
    identity().map(|Identity { seed: [a, b, c, d], .. }| a ^ b.rotate_left(16) ^ c.rotate_left(32) ^ d.rotate_left(48))
}

/// Which of template and clone made something: what one made the other does not have.
pub(crate) fn generation() -> u32 {
    IS_CLONE.load(Ordering::Acquire)
}

fn call(argument: &Snapshot) -> Result<Identity, Errno> {
    let (answer, domain): (u64, u64);
    let [mut s0, mut s1, mut s2, mut s3] = [0_u64; 4];
    let [mut a0, mut a1, mut a2, mut a3, mut a4, mut a5, mut a6, mut a7] = [0_u64; 8];
    // SAFETY: the registers that a clone finds changed are declared. Its memory is as it was, but for pages that nobody refers to by more
    // than atomic words.
    unsafe {
        asm!(
            "hvc #{tag}",
            tag = const HYPERCALL_TAG,
            inout("x16") call::HYPERCALL => _,
            inout("x0") call::SNAPSHOT => answer,
            inout("x1") (&raw const *argument).expose_provenance() => domain,
            inout("x2") s0, inout("x3") s1, inout("x4") s2, inout("x5") s3,
            inout("x6") a0, inout("x7") a1, inout("x8") a2, inout("x9") a3,
            inout("x10") a4, inout("x11") a5, inout("x12") a6, inout("x13") a7,
            options(nostack),
        );
    }
    let identity =
        Identity { domain: domain as u16, seed: [s0, s1, s2, s3], argument: [a0, a1, a2, a3, a4, a5, a6, a7] };
    Errno::in_answer(answer).map_or(Ok(identity), Err)
}
