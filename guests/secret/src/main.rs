//! A service whose clones do what they are asked for: keep a secret, fail, or do what no clone may.
//!
//! | path | what the clone does |
//! |---|---|
//! | `/secret/HEX` | counts the secrets in its memory that are like this one but not it, writes it to all of its heap and to its stack, and answers |
//! | `/large/KIB` | answers with so much |
//! | `/take/KIB` | writes to so much memory |
//! | `/crash`, `/leave`, `/spin`, `/sleep` | fails, switches itself off, or never answers |
//! | `/spoil/HEX` | has its rings say that so much was sent |
//!
//! Secrets are alike if all but their last 16 bits are the same: so none of them stands in this program.

#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::{Cell, OnceCell};
use core::hint::black_box;
use core::time::Duration;

use mote_unikernel::executor::{self, Executor};
use mote_unikernel::net::tcp::Buffers;
use mote_unikernel::net::{Address, Fixed, Listener, Network, Trouble, http};
use mote_unikernel::xen::store::Store;
use mote_unikernel::{Machine, inspect, power, println};
use mote_webserver::{Handler, Limits, Request, Response};

mote_unikernel::entry!(main);

const PORT: u16 = 80;
const BUFFERS: Buffers = Buffers { receive: 2048, send: 8192 };
const LIMITS: Limits = Limits {
    head: 2048,
    body: 1024,
    idle: Duration::from_secs(60),
    request: Duration::from_secs(60),
    piece: Duration::from_secs(60),
    requests: u32::MAX,
};

fn main(machine: Machine) {
    let network = OnceCell::new();
    executor::run(async {
        match find(&machine).await {
            Ok(found) => drop(network.set(found)),
            Err(trouble) => println!("secret: {trouble}"),
        }
    });
    let Some(network) = network.get() else { return };
    let Ok(listener) = Listener::bind(network.stack(), PORT, BUFFERS, 4) else { return };
    let site = Site { network, domain: Cell::new(0) };

    let mut executor = Executor::new();
    executor.spawn(network.run());
    executor.spawn(network.follow());
    executor.spawn(async {
        println!("ready");
        match network.snapshot().await {
            Ok(identity) => {
                site.domain.set(identity.domain);
                http::answer_and_vanish(network, &listener, &site, &LIMITS).await
            }
            Err(error) => println!("secret: cannot become a template: error {}", error.number()),
        }
    });
    executor.run();
}

async fn find(machine: &Machine) -> Result<Network, Trouble> {
    let store = Store::connect().await?;
    let fixed = machine.argument("ip").and_then(|ip| Fixed::read(ip, machine.argument("gateway"), None));
    Network::open(&store, machine, Address::Fixed(fixed.expect("ip="))).await
}

/// What is served.
struct Site<'a> {
    network: &'a Network,
    domain: Cell<u16>,
}

impl Handler for Site<'_> {
    async fn handle(&self, request: Request<'_>) -> Response {
        let mut parts = request.path().split('/').skip(1);
        let (what, number) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let kib = number.parse::<usize>().unwrap_or(0);
        match what {
            "secret" => Response::text(200, self.keep(u64::from_str_radix(number, 16).unwrap_or(0))),
            "large" => Response::text(200, large(kib)),
            "take" => Response::text(200, format!("{} KiB\n", take(kib))),
            "crash" => panic!("as it was asked to"),
            "leave" => power::shutdown(),
            "spin" => spin(),
            "spoil" => {
                self.network.spoil(u32::from_str_radix(number, 16).unwrap_or(0));
                // The next thing that is sent would put it right.
                spin()
            }
            "sleep" => core::future::pending().await,
            _ => Response::text(404, "Nothing is here.\n"),
        }
    }
}

impl Site<'_> {
    /// The answer has the secret in it too.
    fn keep(&self, secret: u64) -> String {
        let is_others = |word: u64| word >> 16 == secret >> 16 && word != secret;
        let found = inspect::count(is_others);
        let kept = fill_heap(secret);
        fill_stack(secret, 8);
        let own = inspect::count(|word| word == secret);
        drop(black_box(kept));
        let domain = self.domain.get();
        format!("{{\"domain\":{domain},\"secret\":\"{secret:016x}\",\"others\":{found},\"own\":{own}}}\n")
    }
}

/// Writes a secret to all of the heap that there is, but for what an answer takes.
fn fill_heap(secret: u64) -> Vec<Vec<u64>> {
    const WORDS: usize = 512;
    const ROOM: usize = 8;
    let mut kept = Vec::with_capacity(1024);
    loop {
        let mut part = Vec::new();
        if kept.len() == kept.capacity() || part.try_reserve_exact(WORDS).is_err() {
            break;
        }
        part.resize(WORDS, secret);
        kept.push(part);
    }
    // They keep what was written to them.
    kept.truncate(kept.len().saturating_sub(ROOM));
    kept
}

/// Writes it below itself.
fn fill_stack(secret: u64, depth: usize) {
    let words = black_box([secret; 32]);
    if depth > 0 {
        fill_stack(words[0], depth - 1);
    }
    black_box(&words);
}

fn spin() -> ! {
    loop {
        core::hint::spin_loop();
    }
}

fn large(kib: usize) -> Vec<u8> {
    (0..kib * 1024).map(|at| b'a' + (at / 1024 + at) as u8 % 26).collect()
}

fn take(kib: usize) -> usize {
    let taken = vec![0x55_u8; kib * 1024];
    black_box(&taken).len() / 1024
}
