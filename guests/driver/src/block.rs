//! Disks: every `backend/vbd` node that the toolstack makes for this domain is served by a task of its own, from the virtio disk whose
//! name is the node's `params`.

mod disk;
mod guest;

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;

use mote_unikernel::executor::Spawner;
use mote_unikernel::virtio::virtio_drivers::transport::DeviceType;
use mote_unikernel::virtio::{Block, devices};
use mote_unikernel::xen::store::Store;
use mote_unikernel::{Machine, println};

use crate::offers::{self, Purpose};
use crate::statistics::Statistics;

/// Where the toolstack puts disks that this domain is to serve, below its own node.
const DIRECTORY: &str = "backend/vbd";
/// Disks that are served at most, of all guests together.
const DISKS_MAX: usize = 128;

/// The disks that are not in use.
#[derive(Clone)]
struct Shelf(Rc<RefCell<Vec<Block>>>);

impl Shelf {
    /// Takes the disk with this name. A device knows 20 bytes of it: one that is longer may be any of several.
    fn take(&self, name: &str) -> Option<Block> {
        let mut disks = self.0.borrow_mut();
        let place = disks.iter().position(|disk| disk.serial() == name)?;
        Some(disks.swap_remove(place))
    }

    fn put(&self, disk: Block) {
        self.0.borrow_mut().push(disk);
    }
}

/// Serves disks for as long as there is a xenstore.
pub async fn serve(machine: Machine, store: Store, statistics: Statistics, spawner: Spawner<'static>) {
    let disks = devices(&machine, DeviceType::Block).into_iter().filter_map(|device| Block::new(device).ok()).collect();
    let shelf = Shelf(Rc::new(RefCell::new(disks)));
    let serve_one = |purpose: Purpose| {
        let (store, shelf, statistics) = (store.clone(), shelf.clone(), statistics.clone());
        async move {
            if disk::serve(&store, &shelf, &statistics, purpose).await.is_err() {
                println!("disk {} of domain {}: gone", purpose.1, purpose.0);
            }
        }
    };
    offers::follow(&store, &spawner, DIRECTORY, DISKS_MAX, serve_one).await;
}
