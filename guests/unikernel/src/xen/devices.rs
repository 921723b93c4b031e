//! The machine's devices, for the domain that gives them to others: what one that is no more has left running is stopped.

use core::hint::spin_loop;

use super::{Errno, domains};
use crate::arch::Registers;

/// Registers of a virtio device (virtio 1.2, 4.2.2), and the bytes that they take.
const MAGIC: usize = 0x0;
const STATUS: usize = 0x70;
const SIZE: usize = 0x200;
/// "virt".
const IS_VIRTIO: u32 = 0x7472_6976;
/// Where the identity map has devices.
const DEVICES_END: u64 = 1 << 30;
const PAGE: u64 = 4096;
/// How often it is looked whether a device has stopped: it does at once, or it is broken.
const LOOKS: usize = 1 << 20;

/// Resets the virtio device whose registers are at `address` of the machine: when this returns, it writes to no memory any more.
///
/// # Errors
/// `EINVAL` if no such device can be there, `EBUSY` if it does not stop, or the hypervisor's.
pub fn reset_virtio(address: u64) -> Result<(), Errno> {
    if address >= DEVICES_END || !address.is_multiple_of(SIZE as u64) {
        return Err(Errno::EINVAL);
    }
    let frame = address / PAGE;
    let start = address as usize;
    // SAFETY: the page is one of a virtio device, as the caller says and its magic confirms, and appears where the identity map has
    // devices and domain 0 has none: its GIC is elsewhere. All that is done with it is that the device leaves memory alone.
    unsafe {
        domains::map_own_page(frame, true)?;
        let stopped = stop(&Registers::new(start..start + SIZE));
        domains::map_own_page(frame, false)?;
        stopped
    }
}

fn stop(device: &Registers) -> Result<(), Errno> {
    if device.read(MAGIC) != IS_VIRTIO {
        return Err(Errno::EINVAL);
    }
    device.write(STATUS, 0);
    for _ in 0..LOOKS {
        if device.read(STATUS) == 0 {
            return Ok(());
        }
        spin_loop();
    }
    Err(Errno::EBUSY)
}
