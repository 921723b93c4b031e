//! A device's front end in xenstore, as far as both kinds of devices do the same.

use alloc::format;
use alloc::string::{String, ToString};

use mote_protocols::xenbus::State;
use mote_unikernel::xen::grants::Grant;
use mote_unikernel::xen::page::Page;
use mote_unikernel::xen::store::Store;

use crate::{soon, until};

/// A front end.
pub struct Device<'a> {
    store: &'a Store,
    /// Its directory, and the back end's.
    own: String,
    back: String,
    /// The back end's domain.
    pub backend: u16,
}

impl<'a> Device<'a> {
    /// The device in directory `own`, when the back end waits for it.
    pub async fn find(store: &'a Store, own: &str) -> Self {
        let watch = store.watch(own).await.expect("a watch");
        let (back, backend) = loop {
            watch.next().await.expect("an event");
            let back = store.read_text(&format!("{own}/backend")).await;
            let backend = store.read_as(&format!("{own}/backend-id")).await;
            if let (Ok(back), Ok(backend)) = (back, backend) {
                break (back, backend);
            }
        };
        let device = Self { store, own: own.into(), back, backend };
        device.stands("the first offer", |state| state == State::InitWait).await;
        device
    }

    /// Ends whatever there is, and waits until the back end offers anew.
    pub async fn begin(&self) {
        self.say(State::Closed).await;
        self.stands("the back end's end", |state| state == State::Closed).await;
        self.say(State::Initialising).await;
        self.stands("an offer", |state| state == State::InitWait).await;
    }

    /// Waits until the back end stands where `wanted` says.
    pub async fn stands(&self, what: &str, wanted: impl Fn(State) -> bool) -> State {
        soon(what, self.store.wait_for_state(&self.back, wanted)).await.expect("a state")
    }

    /// Waits until the back end has had enough.
    pub async fn is_refused(&self, case: &str) {
        self.stands(case, |state| matches!(state, State::Closing | State::Closed)).await;
    }

    /// Whether the back end is still there.
    pub async fn is_connected(&self) -> bool {
        self.store.state(&self.back).await == Ok(State::Connected)
    }

    pub async fn say(&self, state: State) {
        self.set("state", state.as_str()).await;
    }

    pub async fn set(&self, name: &str, value: &str) {
        let path = format!("{}/{name}", self.own);
        self.store.write(&path, value).await.unwrap_or_else(|error| panic!("{path} = {value:.40}: {error:?}"));
    }

    pub async fn set_number(&self, name: &str, value: u32) {
        self.set(name, &value.to_string()).await;
    }

    pub async fn remove(&self, name: &str) {
        let _ = self.store.remove(&format!("{}{name}", self.own)).await;
    }

    /// What the front end's directory says.
    pub async fn get(&self, name: &str) -> String {
        self.store.read_text(&format!("{}/{name}", self.own)).await.expect("a node")
    }
}

/// Takes a grant back, which the back end must let go of.
pub async fn end(grant: Grant) {
    let mut left = Some(grant);
    until("the end of a mapping", || {
        left = left.take().and_then(|grant| grant.end().err());
        left.is_none()
    })
    .await;
}

/// A grant that was made and revoked. It is not made again: others are revoked after it, and are taken first.
pub fn revoked(backend: u16) -> u32 {
    let grants: [Grant; 8] = core::array::from_fn(|_| Grant::new(backend, Page::new(), true).expect("a grant"));
    let first = grants[0].reference();
    grants.into_iter().for_each(|grant| assert!(grant.end().is_ok(), "nobody has it"));
    first
}
