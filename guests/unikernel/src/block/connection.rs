//! The connection between a disk's handles and its backend, which may come, go and come again.

use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};

use mote_protocols::blkif::{PROTOCOL, info};
use mote_protocols::ring::Broken;
use mote_protocols::xenbus::State as Stage;

use super::{Disk, Geometry};
use crate::executor::{Either, either};
use crate::xen::events::Port;
use crate::xen::grants::Grant;
use crate::xen::page::Page;
use crate::xen::store::{Store, Watch};

/// Xenstore is gone, or refuses what a frontend needs: nothing can be done about the disk.
struct Lost;

/// Keeps the disk connected for as long as there is a xenstore.
pub async fn keep(disk: Disk, store: Store, number: u32) {
    let own = format!("device/vbd/{number}");
    let link = Link { disk: &disk, store: &store, own };
    // A disk that is lost is one that never answers.
    let _ = link.keep().await;
}

/// One disk and its directory.
struct Link<'a> {
    disk: &'a Disk,
    store: &'a Store,
    own: String,
}

/// Where the backend is.
struct Backend {
    domain: u16,
    path: String,
}

impl Link<'_> {
    async fn keep(&self) -> Result<(), Lost> {
        // The toolstack names another backend here when the first will not come back.
        let naming = self.watch(&format!("{}/backend", self.own)).await?;
        loop {
            let Some(backend) = self.backend().await else {
                event(&naming).await?;
                continue;
            };
            let states = self.watch(&format!("{}/state", backend.path)).await?;
            self.serve(&backend, &states, &naming).await?;
            self.disk.0.borrow_mut().front.disconnect();
            self.disk.0.borrow_mut().port = None;
        }
    }

    /// Follows one backend's states until another is named.
    async fn serve(&self, backend: &Backend, states: &Watch, naming: &Watch) -> Result<(), Lost> {
        let mut connected = false;
        loop {
            let stage = self.store.state(&backend.path).await.map_err(|_| Lost)?;
            match stage {
                // Also when there was a connection: the backend is a new one, which knows nothing of it.
                Stage::InitWait => {
                    connected = false;
                    self.offer(backend).await?;
                }
                Stage::Connected if !connected => connected = self.connect(backend).await?,
                Stage::Closing | Stage::Closed => {
                    connected = false;
                    self.disk.0.borrow_mut().front.disconnect();
                    self.close(stage).await?;
                }
                _ => {}
            }
            loop {
                if !self.collect() {
                    // What it says makes no sense. It may close, and begin again.
                    self.enter(Stage::Closing).await?;
                }
                let port = self.disk.0.borrow().port.clone();
                let work = async {
                    match &port {
                        Some(port) => port.event().await,
                        None => core::future::pending().await,
                    }
                };
                match either(either(event(states), event(naming)), work).await {
                    Either::First(Either::First(changed)) => {
                        changed?;
                        break;
                    }
                    Either::First(Either::Second(changed)) => {
                        changed?;
                        let same = self.backend().await.is_some_and(|now| now.path == backend.path);
                        if !same {
                            return Ok(());
                        }
                    }
                    Either::Second(()) => {}
                }
            }
        }
    }

    /// Takes answers and wakes those who wait. False if the connection is at its end.
    fn collect(&self) -> bool {
        let mut state = self.disk.0.borrow_mut();
        loop {
            match state.front.collect() {
                Ok(true) => state.wake(),
                Ok(false) => return true,
                Err(Broken) => return false,
            }
        }
    }

    /// Makes a ring and says where it is. What was not answered is in it again.
    async fn offer(&self, backend: &Backend) -> Result<(), Lost> {
        let page = Grant::new(backend.domain, Page::new(), true).map_err(|_| Lost)?;
        let port = Port::offer(backend.domain).map_err(|_| Lost)?;
        let (reference, number) = (page.reference(), port.number());
        {
            let mut state = self.disk.0.borrow_mut();
            let grants = state.data.grant(backend.domain).map_err(|_| Lost)?;
            state.front.connect(page, grants);
            state.front.publish();
            state.port = Some(Rc::new(port));
            // There is a ring to ask in.
            state.wake();
        }
        self.write("ring-ref", &reference.to_string()).await?;
        self.write("event-channel", &number.to_string()).await?;
        self.write("protocol", PROTOCOL).await?;
        self.write("feature-persistent", "1").await?;
        self.enter(Stage::Initialised).await
    }

    /// Reads what the disk is like. False if there is no ring.
    async fn connect(&self, backend: &Backend) -> Result<bool, Lost> {
        if !self.disk.0.borrow().front.is_connected() {
            return Ok(false);
        }
        let number = async |name: &str| self.number(&format!("{}/{name}", backend.path)).await;
        let Some(sectors) = number("sectors").await else { return Ok(false) };
        let size = number("sector-size").await.and_then(|size| u32::try_from(size).ok());
        let sector_size = size.filter(|size| size.is_power_of_two() && (512..=4096).contains(size)).unwrap_or(512);
        let read_only = number("info").await.is_some_and(|bits| bits & u64::from(info::READ_ONLY) != 0);
        self.enter(Stage::Connected).await?;
        let mut state = self.disk.0.borrow_mut();
        state.geometry = Some(Geometry { sectors, sector_size, read_only });
        state.wake();
        Ok(true)
    }

    /// Follows a backend that closes, and is ready for it to begin again.
    async fn close(&self, backend: Stage) -> Result<(), Lost> {
        self.disk.0.borrow_mut().port = None;
        self.enter(if backend == Stage::Closed { Stage::Initialising } else { Stage::Closed }).await
    }

    async fn backend(&self) -> Option<Backend> {
        let path = self.store.read_text(&format!("{}/backend", self.own)).await.ok()?;
        let domain = self.number(&format!("{}/backend-id", self.own)).await?;
        Some(Backend { domain: domain.try_into().ok()?, path })
    }

    async fn number(&self, path: &str) -> Option<u64> {
        self.store.read_as(path).await.ok()
    }

    async fn write(&self, name: &str, value: &str) -> Result<(), Lost> {
        self.store.write(&format!("{}/{name}", self.own), value).await.map_err(|_| Lost)
    }

    async fn enter(&self, stage: Stage) -> Result<(), Lost> {
        self.store.switch_state(&self.own, stage).await.map_err(|_| Lost)
    }

    async fn watch(&self, path: &str) -> Result<Watch, Lost> {
        self.store.watch(path).await.map_err(|_| Lost)
    }
}

async fn event(watch: &Watch) -> Result<(), Lost> {
    watch.next().await.map(drop).map_err(|_| Lost)
}
