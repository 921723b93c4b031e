//! Services by their names: who connects to this domain's port for them says by a request's `Host` whom he wants, and is passed on to that
//! service's address, by the network, as if he had called there. A connection stays with the host of its first request.
//!
//! Nothing but the head of that request is looked at. Connections, bytes that are kept and the time that a client may take are bounded.

use alloc::vec;
use core::cell::{Cell, RefCell};
use core::net::Ipv4Addr;
use core::pin::pin;
use core::time::Duration;

use mote_builder::config::Vif;
use mote_protocols::service::Terms;
use mote_unikernel::executor::{Either, Spawner, either, sleep};
use mote_unikernel::net::tcp::Buffers;
use mote_unikernel::net::{Listener, Network, Stack, Stream};

use crate::toolstack::Toolstack;

/// The port.
const PORT: u16 = 8000;
/// Connections that are passed on at a time, such as may wait for that, and such as may come at the same moment.
const CONNECTIONS: usize = 16;
const BACKLOG: usize = 12;
const AT_ONCE: usize = 8;
/// Of a connection's two ends: what a client sends is short as a rule.
const OUTSIDE: Buffers = Buffers { receive: 2 << 10, send: 4 << 10 };
const INSIDE: Buffers = Buffers { receive: 4 << 10, send: 2 << 10 };
/// Bytes of a request's head, and that are passed on at once.
const HEAD: usize = 2048;
const PIECE: usize = 2048;
/// How long a client may take for a request's head, and either end for a piece of what it is sent.
const HASTE: Duration = Duration::from_secs(10);
/// How long nothing may come from the service, besides the time that its callers wait for a machine.
const IDLE: Duration = Duration::from_secs(30);

/// Who is to answer.
struct Target {
    address: Ipv4Addr,
    terms: Terms,
}

/// A place for a connection: from which client to which service it is.
type Place = Cell<Option<(Ipv4Addr, Ipv4Addr)>>;

/// Serves the port as long as there is a network.
pub fn open<'a>(network: &'static Network, toolstack: &'a RefCell<Toolstack>, spawner: &Spawner<'a>) {
    let Ok(listener) = Listener::bind(network.stack(), PORT, OUTSIDE, BACKLOG) else { return };
    let listener = &*alloc::boxed::Box::leak(alloc::boxed::Box::new(listener));
    listener.be_ready_for(AT_ONCE);
    let places: &'static [Place] = vec![Cell::new(None); CONNECTIONS].leak();
    for place in places {
        spawner.spawn(serve(listener, network.stack(), toolstack, places, place));
    }
}

/// Passes on one connection after the other, each in its `place` among all.
async fn serve(
    listener: &Listener<'_>,
    stack: &Stack,
    toolstack: &RefCell<Toolstack>,
    places: &[Place],
    place: &Place,
) {
    loop {
        let client = listener.accept().await;
        let find = |host: &str| find(&toolstack.borrow(), host);
        if let Err(refusal) = pass_on(&client, stack, find, places, place).await {
            let _ = send(&client, refusal.as_bytes()).await;
        }
        place.set(None);
        client.close();
    }
}

/// The service of this name. Names are compared as DNS does.
fn find(toolstack: &Toolstack, host: &str) -> Option<Target> {
    let has_name = |vif: &&Vif| vif.host.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(host));
    let vif = toolstack.domains.iter().find_map(|(_, domain)| domain.definition.vifs.iter().find(has_name))?;
    Some(Target { address: vif.ip?.into(), terms: vif.service? })
}

/// Passes on a client's connection until it ends. If that does not even begin, there is something to say to the client.
async fn pass_on(
    client: &Stream<'_>,
    stack: &Stack,
    find: impl Fn(&str) -> Option<Target>,
    places: &[Place],
    place: &Place,
) -> Result<(), &'static str> {
    let mut head = vec![0; HEAD];
    let read = async {
        let mut filled = 0;
        loop {
            let room = head.get_mut(filled..).unwrap_or_default();
            filled += match client.receive(room).await {
                Ok(length @ 1..) => length,
                _ => return Err(""),
            };
            match mote_webserver::host(head.get(..filled).unwrap_or_default()) {
                Ok(Some(host)) => return Ok((find(host), filled)),
                Ok(None) if filled < HEAD => {}
                Ok(None) | Err(431) => return Err(TOO_LONG),
                Err(_) => return Err(BAD),
            }
        }
    };
    let (target, filled) = match either(read, sleep(HASTE)).await {
        Either::First(read) => read?,
        Either::Second(()) => return Err(SLOW),
    };
    let Target { address, terms } = target.ok_or(UNKNOWN)?;
    let from = client.peer().map(|(client, _)| (client, address));
    let others = places.iter().filter(|other| other.get() == from).count();
    if from.is_none() || (terms.per_client > 0 && others >= terms.per_client.into()) {
        return Err(BUSY);
    }
    place.set(from);
    let idle = IDLE + Duration::from_millis(terms.patience.into());
    let service = match either(Stream::connect(stack, address, terms.port, INSIDE), sleep(HASTE)).await {
        Either::First(Ok(service)) => service,
        _ => return Err(BUSY),
    };
    // A machine takes nothing before it is there.
    service.set_patience(idle);
    let begun = Cell::new(false);
    {
        let up = pin!(async {
            send(&service, head.get(..filled).unwrap_or_default()).await?;
            head.clear();
            copy(client, &service, None, &Cell::new(false)).await?;
            service.finish();
            Some(())
        });
        let mut down = pin!(copy(&service, client, Some(idle), &begun));
        // Who has said all may still listen.
        if let Either::First(Some(())) = either(up, &mut down).await {
            let _ = down.await;
        }
    }
    service.close();
    if begun.get() { Ok(()) } else { Err(BUSY) }
}

/// Passes on what comes from one end to the other, until there is no more or nothing comes for so long. `begun` says that something came.
async fn copy(from: &Stream<'_>, to: &Stream<'_>, idle: Option<Duration>, begun: &Cell<bool>) -> Option<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let received = match idle {
            Some(idle) => match either(from.receive(&mut piece), sleep(idle)).await {
                Either::First(received) => received,
                Either::Second(()) => return None,
            },
            None => from.receive(&mut piece).await,
        };
        match received.ok()? {
            0 => return Some(()),
            length => send(to, piece.get(..length)?).await?,
        }
        begun.set(true);
    }
}

/// Sends all of it, unless the other side takes too long.
async fn send(to: &Stream<'_>, mut bytes: &[u8]) -> Option<()> {
    while !bytes.is_empty() {
        let sent = match either(to.send(bytes), sleep(HASTE)).await {
            Either::First(Ok(sent)) => sent,
            _ => return None,
        };
        bytes = bytes.get(sent..)?;
    }
    Some(())
}

const BAD: &str = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n\
                   this is no HTTP request with one Host\n";
const UNKNOWN: &str = "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n\
                       there is no service of this name: no interface has it as mote,host\n";
const SLOW: &str = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n";
const TOO_LONG: &str = "HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n\r\n";
const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n\
                    the service takes no more connections now\n";
