//! What a xenstore must bear: a ring that is none, and requests for all there is to have.

use alloc::format;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use mote_protocols::ring::Shared;
use mote_protocols::xs_wire::page::{
    CONNECTION, ERROR, REQUEST_PRODUCER, RESPONSE_CONSUMER, RESPONSE_PRODUCER, RING_SIZE,
};
use mote_protocols::xs_wire::{Header, connection, error, kind};
use mote_unikernel::println;
use mote_unikernel::xen::events::Port;
use mote_unikernel::xen::page::Given;
use mote_unikernel::xen::parameter;
use mote_unikernel::xen::store::{Error, Store};
use xen_abi::hvm::param;
use zerocopy::IntoBytes;

use crate::{soon, until};

/// The ring, word by word.
struct Raw {
    page: Given,
    port: Port,
}

impl Raw {
    fn get(&self, offset: usize) -> u32 {
        self.page.word(offset).load(Ordering::Acquire)
    }

    fn set(&self, offset: usize, value: u32) {
        self.page.word(offset).store(value, Ordering::Release);
    }

    fn tell(&self) {
        self.port.notify().expect("a server");
    }

    /// Has the ring begin anew.
    async fn reconnect(&self) {
        self.set(CONNECTION, connection::RECONNECT);
        self.tell();
        until("a new ring", || self.get(CONNECTION) == connection::CONNECTED && self.get(ERROR) == error::NONE).await;
    }

    /// Puts whole words of a message, behind those that are there.
    fn put(&self, bytes: &[u8]) {
        let producer = self.get(REQUEST_PRODUCER);
        for (number, word) in bytes.as_chunks::<4>().0.iter().enumerate() {
            let place = (producer as usize + number * 4) % RING_SIZE as usize;
            self.page.word(place).store(u32::from_le_bytes(*word), Ordering::Relaxed);
        }
        self.set(REQUEST_PRODUCER, producer.wrapping_add(bytes.len() as u32));
        self.tell();
    }

    async fn ends(&self, what: &str, why: u32) {
        until(what, || self.get(ERROR) != error::NONE).await;
        assert_eq!(self.get(ERROR), why, "{what}");
        self.reconnect().await;
    }
}

/// What ends a connection, and what does not. To be done while nobody else uses the ring.
pub async fn break_the_ring() {
    let port = parameter(param::STORE_EVTCHN).expect("a port");
    let page = Given::new(parameter(param::STORE_PFN).expect("a ring")).expect("a page");
    let raw = Raw { page, port: Port::existing(port as u32) };
    until("a server", || raw.get(CONNECTION) == connection::CONNECTED).await;
    let header = |kind, length| Header { kind, request: 1, transaction: 0, length };
    for length in [4097, 1 << 20, u32::MAX] {
        raw.put(header(kind::READ, length).as_bytes());
        raw.ends("a message that is too long", error::PROTOCOL).await;
    }
    for jump in [RING_SIZE + 1, 1 << 31, u32::MAX] {
        raw.set(REQUEST_PRODUCER, jump);
        raw.tell();
        raw.ends("an index of requests that jumps", error::RING_INDEX).await;
    }
    for jump in [1, 1 << 31, u32::MAX - RING_SIZE] {
        raw.set(RESPONSE_CONSUMER, jump);
        raw.put(header(kind::READ, 0).as_bytes());
        raw.ends("an index of responses that jumps", error::RING_INDEX).await;
    }
    // Half a message is waited for, and forgotten with the ring.
    raw.put([header(kind::WRITE, 100).as_bytes(), b"data"].concat().as_slice());
    raw.reconnect().await;
    answers_to_nonsense(&raw).await;
    what_nobody_reads(&raw).await;
    raw.reconnect().await;
    // Its port is the next one's.
    core::mem::forget(raw.port);
    println!("badring: xenstore's ring ok");
}

/// Everything is answered, if only by an error.
async fn answers_to_nonsense(raw: &Raw) {
    for kind in (0..40).chain([1000, 1 << 31, u32::MAX]) {
        for payload in [&b""[..], b"\0\0\0\0", b"xxxx", b"////\xff\xff\xff\xff", b"@x\0\0data"] {
            let header = Header { kind, request: 2, transaction: kind % 3 * 77, length: payload.len() as u32 };
            let before = raw.get(RESPONSE_PRODUCER);
            raw.put([header.as_bytes(), payload].concat().as_slice());
            until("an answer to nonsense", || raw.get(RESPONSE_PRODUCER) != before).await;
            raw.reconnect().await;
        }
    }
}

