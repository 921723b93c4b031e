//! The server and the client, driven as domains drive them.

mod hostile;
mod libxl;
mod permissions;
mod protocol;
mod quotas;
mod random;
mod resumed;
mod rings;
mod saved;
mod transactions;
mod watches;

use core::sync::atomic::{AtomicU32, Ordering};
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use mote_protocols::ring::Shared;
use mote_protocols::xs_wire::{Header, kind};
use zerocopy::FromBytes;

use crate::{Limits, Server};

/// A page for tests.
struct Page(Vec<AtomicU32>);

impl Page {
    fn new() -> Self {
        Self((0..1024).map(|_| AtomicU32::new(0)).collect())
    }

    fn load(&self, offset: usize) -> u32 {
        self.0[offset / 4].load(Ordering::Relaxed)
    }

    fn store(&self, offset: usize, value: u32) {
        self.0[offset / 4].store(value, Ordering::Relaxed);
    }
}

impl Shared for Page {
    fn word(&self, offset: usize) -> &AtomicU32 {
        &self.0[offset / 4]
    }
}

/// A server with domains 1 to 4, each with a home that it owns.
fn server() -> Server {
    server_with(Limits::default())
}

fn server_with(limits: Limits) -> Server {
    let mut server = Server::new(limits);
    server.introduce(0);
    for domain in 1..=4 {
        server.introduce(domain);
        ask(&mut server, 0, kind::MKDIR, &format!("/local/domain/{domain}\0")).unwrap();
        ask(&mut server, 0, kind::SET_PERMS, &format!("/local/domain/{domain}\0n{domain}\0")).unwrap();
    }
    (0..=4).for_each(|domain| drop(events(&mut server, domain)));
    server
}

fn ask(server: &mut Server, domain: u16, kind: u32, payload: &str) -> Result<String, String> {
    ask_in(server, domain, 0, kind, payload)
}

/// The answer to a request as text, its last NUL cut off; events that were waiting stay.
fn ask_in(server: &mut Server, domain: u16, transaction: u32, kind: u32, payload: &str) -> Result<String, String> {
    let header = Header { kind, request: 77, transaction, length: payload.len() as u32 };
    server.handle(domain, header, payload.as_bytes());
    let (mut answer, mut others) = (None, Vec::new());
    while let Some(message) = server.take_message(domain) {
        let (header, payload) = Header::read_from_prefix(&message).unwrap();
        assert_eq!(header.length as usize, payload.len());
        let text = String::from_utf8_lossy(payload).into_owned();
        match header.kind {
            kind::WATCH_EVENT => others.push(text),
            kind::ERROR => answer = Some(Err(text.trim_end_matches('\0').to_string())),
            _ => answer = Some(Ok(text.strip_suffix('\0').unwrap_or(&text).to_string())),
        }
        assert!(header.kind == kind::WATCH_EVENT || (header.request, header.transaction) == (77, transaction));
    }
    EVENTS.with_borrow_mut(|events| events.entry(domain).or_default().extend(others));
    answer.expect("every request has an answer")
}

std::thread_local! {
    /// Events that came together with answers.
    static EVENTS: std::cell::RefCell<std::collections::BTreeMap<u16, Vec<String>>> = const {
        std::cell::RefCell::new(std::collections::BTreeMap::new())
    };
}

/// All events that a domain has not taken yet, each as `path token`, sorted.
fn events(server: &mut Server, domain: u16) -> Vec<String> {
    let mut all = EVENTS.with_borrow_mut(|events| events.remove(&domain)).unwrap_or_default();
    while let Some(message) = server.take_message(domain) {
        let (header, payload) = Header::read_from_prefix(&message).unwrap();
        assert_eq!(header.kind, kind::WATCH_EVENT);
        all.push(String::from_utf8_lossy(payload).into_owned());
    }
    all.sort();
    all.iter().map(|event| event.trim_end_matches('\0').replace('\0', " ")).collect()
}

fn write(server: &mut Server, domain: u16, path: &str, value: &str) -> Result<String, String> {
    ask(server, domain, kind::WRITE, &format!("{path}\0{value}"))
}

fn read(server: &mut Server, domain: u16, path: &str) -> Result<String, String> {
    ask(server, domain, kind::READ, &format!("{path}\0"))
}

fn error<T>(name: &str) -> Result<T, String> {
    Err(name.to_string())
}
