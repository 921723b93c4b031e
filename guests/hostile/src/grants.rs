//! Grants: a table that grows without end, and a page that is mapped without end.

use mote_unikernel::println;
use mote_unikernel::xen::Errno;
use spin::Once;
use xen_abi::grant_table::{Map, QuerySize, SetupTable, Unmap, map, op};
use xen_abi::memory::{self, AddToPhysmap, RemoveFromPhysmap, space};
use xen_abi::xen::{domid, hypercall};

use crate::Cast;
use crate::wild::{self, PAGE, WINDOW};

/// More than any domain may have.
const MANY: u64 = 5000;
/// The first grants that the library of the victim gives out: one for each attacker, to be written.
pub const REFERENCES: [u32; 2] = [8, 9];

/// Grows the own table.
pub fn grow_without_end() {
    let mut asked = 1;
    let status = loop {
        let mut argument =
            SetupTable { dom: domid::SELF, pad: 0, nr_frames: asked, status: 0, pad2: [0; 3], frame_list: 0 };
        // The list cannot be written, but the table has grown by then.
        wild::call(hypercall::GRANT_TABLE_OP, op::SETUP_TABLE, &mut argument).expect("a structure of its own");
        let size = size();
        if size.nr_frames < asked {
            println!("hostile: grant frames: {}, then status {}", size.nr_frames, argument.status);
            break argument.status;
        }
        asked += 1;
        assert!(u64::from(asked) < MANY, "there is no end of grant frames");
    };
    assert!(status < 0);
    let refused = (0..MANY).find_map(|index| Some((index, add_frame(index).err()?)));
    let (count, error) = refused.expect("there is no end of grant frames");
    println!("hostile: grant frames seen: {count}, then {error:?}");
    for index in 0..count {
        let mut argument = RemoveFromPhysmap { domid: domid::SELF, pad: [0; 3], gpfn: frame(index) };
        let _ = wild::call(hypercall::MEMORY_OP, memory::op::REMOVE_FROM_PHYSMAP, &mut argument);
    }
}

fn size() -> QuerySize {
    let mut size = QuerySize { dom: domid::SELF, pad: 0, nr_frames: 0, max_nr_frames: 0, status: 0, pad2: 0 };
    wild::call(hypercall::GRANT_TABLE_OP, op::QUERY_SIZE, &mut size).expect("a structure of its own");
    size
}

const fn frame(index: u64) -> u64 {
    WINDOW / PAGE + index
}

/// The first is where the library has it, which is no matter here.
fn add_frame(index: u64) -> Result<(), Errno> {
    let space = u32::from(space::GRANT_TABLE);
    let mut argument = AddToPhysmap { domid: domid::SELF, size: 0, space, idx: index, gpfn: frame(index) };
    match wild::call(hypercall::MEMORY_OP, memory::op::ADD_TO_PHYSMAP, &mut argument) {
        Err(Errno::EBUSY) if index == 0 => Ok(()),
        result => result.map(drop),
    }
}

/// Maps the victim's page, and says the handle or the status.
pub fn map(victim: u16, reference: u32, address: u64) -> Result<u32, i16> {
    let mut argument = Map {
        host_addr: address,
        flags: map::HOST,
        gref: reference,
        dom: victim,
        status: 0,
        handle: 0,
        dev_bus_addr: 0,
    };
    wild::call(hypercall::GRANT_TABLE_OP, op::MAP, &mut argument).expect("a structure of its own");
    if argument.status == 0 { Ok(argument.handle) } else { Err(argument.status) }
}

/// Ends a mapping.
pub fn unmap(handle: u32, address: u64) -> i16 {
    let mut argument = Unmap { host_addr: address, dev_bus_addr: 0, handle, status: 0, pad: 0 };
    wild::call(hypercall::GRANT_TABLE_OP, op::UNMAP, &mut argument).expect("a structure of its own");
    argument.status
}

/// Which of the victim's grants is for this domain, once that was found out.
pub fn reference(cast: Cast) -> u32 {
    static KNOWN: Once<u32> = Once::new();
    *KNOWN.call_once(|| find_reference(cast))
}

fn find_reference(cast: Cast) -> u32 {
    let mine = |reference: &u32| match map(cast.victim, *reference, WINDOW) {
        Ok(handle) => {
            assert_eq!(unmap(handle, WINDOW), 0);
            true
        }
        Err(_) => false,
    };
    REFERENCES.into_iter().find(mine).expect("the victim grants a page")
}

/// One page of the victim's, everywhere.
pub fn map_without_end(cast: Cast) {
    let reference = reference(cast);
    let refused = (0..MANY).find_map(|index| {
        let status = map(cast.victim, reference, WINDOW + index * PAGE).err()?;
        Some((index, status))
    });
    let (count, status) = refused.expect("there is no end of mappings");
    println!("hostile: mappings of one page: {count}, then status {status}");
}

/// Ends them, whatever is mapped where.
pub fn unmap_all() {
    let ended = (0..MANY).filter(|&handle| unmap(handle as u32, WINDOW + handle * PAGE) == 0).count();
    println!("hostile: mappings ended: {ended}");
}
