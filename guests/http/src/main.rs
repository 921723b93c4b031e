//! A web server: a page, its parts, and `/api/info`, which says in JSON who answers.
//!
//! Arguments: `ip=10.0.2.20/24 gateway=10.0.2.2` for a fixed address, else one comes by DHCP; `name=` in place of the domain's own;
//! `patience=` for how many seconds it waits for the rest of a request.

#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use core::cell::Cell;
use core::time::Duration;

use mote_unikernel::net::site::{self, Settings};
use mote_unikernel::net::tcp::Buffers;
use mote_unikernel::xen::store::Store;
use mote_unikernel::{Machine, time};
use mote_webserver::files::{self, File};
use mote_webserver::json::Text;
use mote_webserver::{Handler, Limits, Request, Response};

mote_unikernel::entry!(main);

/// A request is small, and the beginnings of the buffers lie in few pages. An answer that fits is written in one go.
const SETTINGS: Settings = Settings {
    port: 80,
    connections: 24,
    backlog: 32,
    buffers: Buffers { receive: 1024, send: 5120 },
    limits: Limits {
        head: 2048,
        body: 1024,
        idle: Duration::from_secs(10),
        request: Duration::from_secs(5),
        piece: Duration::from_secs(10),
        requests: u32::MAX,
    },
};

const FILES: &[File] = &[
    File::new("/", "text/html; charset=utf-8", include_bytes!("../files/index.html")),
    File::new("/style.css", "text/css", include_bytes!("../files/style.css")),
    File::new("/mote.svg", "image/svg+xml", include_bytes!("../files/mote.svg")),
];

fn main(machine: Machine) {
    let prepare = async |store: &Store| Site::find(&machine, store).await;
    let mut settings = SETTINGS;
    if let Some(seconds) = machine.number("patience") {
        (settings.limits.idle, settings.limits.request) = (Duration::from_secs(seconds), Duration::from_secs(seconds));
    }
    site::run(&machine, &settings, prepare, |site, clone| site.domain.set(Some(clone.domain)));
}

/// What is served.
struct Site {
    name: String,
    /// None where nobody says it.
    domain: Cell<Option<u16>>,
    requests: Cell<u64>,
}

impl Handler for Site {
    async fn handle(&self, request: Request<'_>) -> Response {
        self.requests.set(self.requests.get() + 1);
        match request.path() {
            "/api/info" => Response::json(200, self.info()).with("Cache-Control", "no-store"),
            _ => files::answer(FILES, &request).unwrap_or_else(|| Response::text(404, "Nothing is here.\n")),
        }
    }
}

impl Site {
    /// Asks xenstore who this is.
    async fn find(machine: &Machine, store: &Store) -> Self {
        let name = match machine.argument("name") {
            Some(name) => name.to_owned(),
            None => store.read_text("name").await.unwrap_or_default(),
        };
        let domain = store.read_text("domid").await.ok().and_then(|domain| domain.parse().ok());
        Self { name, domain: Cell::new(domain), requests: Cell::new(0) }
    }

    fn info(&self) -> String {
        let (name, domain, requests) = (Text(&self.name), self.domain.get().unwrap_or(0), self.requests.get());
        let uptime = time::uptime().as_micros() as u64;
        format!("{{\"name\":{name},\"domain\":{domain},\"uptime_us\":{uptime},\"requests\":{requests}}}\n")
    }
}
