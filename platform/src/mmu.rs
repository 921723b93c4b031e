//! EL2's own translation: an identity map in which nothing is both writable and executable, and a
//! page is missing under every stack (Arm ARM D8, EL2 translation regime, 4 KiB granule, 39 bits).
//!
//! The image, its heap and the device tree are mapped before the MMU goes on; RAM and devices are
//! added as the device tree names them. The tables come from a fixed pool in `.bss`.

use core::arch::asm;
use core::ops::Range;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{ID_AA64MMFR0_EL1, Readable};

use crate::image::{self, BLOCK_SIZE};
use crate::lock::Mutex;

pub(crate) const PAGE_SIZE: usize = 4096;
/// Addresses that EL2 can reach: 512 GiB.
const ADDRESS_BITS: u32 = 39;

/// Descriptor fields (Arm ARM D8.3.1, stage 1, one VA range).
const VALID: u64 = 1;
const TABLE_OR_PAGE: u64 = 1 << 1;
const ATTR_NORMAL: u64 = 1 << 2;
const AP1_RES1: u64 = 1 << 6;
const AP2_READ_ONLY: u64 = 1 << 7;
const INNER_SHAREABLE: u64 = 0b11 << 8;
const ACCESSED: u64 = 1 << 10;
const EXECUTE_NEVER: u64 = 1 << 54;
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;

/// `MAIR_EL2`: attribute 0 is Device-nGnRE, attribute 1 Normal write-back (Arm ARM D24.2.109).
pub(crate) const MAIR: u64 = 0xff << 8 | 0x04;
/// `TCR_EL2` without VHE: RES1 bits, inner-shareable write-back walks, 4 KiB granule (Arm ARM D24.2.186).
const TCR: u64 = 1 << 31 | 1 << 23 | 0b11 << 12 | 0b01 << 10 | 0b01 << 8 | (64 - ADDRESS_BITS) as u64;
/// `SCTLR_EL2`: RES1 bits, and M, C, SA, I, WXN (Arm ARM D24.2.159).
pub(crate) const SCTLR: u64 = 0x30c5_0830 | 1 | 1 << 2 | 1 << 3 | 1 << 12 | 1 << 19;

/// What a range is used for, and so what may be done with it: the descriptor of a block without its address.
const DEVICE: u64 = VALID | ACCESSED | AP1_RES1 | EXECUTE_NEVER;
const MEMORY: u64 = DEVICE | ATTR_NORMAL | INNER_SHAREABLE;
const CONSTANTS: u64 = MEMORY | AP2_READ_ONLY;
const CODE: u64 = CONSTANTS & !EXECUTE_NEVER;

#[repr(C, align(4096))]
pub(crate) struct Table([AtomicU64; 512]);

/// Tables for the image, each RAM bank's ragged ends and the devices of a usual machine.
const POOL_TABLES: usize = 16;

/// The first is the root; so many others are used.
pub(crate) static POOL: [Table; POOL_TABLES] = [const { Table([const { AtomicU64::new(0) }; 512]) }; POOL_TABLES];
static USED: AtomicUsize = AtomicUsize::new(0);
/// Serialises changes once several CPUs run.
static CHANGE: Mutex<()> = Mutex::new(());

/// The map did not take a range: it lies past the addresses that EL2 can reach, or the pool of tables is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapError;

/// Maps the image, its heap and the device tree, and gives what [`control`] does, or 0 if that failed. Runs with the MMU off:
/// plain loads and stores only.
#[unsafe(link_section = ".text.boot")]
pub(crate) extern "C" fn map_image(device_tree: usize) -> u64 {
    let tree_end = device_tree.saturating_add(device_tree_size(device_tree));
    let tree = device_tree & !(BLOCK_SIZE - 1)..tree_end.next_multiple_of(BLOCK_SIZE);
    let region = image::region();
    let [code, constants, statics, stack] = image::parts();
    // Before and behind the image lies what shares its blocks: the heap, or memory below a
    // loader's odd load address.
    let ranges = [
        (region.start..code.start, MEMORY),
        (code, CODE),
        (constants, CONSTANTS),
        (statics, MEMORY),
        (stack, MEMORY),
        (image::heap(), MEMORY),
        if tree.end <= region.start || region.end <= tree.start { (tree, MEMORY) } else { (0..0, MEMORY) },
    ];
    if ranges.into_iter().all(|(range, usage)| map(range, usage).is_ok()) { control() } else { 0 }
}

/// `TCR_EL2` for this CPU.
pub(crate) fn control() -> u64 {
    TCR | physical_size() << 16
}

/// The largest physical address the CPU has, as `TCR_EL2` and `VTCR_EL2` hold it, cut down to what 4 KiB tables can say.
pub(crate) fn physical_size() -> u64 {
    ID_AA64MMFR0_EL1.read(ID_AA64MMFR0_EL1::PARange).min(0b101)
}

