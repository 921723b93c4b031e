//! A client and the server over a page.

use mote_protocols::ring::Broken;
use mote_protocols::xs_wire::page;
use mote_protocols::xs_wire::{connection, error};

use super::*;
use crate::{Client, Connection, Error};

const DOMAIN: u16 = 1;

/// Domain 1 with both ends of its ring.
struct Pair {
    server: Server,
    page: Page,
    connection: Connection,
    client: Client,
}

impl Pair {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        let (mut server, page) = (server_with(limits), Page::new());
        let connection = Connection::new(DOMAIN, &mut server, &page);
        let client = Client::new(&page);
        Self { server, page, connection, client }
    }

    fn serve(&mut self) {
        while self.connection.turn(&mut self.server, &self.page).again {}
    }

    /// Both ends take turns until neither has anything to do.
    fn run(&mut self) -> Result<(), Broken> {
        while self.client.turn(&self.page)? | self.connection.turn(&mut self.server, &self.page).notify {}
        Ok(())
    }

    fn ask(&mut self, kind: u32, parts: &[&[u8]]) -> Result<Vec<u8>, Error> {
        let number = self.client.send(kind, 0, parts).unwrap();
        self.run().unwrap();
        self.client.answer(number).unwrap()
    }

    fn error(&self) -> u32 {
        self.page.load(page::ERROR)
    }
}

#[test]
fn messages_of_any_length_pass() {
    let mut pair = Pair::new();
    for length in (0..2024).step_by(7) {
        let value: Vec<u8> = (0..length).map(|byte| byte as u8).collect();
        assert_eq!(pair.ask(kind::WRITE, &[b"a\0", &value]), Ok(b"OK\0".to_vec()));
        assert_eq!(pair.ask(kind::READ, &[b"a\0"]), Ok(value));
    }
    assert_eq!(pair.ask(kind::READ, &[b"b\0"]), Err(Error::Missing));
    assert!(pair.client.send(kind::WRITE, 0, &[&[0; 4097]]).is_err());
}

#[test]
fn indices_wrap() {
    let mut pair = Pair::new();
    for offset in [page::REQUEST_CONSUMER, page::REQUEST_PRODUCER, page::RESPONSE_CONSUMER, page::RESPONSE_PRODUCER] {
        pair.page.store(offset, u32::MAX - 100);
    }
    pair.connection.pretend(u32::MAX - 100);
    pair.client = Client::new(&pair.page);
    for number in 0..50 {
        let value = format!("value {number}");
        assert_eq!(pair.ask(kind::WRITE, &[b"a\0", value.as_bytes()]), Ok(b"OK\0".to_vec()));
        assert_eq!(pair.ask(kind::READ, &[b"a\0"]), Ok(value.into_bytes()));
    }
}

#[test]
fn many_requests_are_under_way_at_once() {
    let mut pair = Pair::new();
    let send = |number| {
        let value = format!("{number}");
        pair.client.send(kind::WRITE, 0, &[b"n/", value.as_bytes(), b"\0", value.as_bytes()]).unwrap()
    };
    let numbers: Vec<u32> = (0..100).map(send).collect();
    pair.run().unwrap();
    assert!(numbers.iter().all(|number| pair.client.answer(*number) == Some(Ok(b"OK\0".to_vec()))));
    assert_eq!(pair.server.usage(DOMAIN).nodes, 102);
}

#[test]
fn events_reach_the_watch_with_their_token() {
    let mut pair = Pair::new();
    pair.ask(kind::WATCH, &[b"a\0one\0"]).unwrap();
    pair.ask(kind::WATCH, &[b"a/b\0two\0"]).unwrap();
    assert_eq!(pair.client.event(b"one").unwrap().path, "a");
    assert_eq!(pair.client.event(b"two").unwrap().path, "a/b");
    write(&mut pair.server, 0, "/local/domain/1/a/b", "").unwrap();
    assert!(pair.server.ready().any(|name| name == crate::Name::Domain(DOMAIN)));
    pair.run().unwrap();
    assert_eq!(pair.client.event(b"one").unwrap().path, "a/b");
    pair.client.forget_events(b"two");
    assert_eq!(pair.client.event(b"two"), None);
    assert!(pair.server.ready().next().is_none());
}

#[test]
fn an_index_that_jumps_ends_the_connection() {
    for (offset, value) in [
        (page::REQUEST_PRODUCER, 1025),
        (page::REQUEST_PRODUCER, u32::MAX),
        (page::RESPONSE_CONSUMER, 1),
        (page::RESPONSE_CONSUMER, 0x8000_0000),
    ] {
        let mut pair = Pair::new();
        pair.ask(kind::WATCH, &[b"a\0t\0"]).unwrap();
        let done = pair.page.load(offset);
        pair.page.store(offset, done.wrapping_add(value));
        write(&mut pair.server, 0, "/local/domain/1/a", "").unwrap();
        pair.serve();
        assert!(pair.connection.is_broken());
        assert_eq!((pair.error(), pair.server.usage(DOMAIN).watches), (error::RING_INDEX, 0));
        assert_eq!(pair.client.turn(&pair.page), Err(Broken));
    }
}

