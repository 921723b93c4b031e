//! A web server: a page, its parts, and `/api/info`, which says in JSON who answers.
//!
//! Arguments: `ip=10.0.2.20/24 gateway=10.0.2.2` for a fixed address, else one comes by DHCP; `name=` in place of the domain's own.

#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use core::cell::{Cell, OnceCell};
use core::time::Duration;

use mote_unikernel::executor::{self, Executor};
use mote_unikernel::net::tcp::Buffers;
use mote_unikernel::net::{Address, Fixed, Listener, Network, Trouble, http};
use mote_unikernel::xen::store::Store;
use mote_unikernel::{Machine, println, time};
use mote_webserver::files::{self, File};
use mote_webserver::json::Text;
use mote_webserver::{Handler, Limits, Request, Response};

mote_unikernel::entry!(main);

const PORT: u16 = 80;
/// Connections that are served at a time, and such as may wait for that.
const CONNECTIONS: usize = 24;
const BACKLOG: usize = 32;
/// A request is small. An answer that fits is written in one go.
const BUFFERS: Buffers = Buffers { receive: 2048, send: 6144 };
const LIMITS: Limits = Limits {
    head: 2048,
    body: 1024,
    idle: Duration::from_secs(10),
    request: Duration::from_secs(5),
    piece: Duration::from_secs(10),
    requests: u32::MAX,
};

const FILES: &[File] = &[
    File::new("/", "text/html; charset=utf-8", include_bytes!("../files/index.html")),
    File::new("/style.css", "text/css", include_bytes!("../files/style.css")),
    File::new("/mote.svg", "image/svg+xml", include_bytes!("../files/mote.svg")),
];

fn main(machine: Machine) {
    let (site, network) = (OnceCell::new(), OnceCell::new());
    executor::run(async {
        match find(&machine).await {
            Ok(found) => {
                let _ = (site.set(found.0), network.set(found.1));
            }
            Err(trouble) => println!("http: {trouble}"),
        }
    });
    let (Some(site), Some(network)) = (site.get(), network.get()) else { return };
    let Ok(listener) = Listener::bind(network.stack(), PORT, BUFFERS, BACKLOG) else { return };

    let mut executor = Executor::new();
    let (spawner, listener) = (executor.spawner(), &listener);
    executor.spawn(network.run());
    executor.spawn(network.follow());
    executor.spawn(async move {
        let [a, b, c, d] = network.stack().configured().await.address().octets();
        println!("ready: http://{a}.{b}.{c}.{d}:{PORT}/");
        if !network.is_service().await {
            return (0..CONNECTIONS).for_each(|_| spawner.spawn(http::answer(listener, site, &LIMITS)));
        }
        match network.snapshot().await {
            Ok(identity) => {
                site.domain.set(Some(identity.domain));
                http::answer_and_vanish(network, listener, site, &LIMITS).await
            }
            Err(error) => println!("http: cannot become a template: error {}", error.number()),
        }
    });
    executor.run();
}

/// Asks xenstore who and where this is.
async fn find(machine: &Machine) -> Result<(Site, Network), Trouble> {
    let store = Store::connect().await?;
    let network = Network::open(&store, machine, address(machine)).await?;
    let name = match machine.argument("name") {
        Some(name) => name.to_owned(),
        None => store.read_text("name").await.unwrap_or_default(),
    };
    let domain = store.read_text("domid").await.ok().and_then(|domain| domain.parse().ok());
    Ok((Site { name, domain: Cell::new(domain), requests: Cell::new(0) }, network))
}

/// The address that the arguments give, if they give one.
fn address(machine: &Machine) -> Address {
    let fixed = machine.argument("ip").and_then(|ip| Fixed::read(ip, machine.argument("gateway"), None));
    fixed.map_or(Address::Dhcp, Address::Fixed)
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
    fn info(&self) -> String {
        let (name, domain, requests) = (Text(&self.name), self.domain.get().unwrap_or(0), self.requests.get());
        let uptime = time::uptime().as_micros() as u64;
        format!("{{\"name\":{name},\"domain\":{domain},\"uptime_us\":{uptime},\"requests\":{requests}}}\n")
    }
}
