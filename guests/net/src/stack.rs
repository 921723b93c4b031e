//! The state that all tasks share, and the step by which it goes on.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::future::poll_fn;
use core::net::Ipv4Addr;
use core::task::{Poll, Waker};

use smoltcp::iface::{self, Interface, PollIngressSingleResult, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::{Device, Medium};
#[cfg(feature = "dhcp")]
use smoltcp::socket::dhcpv4;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr, Ipv4Cidr};

use crate::configuration::{Address, Configuration, Fixed};
use crate::random::Random;
use crate::tcp::{Backlog, Closing};

/// Sockets for which there is room from the start.
const FEW_SOCKETS: usize = 4;
/// Packets that are taken in before other tasks have a turn.
const BURST: usize = 64;

/// A host on a network.
pub struct Stack<D> {
    // In a place of its own: some kilobytes, which are not to be moved from stack frame to stack frame.
    inner: Box<RefCell<Inner<D>>>,
}

pub(crate) struct Inner<D> {
    device: D,
    mac: [u8; 6],
    pub(crate) interface: Interface,
    pub(crate) sockets: SocketSet<'static>,
    pub(crate) random: Random,
    /// What listens.
    pub(crate) backlogs: Vec<Backlog>,
    /// Connections that nobody holds any more and that are not over yet.
    pub(crate) closing: Closing,
    pub(crate) now: Instant,
    pub(crate) name_server: Option<Ipv4Addr>,
    #[cfg(feature = "dns")]
    pub(crate) resolver: Option<SocketHandle>,
    dhcp: Option<SocketHandle>,
    /// The runner, if it waits, and whether it has something to do.
    runner: Option<Waker>,
    work: bool,
    /// Who waits for an address, and for all that was said to be heard.
    unconfigured: Vec<Waker>,
    unheard: Option<Waker>,
}

impl<D: Device> Stack<D> {
    /// A host that uses `device`.
    pub fn new(mut device: D, configuration: &Configuration, now: Instant) -> Self {
        let mut random = Random::new(configuration.seed);
        let interface = interface(&mut device, configuration.mac, &mut random, now);
        let mut inner = Inner {
            device,
            mac: configuration.mac,
            interface,
            // Room for what most need, beside what is written with it.
            sockets: SocketSet::new(Vec::with_capacity(FEW_SOCKETS)),
            random,
            backlogs: Vec::with_capacity(1),
            closing: Closing::default(),
            now,
            name_server: None,
            #[cfg(feature = "dns")]
            resolver: None,
            dhcp: None,
            runner: None,
            work: true,
            unconfigured: Vec::new(),
            unheard: None,
        };
        match configuration.address {
            Address::Fixed(fixed) => inner.configure(Some(fixed)),
            #[cfg(feature = "dhcp")]
            Address::Dhcp => inner.dhcp = Some(inner.sockets.add(dhcpv4::Socket::new())),
        }
        Self { inner: Box::new(RefCell::new(inner)) }
    }

    /// Takes in what came and sends what is to be sent. Returns when it is to be called again at the latest, should nothing happen
    /// before.
    pub fn poll(&self, now: Instant) -> Option<Instant> {
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        inner.now = now;
        inner.work = false;
        let more = inner.take_in();
        while inner.interface.poll_egress(now, &mut inner.device, &mut inner.sockets) != PollResult::None {}
        inner.follow_dhcp();
        inner.replenish();
        inner.backlogs.iter_mut().for_each(|backlog| backlog.wake(&inner.sockets));
        let reaped = inner.closing.reap(&mut inner.sockets, now);
        if inner.closing.is_heard(&inner.sockets)
            && let Some(waker) = inner.unheard.take()
        {
            waker.wake();
        }
        if more || inner.work {
            return Some(now);
        }
        let next = inner.interface.poll_at(now, &inner.sockets);
        [next, reaped].into_iter().flatten().min()
    }