#[test]
fn a_payload_that_is_too_long_ends_the_connection() {
    let mut pair = Pair::new();
    pair.page.store(page::REQUESTS + 12, 4097);
    pair.page.store(page::REQUEST_PRODUCER, 16);
    pair.serve();
    assert_eq!((pair.connection.is_broken(), pair.error()), (true, error::PROTOCOL));
    pair.page.store(page::REQUEST_PRODUCER, 32);
    assert_eq!(pair.connection.turn(&mut pair.server, &pair.page), crate::Turn::default());
}

#[test]
fn a_domain_may_begin_anew() {
    let mut pair = Pair::new();
    pair.ask(kind::WATCH, &[b"a\0t\0"]).unwrap();
    pair.page.store(page::REQUEST_PRODUCER, 77_777);
    pair.serve();
    assert!(pair.connection.is_broken());
    pair.page.store(page::CONNECTION, connection::RECONNECT);
    assert!(Client::is_unserved(&pair.page));
    pair.serve();
    assert_eq!((pair.page.load(page::CONNECTION), pair.error()), (connection::CONNECTED, error::NONE));
    pair.client = Client::new(&pair.page);
    assert_eq!(pair.ask(kind::MKDIR, &[b"a\0"]), Ok(b"OK\0".to_vec()));
    assert_eq!(pair.client.event(b"t"), None);
}

#[test]
fn who_takes_no_answers_is_asked_nothing_more() {
    let mut pair = Pair::new();
    for _ in 0..10_000 {
        pair.client.send(kind::GET_DOMAIN_PATH, 0, &[b"1\0"]).unwrap();
    }
    let (responses, before) = (pair.page.load(page::RESPONSE_CONSUMER), pair.page.load(page::REQUEST_CONSUMER));
    for _ in 0..1000 {
        // The client takes, but the page says that it does not.
        pair.client.turn(&pair.page).unwrap();
        pair.page.store(page::RESPONSE_CONSUMER, responses);
        pair.serve();
    }
    let taken = pair.page.load(page::REQUEST_CONSUMER) - before;
    assert!(taken < 1024 * 2, "{taken}");
    assert!(!pair.connection.is_broken());
}

#[test]
fn who_lets_events_wait_without_end_is_told_of_the_rest_at_once() {
    let mut pair = Pair::new();
    pair.ask(kind::WATCH, &[b"/local/domain/1\0t\0"]).unwrap();
    while pair.client.event(b"t").is_some() {}
    for number in 0..5000 {
        write(&mut pair.server, 0, &format!("/local/domain/1/n{number}"), "").unwrap();
        ask(&mut pair.server, 0, kind::RM, &format!("/local/domain/1/n{number}\0")).unwrap();
        pair.serve();
    }
    assert!(!pair.connection.is_broken());
    let memory = pair.server.usage(DOMAIN).memory;
    assert!(memory < Limits::default().queue + (16 << 10), "{memory}");
    let mut last = None;
    for _ in 0..5000 {
        pair.client.turn(&pair.page).unwrap();
        pair.serve();
        last = core::iter::from_fn(|| pair.client.event(b"t")).last().or(last);
    }
    assert_eq!(last.map(|event| event.path).as_deref(), Some("/local/domain/1"));
    assert!(pair.server.ready().next().is_none());
}

#[test]
fn a_turn_has_an_end() {
    let mut pair = Pair::with(Limits { outstanding: 1000, ..Limits::default() });
    // Requests without a payload: 64 fit.
    (0..256).for_each(|word| pair.page.store(page::REQUESTS + word * 4, 0));
    pair.page.store(page::REQUEST_PRODUCER, 1024);
    let turn = pair.connection.turn(&mut pair.server, &pair.page);
    assert!(turn.again && turn.notify);
    assert_eq!(pair.page.load(page::REQUEST_CONSUMER), 256);
}

/// A client sends no event for requests behind some that nobody seems to have taken.
#[test]
fn what_is_asked_while_an_answer_is_hidden_is_answered() {
    let mut pair = Pair::new();
    let first = pair.client.send(kind::WRITE, 0, &[b"a\0", b"1"]).unwrap();
    pair.client.turn(&pair.page).unwrap();
    assert!(pair.connection.prepare(&mut pair.server, &pair.page).notify);
    let second = pair.client.send(kind::READ, 0, &[b"a\0"]).unwrap();
    pair.client.turn(&pair.page).unwrap();
    assert!(pair.connection.show(&pair.page), "there is a request");
    pair.serve();
    pair.client.turn(&pair.page).unwrap();
    assert!(pair.client.answer(first).is_some());
    assert_eq!(pair.client.answer(second), Some(Ok(b"1".to_vec())));
}