/// Adds RAM: readable and writable, never executable.
pub(crate) fn map_ram(range: Range<usize>) -> Result<(), MapError> {
    add(range, MEMORY)
}

/// Adds a device's registers, in whole pages, and says where they are.
pub(crate) fn map_device<Registers>(range: &Range<usize>) -> Result<NonNull<Registers>, MapError> {
    add(range.start & !(PAGE_SIZE - 1)..range.end.next_multiple_of(PAGE_SIZE), DEVICE)?;
    NonNull::new(range.start as *mut Registers).ok_or(MapError)
}

fn add(range: Range<usize>, usage: u64) -> Result<(), MapError> {
    let own = image::region();
    if range.start < own.end && own.start < range.end {
        return Err(MapError);
    }
    let _change = CHANGE.lock();
    let result = map(range, usage);
    barrier::dsb(barrier::ISHST);
    barrier::isb(barrier::SY);
    result
}

/// Takes a page of the heap that nothing refers to out of the map, as a guard.
pub(crate) fn unmap_page(at: usize) {
    let _change = CHANGE.lock();
    let Ok(table) = table(at, PAGE) else { return };
    table.0[at >> PAGE & 511].store(0, Ordering::Relaxed);
    // SAFETY: forgetting a translation only makes what the tables say so.
    unsafe {
        asm!("dsb ishst", "tlbi vae2is, {}", "dsb ish", "isb", in(reg) at >> 12, options(nostack, preserves_flags))
    };
}

/// The sizes of what descriptors map, as powers of two, from the root's to a page.
const LEVELS: [u32; 3] = [30, 21, PAGE];
const PAGE: u32 = 12;

fn map(range: Range<usize>, usage: u64) -> Result<(), MapError> {
    if range.end > 1 << ADDRESS_BITS {
        return Err(MapError);
    }
    let mut at = range.start;
    while at < range.end {
        at += map_some(at, range.end - at, usage)?;
    }
    Ok(())
}

/// Maps the largest blocks at `at` that fit `room` and do not lie over a table, as far as one table goes, and returns how
/// much that was.
fn map_some(at: usize, room: usize, usage: u64) -> Result<usize, MapError> {
    for level in LEVELS {
        let size = 1 << level;
        if !at.is_multiple_of(size) || room < size {
            continue;
        }
        let page = if level == PAGE { TABLE_OR_PAGE } else { 0 };
        let mut mapped = 0;
        for entry in table(at, level)?.0.iter().skip(at >> level & 511).take(room >> level) {
            if level != PAGE && is_table(entry) {
                break;
            }
            entry.store((at + mapped) as u64 | usage | page, Ordering::Relaxed);
            mapped += size;
        }
        if mapped > 0 {
            return Ok(mapped);
        }
    }
    Err(MapError)
}

fn is_table(entry: &AtomicU64) -> bool {
    entry.load(Ordering::Relaxed) & (VALID | TABLE_OR_PAGE) == VALID | TABLE_OR_PAGE
}

/// The table of a level that has the descriptor for `at`, with those above it made as needed.
fn table(at: usize, level: u32) -> Result<&'static Table, MapError> {
    let mut table = &POOL[0];
    for above in LEVELS.into_iter().take_while(|&above| above > level) {
        table = next_table(&table.0[at >> above & 511])?;
    }
    Ok(table)
}

fn next_table(entry: &AtomicU64) -> Result<&'static Table, MapError> {
    let value = entry.load(Ordering::Relaxed);
    if is_table(entry) {
        return POOL.get(((value & ADDRESS) as usize - POOL.as_ptr() as usize) / PAGE_SIZE).ok_or(MapError);
    }
    if value & VALID != 0 {
        return Err(MapError);
    }
    // No read-modify-write: exclusives need the MMU. `CHANGE` or the lone boot CPU serialises.
    let used = USED.load(Ordering::Relaxed) + 1;
    let table = POOL.get(used).ok_or(MapError)?;
    USED.store(used, Ordering::Relaxed);
    entry.store(&raw const *table as u64 | VALID | TABLE_OR_PAGE, Ordering::Relaxed);
    Ok(table)
}

/// `totalsize` of the flattened device tree at `base`, or zero where its magic is missing
/// (Devicetree Specification 5.2). At most 2 MiB, as the boot protocol demands.
pub(crate) fn device_tree_size(base: usize) -> usize {
    const MAGIC: u32 = 0xd00d_feed;
    if base == 0 || !base.is_multiple_of(8) {
        return 0;
    }
    // SAFETY: the boot protocol passes the address of a device tree in RAM, aligned to 8 bytes;
    // memory holds no Rust object there.
    let [magic, size] = unsafe { core::ptr::read_volatile(base as *const [u32; 2]) }.map(u32::from_be);
    if magic == MAGIC { (size as usize).min(BLOCK_SIZE) } else { 0 }
}
