//! The API on the network: the control domain's own interface, and connections that are served there.

mod observe;
mod toolstack;

use alloc::boxed::Box;
use core::cell::RefCell;
use core::ffi::CStr;
use core::time::Duration;

use mote_api::{Api, MAX_BODY, Token};
use mote_unikernel::executor::{self, Spawner};
use mote_unikernel::net::tcp::Buffers;
use mote_unikernel::net::{Address, Fixed, Listener, Network, http};
use mote_unikernel::time::Instant;
use mote_unikernel::{Machine, println};
use mote_webserver::{Handler, Limits, Request, Response};

use crate::hosts;
use crate::toolstack::Toolstack;
pub use observe::nanoseconds;

const PORT: u16 = 80;
const ADDRESS: &str = "10.0.2.10/24";
const GATEWAY: &str = "10.0.2.2";
/// Connections that are served at a time, and such as may wait for that.
const CONNECTIONS: usize = 4;
const BACKLOG: usize = 4;
/// What comes may be a piece of an image; what goes is short as a rule.
const BUFFERS: Buffers = Buffers { receive: 16 << 10, send: 8 << 10 };
/// How long an answer may take to its client.
const MOMENT: Duration = Duration::from_millis(200);
const LIMITS: Limits = Limits {
    head: 2048,
    body: MAX_BODY,
    idle: Duration::from_secs(5),
    request: Duration::from_secs(10),
    piece: Duration::from_secs(5),
    requests: u32::MAX,
};

/// Waits until who asked a moment ago, perhaps for the end of the last domain, has its answer.
pub async fn farewell(toolstack: &RefCell<Toolstack>) {
    let asked = toolstack.borrow().asked;
    if let Some(rest) = asked.and_then(|asked| MOMENT.checked_sub(asked.elapsed())) {
        executor::sleep(rest).await;
    }
}

/// Ends this domain as any mistake in it would, when who asked for that has the answer.
async fn fail() {
    executor::sleep(MOMENT).await;
    panic!("somebody asked for it");
}

/// Has the API served for whoever shows the token of the domain's own tree, as soon as there is a network.
pub async fn open<'a>(machine: Machine, toolstack: &'a RefCell<Toolstack>, spawner: Spawner<'a>) {
    let Some(token) = token(&machine) else { return println!("no API: /chosen/mote,api-token is missing") };
    let client = toolstack.borrow_mut().store.client();
    let Ok(store) = client else { return println!("no API: no port is left") };
    let Some(address) = Fixed::read(ADDRESS, Some(GATEWAY), None) else { return };
    let network = match Network::open(&store, &machine, Address::Fixed(address)).await {
        // For as long as the machine is on.
        Ok(network) => &*Box::leak(Box::new(network)),
        Err(trouble) => return println!("no API: {trouble}"),
    };
    let Ok(listener) = Listener::bind(network.stack(), PORT, BUFFERS, BACKLOG) else { return };
    let listener = &*Box::leak(Box::new(listener));
    spawner.spawn(network.run());
    spawner.spawn(network.follow());
    hosts::open(network, toolstack, &spawner);
    toolstack.borrow_mut().works.note_ready();
    let site = &*Box::leak(Box::new(Site { api: Api::new(token), toolstack, spawner: spawner.clone() }));
    for _ in 0..CONNECTIONS {
        spawner.spawn(http::answer(listener, site, &LIMITS));
    }
}

/// What a client must know.
fn token(machine: &Machine) -> Option<Token> {
    let token = CStr::from_bytes_until_nul(machine.chosen("mote,api-token")?).ok()?;
    Some(Token::new(token.to_str().ok()?))
}

struct Site<'a> {
    api: Api,
    toolstack: &'a RefCell<Toolstack>,
    spawner: Spawner<'a>,
}

impl Handler for Site<'_> {
    async fn handle(&self, request: Request<'_>) -> Response {
        let toolstack = &mut *self.toolstack.borrow_mut();
        toolstack.asked = Some(Instant::now());
        toolstack.count_ends();
        let response = self.api.handle(&request, toolstack);
        if core::mem::take(&mut toolstack.is_to_fail) {
            self.spawner.spawn(fail());
        }
        response
    }
}
