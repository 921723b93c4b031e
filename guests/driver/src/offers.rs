//! Devices that the toolstack wants served: nodes `backend/KIND/GUEST/DEVICE` below this domain's own.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;

use mote_unikernel::executor::Spawner;
use mote_unikernel::xen::store::Store;

/// What a device is for: the guest's domain number, and the device's.
pub type Purpose = (u16, u32);

/// Serves each device below `directory`, of which there may be `max` at a time, by a task that `serve` makes, for as long as there is a
/// xenstore. A device whose task has ended is served again when something changes.
pub async fn follow<F: Future<Output = ()> + 'static>(
    store: &Store,
    spawner: &Spawner<'static>,
    directory: &str,
    max: usize,
    serve: impl Fn(Purpose) -> F,
) {
    let served = Rc::new(RefCell::new(BTreeSet::new()));
    let Ok(watch) = store.watch(directory).await else { return };
    while let Ok(path) = watch.next().await {
        for purpose in purposes(store, directory, &path, max).await {
            let room = served.borrow().len() < max;
            if !room || !served.borrow_mut().insert(purpose) {
                continue;
            }
            let (served, device) = (served.clone(), serve(purpose));
            spawner.spawn(async move {
                device.await;
                served.borrow_mut().remove(&purpose);
            });
        }
    }
}

/// The devices that a change at `path` can be about.
pub async fn purposes(store: &Store, directory: &str, path: &str, max: usize) -> Vec<Purpose> {
    let below = path.split_once(directory).map_or("", |(_, below)| below);
    let mut parts = below.split('/').filter(|part| !part.is_empty());
    let (guest, device) = (parts.next(), parts.next());
    let guests = match guest {
        Some(guest) => Vec::from([String::from(guest)]),
        None => store.directory(directory).await.unwrap_or_default(),
    };
    let mut found = Vec::new();
    for guest in guests {
        let devices = match device {
            Some(device) => Vec::from([String::from(device)]),
            None => store.directory(&format!("{directory}/{guest}")).await.unwrap_or_default(),
        };
        let pairs = devices.iter().filter_map(|device| guest.parse().ok().zip(device.parse().ok()));
        found.extend(pairs.take(max));
    }
    found
}
