//! The machine's own virtio devices, for the domain that they are given to: registers in memory, and memory at the machine's addresses.
//!
//! The devices are trusted: without an IOMMU there is no other way. The domain is `direct-map`, so that an address of its heap is the
//! machine's.

mod block;
mod net;

use alloc::alloc::{alloc_zeroed, dealloc};
use alloc::vec::Vec;
use core::alloc::Layout;
use core::future::poll_fn;
use core::ops::Range;
use core::ptr::NonNull;
use core::task::{Poll, Waker};

use arm_gic::IntId;
use dtoolkit::Node;
use dtoolkit::fdt::FdtNode;
use spin::Mutex;
use virtio_drivers::transport::DeviceType;
use virtio_drivers::transport::mmio::{MmioTransport, VirtIOHeader};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

use crate::machine::{self, is_compatible};
use crate::{Machine, interrupts};

pub use block::Block;
pub use net::Net;
pub use virtio_drivers;

/// Offsets of registers (virtio 1.2, 4.2.2).
const DEVICE_ID: usize = 0x8;
const INTERRUPT_STATUS: usize = 0x60;
const INTERRUPT_ACK: usize = 0x64;

/// Memory as this domain's devices see it: at the same addresses.
#[derive(Debug)]
pub struct Direct;

// SAFETY: pages come zeroed from the heap and go back to it with the layout they came with. Addresses are the machine's, because the
// heap is mapped at its IPA and the domain's memory at the machine's addresses.
unsafe impl Hal for Direct {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let block = layout(pages).map(|layout| {
            // SAFETY: a layout is of a page at least.
            unsafe { alloc_zeroed(layout) }
        });
        match block.and_then(NonNull::new) {
            Some(block) => (block.expose_provenance().get() as PhysAddr, block),
            // The caller takes address 0 for a failure.
            None => (0, NonNull::dangling()),
        }
    }

    unsafe fn dma_dealloc(_: PhysAddr, address: NonNull<u8>, pages: usize) -> i32 {
        let Some(layout) = layout(pages) else { return -1 };
        // SAFETY: the caller promises that it came from `dma_alloc` with as many pages.
        unsafe { dealloc(address.as_ptr(), layout) };
        0
    }

    unsafe fn mmio_phys_to_virt(address: PhysAddr, _: usize) -> NonNull<u8> {
        NonNull::new(address as *mut u8).unwrap_or(NonNull::dangling())
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        Machine::address(buffer.expose_provenance().get()) as PhysAddr
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}

fn layout(pages: usize) -> Option<Layout> {
    Layout::from_size_align(pages.max(1).checked_mul(PAGE_SIZE)?, PAGE_SIZE).ok()
}

/// A device that nobody has set up yet.
pub struct Device {
    /// Its registers.
    pub transport: MmioTransport<'static>,
    /// Its interrupt.
    pub interrupt: Interrupt,
}

/// The devices of type `wanted` that the device tree names, in its order. Ask once for each: there is one set of registers.
pub fn devices(machine: &Machine, wanted: DeviceType) -> Vec<Device> {
    let device = |place: Place| {
        let header = NonNull::new(place.registers.start as *mut VirtIOHeader)?;
        // SAFETY: the device tree says that such a device is there, for this domain.
        let kind = unsafe { ((place.registers.start + DEVICE_ID) as *const u32).read_volatile() };
        // Looked at first: a transport resets its device when it is dropped, and somebody may be using this one.
        if kind != wanted as u32 {
            return None;
        }
        // SAFETY: as above, and the type's devices are made once.
        let transport = unsafe { MmioTransport::new(header, place.registers.len()) }.ok()?;
        Some(Device { transport, interrupt: Interrupt::new(place.interrupt, place.registers.start) })
    };
    places(machine).into_iter().filter_map(device).collect()
}

/// How deep a device is looked for.
const MAX_DEPTH: usize = 8;

/// Where there may be a device.
struct Place {
    registers: Range<usize>,
    interrupt: IntId,
}

/// What the device tree says. The tree is read to its end before anything is set up, which would read it again: iterators over it are
/// large, and the stack is not.
fn places(machine: &Machine) -> Vec<Place> {
    let mut places = Vec::new();
    add_below(machine.tree().root(), MAX_DEPTH, &mut places);
    places
}

fn add_below(parent: FdtNode<'static>, depth: usize, places: &mut Vec<Place>) {
    for node in parent.children() {
        if is_compatible(node, "virtio,mmio") {
            places.extend(place(node));
        }
        if let Some(below) = depth.checked_sub(1) {
            add_below(node, below, places);
        }
    }
}

fn place(node: FdtNode<'static>) -> Option<Place> {
    let interrupt = IntId::spi(machine::interrupt_number(node, 0)?);
    Some(Place { registers: machine::ranges(Some(node)).next()?, interrupt })
}

/// What is known of a device's interrupt.
struct Line {
    id: IntId,
    registers: usize,
    came: bool,
    waker: Option<Waker>,
}

/// Taken with interrupts masked, as the handler takes it.
static LINES: Mutex<Vec<Line>> = Mutex::new(Vec::new());

/// A device's interrupt.
#[derive(Clone, Copy, Debug)]
pub struct Interrupt(IntId);

impl Interrupt {
    fn new(id: IntId, registers: usize) -> Self {
        interrupts::masked(|| LINES.lock().push(Line { id, registers, came: false, waker: None }));
        interrupts::register(id, collect);
        Self(id)
    }

    /// Waits until the device has interrupted, which it may have done before, while other tasks run.
    pub async fn event(&self) {
        poll_fn(|context| {
            interrupts::masked(|| {
                let mut lines = LINES.lock();
                let Some(line) = lines.iter_mut().find(|line| line.id == self.0) else { return Poll::Pending };
                if core::mem::take(&mut line.came) {
                    return Poll::Ready(());
                }
                line.waker = Some(context.waker().clone());
                Poll::Pending
            })
        })
        .await;
    }
}

/// Quiets the device and wakes whoever waits for it.
fn collect(id: IntId) {
    let mut lines = LINES.lock();
    let Some(line) = lines.iter_mut().find(|line| line.id == id) else { return };
    let register = |offset| (line.registers + offset) as *mut u32;
    // SAFETY: the device tree says that the registers of a virtio device are there. These two change nothing but the interrupt.
    unsafe {
        let causes = register(INTERRUPT_STATUS).read_volatile();
        register(INTERRUPT_ACK).write_volatile(causes);
    }
    line.came = true;
    if let Some(waker) = line.waker.take() {
        waker.wake();
    }
}
