//! Disks: every `backend/vbd` node that the toolstack makes for this domain is served by a task of its own, from the virtio disk whose
//! name is the node's `params`.

mod disk;
mod guest;

use alloc::collections::BTreeSet;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;

use mote_unikernel::executor::Spawner;
use mote_unikernel::virtio::virtio_drivers::transport::DeviceType;
use mote_unikernel::virtio::{Block, devices};
use mote_unikernel::xen::store::Store;
use mote_unikernel::{Machine, println};

/// Where the toolstack puts disks that this domain is to serve, below its own node.
const DIRECTORY: &str = "backend/vbd";
/// Disks that are served at most, of all guests together.
const DISKS_MAX: usize = 128;

/// What a disk is for: the guest's domain number, and the device's.
type Purpose = (u16, u32);

/// The disks that are not in use.
#[derive(Clone)]
struct Shelf(Rc<RefCell<Vec<Block>>>);

impl Shelf {
    /// Takes the disk with this name. A device knows 20 bytes of it.
    fn take(&self, name: &str) -> Option<Block> {
        let known = name.as_bytes().get(..20).unwrap_or(name.as_bytes());
        let mut disks = self.0.borrow_mut();
        let place = disks.iter().position(|disk| disk.serial().as_bytes() == known)?;
        Some(disks.swap_remove(place))
    }

    fn put(&self, disk: Block) {
        self.0.borrow_mut().push(disk);
    }
}

/// Serves disks for as long as there is a xenstore.
pub async fn serve(machine: Machine, store: Store, spawner: Spawner<'static>) {
    let disks = devices(&machine, DeviceType::Block).into_iter().filter_map(|device| Block::new(device).ok()).collect();
    let shelf = Shelf(Rc::new(RefCell::new(disks)));
    let served = Rc::new(RefCell::new(BTreeSet::new()));
    let Ok(watch) = store.watch(DIRECTORY).await else { return };
    while let Ok(path) = watch.next().await {
        for purpose in purposes(&store, &path).await {
            let room = served.borrow().len() < DISKS_MAX;
            if !room || !served.borrow_mut().insert(purpose) {
                continue;
            }
            let (store, shelf, served) = (store.clone(), shelf.clone(), served.clone());
            spawner.spawn(async move {
                if disk::serve(&store, &shelf, purpose).await.is_err() {
                    println!("disk {} of domain {}: gone", purpose.1, purpose.0);
                }
                served.borrow_mut().remove(&purpose);
            });
        }
    }
}

/// The disks that a change at `path` can be about.
async fn purposes(store: &Store, path: &str) -> Vec<Purpose> {
    let below = path.split_once(DIRECTORY).map_or("", |(_, below)| below);
    let mut parts = below.split('/').filter(|part| !part.is_empty());
    let (guest, device) = (parts.next(), parts.next());
    let guests = match guest {
        Some(guest) => Vec::from([String::from(guest)]),
        None => store.directory(DIRECTORY).await.unwrap_or_default(),
    };
    let mut found = Vec::new();
    for guest in guests {
        let devices = match device {
            Some(device) => Vec::from([String::from(device)]),
            None => store.directory(&alloc::format!("{DIRECTORY}/{guest}")).await.unwrap_or_default(),
        };
        let pairs = devices.iter().filter_map(|device| guest.parse().ok().zip(device.parse().ok()));
        found.extend(pairs.take(DISKS_MAX));
    }
    found
}
