//! The two ends of a network interface that carries nothing: they find each other in xenstore and go through all states, as
//! drivers do, and try what the store must refuse.
//!
//! A third uses xenstore without end: it reads what it has written, hears of it by a watch, in transactions as well, until it is asked to
//! shut down. Whoever serves xenstore may go and another come meanwhile; it is to notice nothing of that.
//!
//! Arguments: `end=front`, `end=back` or `end=steady`; the back end is the domain with `mote,driver`.

#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use mote_protocols::xenbus::State;
use mote_unikernel::executor::{run, sleep};
use mote_unikernel::xen::store::{Error, Store};
use mote_unikernel::{Machine, println};

mote_unikernel::entry!(main);

/// What the front end tells the back end.
const SECRET: &str = "4711";

fn main(machine: Machine) {
    let end = machine.argument("end").expect("end=front, end=back or end=steady");
    run(async {
        let store = Store::connect().await.expect("a xenstore");
        let done = match end {
            "front" => front(&store).await,
            "steady" => steady(&store).await,
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
    println!("storetest: the front end is closing");
    store.switch_state(&device, State::Closed).await
}

async fn steady(store: &Store) -> Result<(), Error> {
    // Longer than a ring.
    let padding = "x".repeat(1500);
    let heard = store.watch("data/number").await?;
    store.write("control/feature-poweroff", "1").await?;
    let mut is_over = false;
    for number in 1_u32.. {
        let value = format!("{number}");
        store.write("data/number", &value).await?;
        // An event may be for nothing.
        while store.read_text("data/number").await? != value {
            heard.next().await?;
        }
        heard.next().await?;
        let long = format!("{number} {padding}");
        store.write("data/long", &long).await?;
        if store.read_text("data/long").await? != long {
            println!("storetest: another value is read than was written");
        }
        let both = async |store: &Store| {
            let seen = store.read_text("data/number").await?;
            store.write("data/copy", &seen).await?;
            store.write("data/again", &seen).await
        };
        store.transaction(both).await?;
        for name in ["data/copy", "data/again"] {
            if store.read_text(name).await? != value {
                println!("storetest: {name} is not what the transaction has written");
            }
        }
        if number.is_multiple_of(16) {
            is_over = store.read_text("control/shutdown").await.is_ok_and(|word| word == "poweroff");
            sleep(Duration::from_millis(2)).await;
        }
        if number.is_multiple_of(1000) || is_over {
            println!("storetest: {number} rounds");
        }
        if is_over {
            break;
        }
    }
    Ok(())
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