    /// Waits until a task has something to send.
    pub async fn work(&self) {
        poll_fn(|context| {
            let mut inner = self.inner.borrow_mut();
            if inner.work {
                return Poll::Ready(());
            }
            inner.runner = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Does something with the device.
    pub fn device<T>(&self, action: impl FnOnce(&mut D) -> T) -> T {
        action(&mut self.inner.borrow_mut().device)
    }

    /// Looks anew at what the device is capable of, because it is another now. Addresses and connections stay.
    pub fn relink(&self, now: Instant) {
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        let mut fresh = interface(&mut inner.device, inner.mac, &mut inner.random, now);
        let addresses = inner.interface.ip_addrs();
        fresh.update_ip_addrs(|list| list.extend(addresses.iter().copied()));
        inner.interface.routes_mut().update(|old| {
            fresh.routes_mut().update(|new| new.extend(old.iter().copied()));
        });
        inner.interface = fresh;
        inner.kick();
    }

    /// Goes on as another host with the same address, whose numbers nobody who knows the first can guess. To be called when there are no
    /// connections.
    // A clone does this once: room for it on the stack is not for what comes later.
    #[inline(never)]
    pub fn renew(&self, seed: u64, now: Instant) {
        let mut inner = self.inner.borrow_mut();
        inner.random = Random::new(seed);
        inner.backlogs.iter_mut().for_each(Backlog::be_frugal);
        drop(inner);
        self.relink(now);
    }

    /// Waits until the other sides of all connections that were [closed](crate::tcp::Stream::close) have all that was said, and know that it
    /// was all. They may not have ended theirs yet.
    pub async fn heard(&self) {
        poll_fn(|context| {
            let mut inner = self.inner.borrow_mut();
            if inner.closing.is_heard(&inner.sockets) {
                return Poll::Ready(());
            }
            inner.unheard = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// The address, if there is one yet.
    #[must_use]
    pub fn address(&self) -> Option<Ipv4Cidr> {
        self.inner.borrow().address()
    }

    /// Waits until there is an address.
    pub async fn configured(&self) -> Ipv4Cidr {
        poll_fn(|context| {
            let mut inner = self.inner.borrow_mut();
            if let Some(address) = inner.address() {
                return Poll::Ready(address);
            }
            if !inner.unconfigured.iter().any(|waker| waker.will_wake(context.waker())) {
                inner.unconfigured.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}

impl<D> Stack<D> {
    pub(crate) fn with<T>(&self, action: impl FnOnce(&mut Inner<D>) -> T) -> T {
        action(&mut self.inner.borrow_mut())
    }
}

impl<D> Inner<D> {
    /// Has the runner poll.
    pub(crate) fn kick(&mut self) {
        self.work = true;
        if let Some(runner) = self.runner.take() {
            runner.wake();
        }
    }

    fn address(&self) -> Option<Ipv4Cidr> {
        self.interface.ip_addrs().iter().map(|IpCidr::Ipv4(address)| *address).next()
    }

    fn configure(&mut self, fixed: Option<Fixed>) {
        self.interface.update_ip_addrs(|addresses| {
            addresses.clear();
            // There is room for one in an empty list.
            let _ = fixed.map(|fixed| addresses.push(IpCidr::Ipv4(fixed.address)));
        });
        let routes = self.interface.routes_mut();
        routes.remove_default_ipv4_route();
        if let Some(gateway) = fixed.and_then(|fixed| fixed.gateway) {
            let _ = routes.add_default_ipv4_route(gateway);
        }
        self.name_server = fixed.and_then(|fixed| fixed.name_server);
        if fixed.is_some() {
            self.unconfigured.drain(..).for_each(Waker::wake);
        }
    }
}

impl<D: Device> Inner<D> {
    /// Takes packets in, and says whether there may be more.
    fn take_in(&mut self) -> bool {
        for _ in 0..BURST {
            match self.interface.poll_ingress_single(self.now, &mut self.device, &mut self.sockets) {
                PollIngressSingleResult::None => return false,
                PollIngressSingleResult::PacketProcessed => {}
                PollIngressSingleResult::SocketStateChanged => self.replenish(),
            }
        }
        true
    }

    fn replenish(&mut self) {
        self.backlogs.iter_mut().for_each(|backlog| backlog.replenish(&mut self.sockets));
    }

    #[cfg(feature = "dhcp")]
    fn follow_dhcp(&mut self) {
        let Some(handle) = self.dhcp else { return };
        let news = match self.sockets.get_mut::<dhcpv4::Socket<'_>>(handle).poll() {
            None => return,
            Some(dhcpv4::Event::Deconfigured) => None,
            Some(dhcpv4::Event::Configured(lease)) => Some(Fixed {
                address: lease.address,
                gateway: lease.router,
                name_server: lease.dns_servers.first().copied(),
            }),
        };
        self.configure(news);
        self.kick();
    }

    #[cfg(not(feature = "dhcp"))]
    fn follow_dhcp(&mut self) {
        let _ = self.dhcp;
    }
}

fn interface<D: Device>(device: &mut D, mac: [u8; 6], random: &mut Random, now: Instant) -> Interface {
    let address = match device.capabilities().medium {
        Medium::Ethernet => EthernetAddress(mac).into(),
        Medium::Ip => HardwareAddress::Ip,
    };
    let mut configuration = iface::Config::new(address);
    configuration.random_seed = random.next();
    Interface::new(configuration, device, now)
}
