//! The two ends of a network interface that carries nothing: they find each other in xenstore and go through all states, as
//! drivers do, and try what the store must refuse.
//!
//! Arguments: `end=front` or `end=back`; the back end is the domain with `mote,driver`.

#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use mote_protocols::xenbus::State;
use mote_unikernel::executor::run;
use mote_unikernel::xen::store::{Error, Store};
use mote_unikernel::{Machine, println};

mote_unikernel::entry!(main);

/// What the front end tells the back end.
const SECRET: &str = "4711";

fn main(machine: Machine) {
    let end = machine.argument("end").expect("end=front or end=back");
    run(async {
        let store = Store::connect().await.expect("a xenstore");
        let done = match end {
            "front" => front(&store).await,
            _ => back(&store).await,
        };
        match done {
            Ok(()) => println!("storetest: {end} ok"),
            Err(error) => println!("storetest: {end}: {error:?}"),
        }
    });
}

async fn front(store: &Store) -> Result<(), Error> {
    know_oneself(store).await?;
    let device = "device/vif/0";
    let back = store.read_text(&format!("{device}/backend")).await?;
    store.wait_for_state(&back, |state| state == State::InitWait).await?;
    store
        .transaction(async |store| {
            store.write(&format!("{device}/ring-ref"), SECRET).await?;
            store.switch_state(device, State::Initialised).await
        })
        .await?;
    store.wait_for_state(&back, |state| state == State::Connected).await?;
    store.switch_state(device, State::Connected).await?;
    let refused = store.switch_state(&back, State::Closed).await;
    println!("storetest: the other end's state is refused: {refused:?}");
    store.switch_state(device, State::Closing).await?;
    // Or gone: its domain ends then.
    store.wait_for_state(&back, |state| matches!(state, State::Closed | State::Unknown)).await?;
    store.switch_state(device, State::Closed).await
}

async fn back(store: &Store) -> Result<(), Error> {
    know_oneself(store).await?;
    let watch = store.watch("backend").await?;
    let device = loop {
        watch.next().await?;
        if let Some(device) = first_device(store).await? {
            break device;
        }
    };
    let front = store.read_text(&format!("{device}/frontend")).await?;
    store.switch_state(&device, State::InitWait).await?;
    store.wait_for_state(&front, |state| state == State::Initialised).await?;
    let secret = store.read_text(&format!("{front}/ring-ref")).await?;
    println!("storetest: the front end says {secret}");
    store.switch_state(&device, State::Connected).await?;
    store.wait_for_state(&front, |state| state >= State::Closing).await?;
    store.switch_state(&device, State::Closed).await
}

/// The first network interface of a guest that is to be served: the control domain has one, too.
async fn first_device(store: &Store) -> Result<Option<String>, Error> {
    let domains = children(store, "backend/vif").await?;
    let Some(domain) = domains.into_iter().find(|domain| domain != "0") else { return Ok(None) };
    let number = children(store, &format!("backend/vif/{domain}")).await?.into_iter().next();
    Ok(number.map(|number| format!("backend/vif/{domain}/{number}")))
}

async fn children(store: &Store, path: &str) -> Result<Vec<String>, Error> {
    match store.directory(path).await {
        Err(Error::MISSING) => Ok(Vec::new()),
        names => names,
    }
}

async fn know_oneself(store: &Store) -> Result<(), Error> {
    let (name, domain) = (store.read_text("name").await?, store.read_as::<u16>("domid").await?);
    println!("storetest: domain {domain} is called {name}");
    let refused = store.write("name", "somebody").await;
    println!("storetest: another name is refused: {refused:?}");
    store.write("data/a/b", "x").await?;
    let names = store.directory("data").await?;
    store.remove("data/a").await?;
    println!("storetest: made {names:?}, of which is left {:?}", store.directory("data").await?);
    Ok(())
}