/// Requests by the hundred and watches that fire, whose answers and events nobody takes: the server waits.
async fn what_nobody_reads(raw: &Raw) {
    let header = |kind, length| Header { kind, request: 3, transaction: 0, length };
    raw.put([header(kind::WATCH, 8).as_bytes(), b"data\0tt\0"].concat().as_slice());
    let mut sent = 0;
    for number in 0..2000 {
        let room = RING_SIZE - raw.get(REQUEST_PRODUCER).wrapping_sub(raw.get(2048));
        if room < 32 {
            break;
        }
        let path = format!("data/{:04}\0xxxxxx", number % 100);
        let message = [header(kind::WRITE, 16).as_bytes(), path.as_bytes()].concat();
        raw.put(&message);
        sent += 1;
        if number % 16 == 0 {
            mote_unikernel::executor::sleep(core::time::Duration::from_millis(1)).await;
        }
    }
    assert!(sent < 2000, "the server takes requests though nobody takes its answers");
}

/// Takes all that there is to have, and as much again.
pub async fn take_all(store: &Store) {
    strange_paths(store).await;
    others_nodes(store).await;
    conflicts(store).await;
    let nodes = count(async |number| store.write(&format!("data/n{number}"), "x").await).await;
    println!("badring: nodes: {nodes:?}");
    store.remove("data").await.expect("it is this guest's");
    let large = [b'v'; 2000];
    let memory = count(async |number| store.write(&format!("attr/m{number}"), large).await).await;
    println!("badring: nodes of 2000 bytes: {memory:?}");
    assert!(store.write("attr/huge", [b'v'; 3000]).await.is_err(), "a value of 3000 bytes");
    for number in 0..memory.0 {
        store.remove(&format!("attr/m{number}")).await.expect("it is there");
    }
    flood_the_driver(store).await;
    let mut watches = Vec::new();
    let taken = count(async |number| store.watch(&format!("feature/w{number}")).await.map(|watch| watches.push(watch)));
    println!("badring: watches: {:?}", taken.await);
}

/// How often something works, and how it fails then.
async fn count(mut what: impl AsyncFnMut(usize) -> Result<(), Error>) -> (usize, Error) {
    for number in 0..5000 {
        if let Err(error) = soon("an answer", what(number)).await {
            return (number, error);
        }
    }
    panic!("there is no end of it");
}

async fn strange_paths(store: &Store) {
    let deep = format!("data{}", "/a".repeat(600));
    println!("badring: 600 levels: {:?}", store.write(&deep, "x").await);
    store.remove("data/a").await.expect("nothing or all of it");
    let long = format!("data/{}", "x".repeat(2500));
    for path in [&*long, "", "/", "//", "data//x", "data/", "../x", "data/\u{7f}", "@releaseDomain", "/local/domain/-1"]
    {
        assert!(store.write(path, "x").await.is_err(), "wrote {path:.40}");
    }
}

async fn others_nodes(store: &Store) {
    for path in ["/local/domain/0/name", "/local/domain/1/data", "/libxl/1", "/tool/xenstored", "/vm", "/x"] {
        assert!(store.write(path, "mine").await.is_err(), "wrote {path}");
        assert!(store.remove(path).await.is_err(), "removed {path}");
    }
    for path in ["/local/domain/1/data", "/libxl/1/type"] {
        assert!(store.read(path).await.is_err(), "read {path}");
    }
}

/// Transactions that are in each other's way, and more than may be open.
async fn conflicts(store: &Store) {
    let tries = core::cell::Cell::new(0);
    let done = store.transaction(async |within| {
        tries.set(tries.get() + 1);
        within.read("data").await?;
        if tries.get() < 4 {
            store.write("data", format!("{}", tries.get())).await?;
        }
        within.write("data", "mine").await
    });
    assert_eq!((done.await, tries.get()), (Ok(()), 4), "conflicts");
    let endless = store.transaction(async |within| {
        within.read("data").await?;
        store.write("data", "others").await?;
        within.write("data", "mine").await
    });
    println!("badring: a transaction that never fits: {:?}", endless.await);
    println!("badring: transactions: {:?}", nested(store, 0).await);
}

/// Opens one transaction in the other until no more may be.
async fn nested(store: &Store, depth: usize) -> (usize, Option<Error>) {
    let deepest = core::cell::Cell::new((depth, None));
    let inner = store.transaction(async |_| {
        if depth < 50 {
            deepest.set(alloc::boxed::Box::pin(nested(store, depth + 1)).await);
        }
        Ok(())
    });
    match inner.await {
        Err(error) => (depth, Some(error)),
        Ok(()) => deepest.get(),
    }
}

/// Writes what the driver domain watches, at more places at once than an ordinary domain can be told of.
async fn flood_the_driver(store: &Store) {
    let part = |number: usize| format!("{number}{}", "x".repeat(90));
    for _ in 0..3 {
        let flood = store.transaction(async |within| {
            for number in 0..216 {
                let path = format!("device/vif/0/state/{}/{}", part(number / 18), part(number % 18));
                within.write(&path, "").await?;
            }
            Ok(())
        });
        println!("badring: a flood for the driver: {:?}", flood.await);
        for number in 0..12 {
            let _ = store.remove(&format!("device/vif/0/state/{}", part(number))).await;
        }
    }
}
