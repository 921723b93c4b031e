//! A web server as a whole program, always there or a service.

use core::cell::OnceCell;

use mote_webserver::{Handler, Limits};

use super::http::{answer, answer_and_vanish};
use super::tcp::Buffers;
use super::{Address, Fixed, Listener, Network, Trouble};
use crate::executor::{self, Executor};
use crate::template::Identity;
use crate::xen::store::Store;
use crate::{Machine, println};

/// How a web server serves.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Its port.
    pub port: u16,
    /// Connections that are served at a time.
    pub connections: usize,
    /// Connections that may be on their way to that.
    pub backlog: usize,
    /// What each of them keeps.
    pub buffers: Buffers,
    /// What is asked of clients.
    pub limits: Limits,
}

/// Serves on the first network interface for ever. The address is what the arguments say (`ip=10.0.2.20/24 gateway=10.0.2.2`), else one
/// comes by DHCP. `prepare` finds out what there is to know from xenstore. Where the configuration makes the domain a service, it becomes a
/// template, and each clone, which `launched` hears of first, serves the connection for which it is there.
pub fn run<H: Handler>(
    machine: &Machine,
    settings: &Settings,
    prepare: impl AsyncFnOnce(&Store) -> H,
    launched: impl FnOnce(&H, &Identity),
) {
    let (handler, network) = (OnceCell::new(), OnceCell::new());
    executor::run(async {
        match open(machine, prepare).await {
            Ok(found) => {
                let _ = (handler.set(found.0), network.set(found.1));
            }
            Err(trouble) => println!("http: {trouble}"),
        }
    });
    let (Some(handler), Some(network)) = (handler.get(), network.get()) else { return };
    let Settings { port, connections, backlog, buffers, ref limits } = *settings;
    let bound = OnceCell::new();

    // A clone has its own of each page that it writes to: what is written while it serves is allocated first, the buffers, whose beginnings
    // alone are used, come last.
    let mut executor = Executor::new();
    let (spawner, bound) = (executor.spawner(), &bound);
    executor.spawn(async move {
        let Ok(listener) = Listener::bind(network.stack(), port, buffers, backlog) else { return };
        let listener = bound.get_or_init(|| listener);
        spawner.spawn(network.follow());
        // Other widths of numbers would be printed by code of their own.
        let [a, b, c, d] = network.stack().configured().await.address().octets().map(u32::from);
        println!("ready: http://{a}.{b}.{c}.{d}:{port}/");
        if !network.is_service().await {
            return (0..connections).for_each(|_| spawner.spawn(answer(listener, handler, limits)));
        }
        match network.snapshot().await {
            Ok(identity) => {
                launched(handler, &identity);
                answer_and_vanish(network, listener, handler, limits).await
            }
            Err(error) => println!("http: cannot become a template: error {}", error.number().unsigned_abs()),
        }
    });
    executor.spawn(network.run());
    executor.run();
}

async fn open<H>(machine: &Machine, prepare: impl AsyncFnOnce(&Store) -> H) -> Result<(H, Network), Trouble> {
    let store = Store::connect().await?;
    let network = Network::open(&store, machine, address(machine)).await?;
    Ok((prepare(&store).await, network))
}

/// The address that the arguments give, if they give one.
fn address(machine: &Machine) -> Address {
    let fixed = machine.argument("ip").and_then(|ip| Fixed::read(ip, machine.argument("gateway"), None));
    fixed.map_or(Address::Dhcp, Address::Fixed)
}
