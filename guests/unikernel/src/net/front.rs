//! The agreement with a back end, through xenstore: who it is, what it is told, and what happens when it goes.

use alloc::format;
use alloc::string::String;
use core::cell::Cell;
use core::fmt;
use core::future::{pending, poll_fn};
use core::task::{Poll, Waker};
use core::time::Duration;

use mote_netfront::handshake::{self, Action, Phase};
use mote_protocols::xenbus::State;

use super::Network;
use super::device::Link;
use crate::executor::{Either, either, sleep};
use crate::xen::Errno;
use crate::xen::store::{Error, Store, Watch};

/// The interface's place in xenstore, below the domain's own.
const DEVICE: &str = "device/vif/0";
/// How long to wait before something that did not work is tried again.
const PAUSE: Duration = Duration::from_millis(100);
/// How often it is looked whether a back end has let go of pages, and how many times.
const LOOK: Duration = Duration::from_millis(10);
const LOOKS: usize = 500;

/// Why there is no interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// What xenstore said.
    Store(Error),
    /// Its hardware address is none.
    NoMac,
    /// What the hypervisor said.
    Hypervisor(Errno),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Store(_) => "no network interface in xenstore",
            Self::NoMac => "the network interface has no hardware address",
            Self::Hypervisor(_) => "the hypervisor has no more grants or ports",
        })
    }
}

impl core::error::Error for Trouble {}

/// The domain at the other end and its place in xenstore.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Backend {
    domain: u16,
    path: String,
}

/// The front end's side of the agreement.
pub(super) struct Front {
    store: Store,
    mac: [u8; 6],
    device: Watch,
    /// The back end did what it must not do, and who wants to know that.
    parted: Cell<bool>,
    waiting: Cell<Option<Waker>>,
    /// Packets pass, and who waits for that.
    up: Cell<bool>,
    connecting: Cell<Option<Waker>>,
}

impl Front {
    /// Waits for the interface to be there.
    pub(super) async fn find(store: &Store) -> Result<Self, Trouble> {
        let device = store.watch(DEVICE).await?;
        loop {
            device.next().await?;
            if let Some(mac) = get(store, DEVICE, "mac").await {
                let mac = parse_mac(&mac).ok_or(Trouble::NoMac)?;
                let store = store.clone();
                let (parted, up) = (Cell::new(false), Cell::new(false));
                return Ok(Self {
                    store,
                    mac,
                    device,
                    parted,
                    waiting: Cell::new(None),
                    up,
                    connecting: Cell::new(None),
                });
            }
        }
    }

    pub(super) const fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Ends the connection to a back end that did what it must not do.
    pub(super) fn part(&self) {
        self.parted.set(true);
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }

    /// Does what xenstore says, for ever.
    pub(super) async fn follow(&self, network: &Network) {
        let mut phase = Phase::Down;
        // Who was told of rings, and whose state is watched.
        let mut told: Option<Backend> = None;
        let mut watched: Option<(Backend, Watch)> = None;
        loop {
            let backend = self.backend().await;
            if watched.as_ref().map(|(backend, _)| backend) != backend.as_ref() {
                watched = self.watch(backend.clone()).await;
            }
            let theirs = self.state(backend.as_ref().map(|backend| &*backend.path)).await;
            let own = self.state(Some(DEVICE)).await;
            let is_same = (told.is_none() || told == backend) && !self.parted.take();
            match (handshake::next(phase, own, theirs, is_same), backend) {
                (Action::Begin, _) => {
                    // Whoever closes at once what has just begun is not asked too often.
                    sleep(PAUSE).await;
                    self.say(State::Initialising).await;
                }
                (Action::Connect, Some(backend)) => match self.connect(network, &backend).await {
                    Ok(()) => (phase, told) = (Phase::Told, Some(backend)),
                    Err(_) => {
                        drop(network.link(None));
                        sleep(PAUSE).await;
                    }
                },
                (Action::Connected, _) => {
                    phase = Phase::Up;
                    self.up.set(true);
                    self.connecting.take().into_iter().for_each(Waker::wake);
                }
                (Action::Disconnect, _) => {
                    self.up.set(false);
                    self.disconnect(network).await;
                    (phase, told) = (Phase::Down, None);
                }
                (Action::Wait | Action::Connect, _) => self.change(watched.as_ref().map(|(_, watch)| watch)).await,
            }
        }
    }

    /// Waits until the back end says that it is there.
    pub(super) async fn connected(&self) {
        poll_fn(|context| {
            if self.up.get() {
                return Poll::Ready(());
            }
            self.connecting.set(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    /// Whether connections to the interface's address are to launch clones of this domain: the toolstack says so in xenstore.
    pub(super) async fn is_service(&self) -> bool {
        get(&self.store, DEVICE, "service").await.is_some()
    }

    /// Waits until something may be different.
    async fn change(&self, backend: Option<&Watch>) {
        let news = async {
            let theirs = async {
                match backend {
                    Some(watch) => watch.next().await,
                    None => pending().await,
                }
            };
            match either(self.device.next(), theirs).await {
                Either::First(Ok(_)) | Either::Second(Ok(_)) => {}
                // Without xenstore all stays as it is.
                _ => pending().await,
            }
        };
        either(news, self.has_parted()).await;
    }

    /// Waits for [`Front::part`].
    async fn has_parted(&self) {
        poll_fn(|context| {
            if self.parted.get() {
                return Poll::Ready(());
            }
            self.waiting.set(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    /// Makes rings and buffers, and tells the back end of them.
    async fn connect(&self, network: &Network, backend: &Backend) -> Result<(), Trouble> {
        let link = Link::new(backend.domain).map_err(Trouble::Hypervisor)?;
        let [tx, rx] = link.references();
        let words = [
            ("tx-ring-ref", tx),
            ("rx-ring-ref", rx),
            ("event-channel", link.port().number()),
            ("request-rx-copy", 1),
            ("feature-rx-notify", 1),
            ("feature-sg", 1),
            ("feature-gso-tcpv4", 1),
        ];
        // The back end may look as soon as it is told.
        drop(network.link(Some(link)));
        for (name, value) in words {
            self.set(name, &format!("{value}")).await?;
        }
        Ok(self.set("state", State::Connected.as_str()).await?)
    }

    /// Takes back what the back end had, as soon as it lets go.
    async fn disconnect(&self, network: &Network) {
        let link = network.link(None);
        self.say(State::Closed).await;
        let Some(mut link) = link else { return };
        for _ in 0..LOOKS {
            if link.end() {
                return;
            }
            sleep(LOOK).await;
        }
    }

    async fn backend(&self) -> Option<Backend> {
        let path = get(&self.store, DEVICE, "backend").await?;
        let domain = get(&self.store, DEVICE, "backend-id").await?.parse().ok()?;
        Some(Backend { domain, path })
    }

    async fn watch(&self, backend: Option<Backend>) -> Option<(Backend, Watch)> {
        let backend = backend?;
        let watch = self.store.watch(&format!("{}/state", backend.path)).await.ok()?;
        Some((backend, watch))
    }

    /// Where the end in `directory` stands.
    async fn state(&self, directory: Option<&str>) -> State {
        let Some(directory) = directory else { return State::Unknown };
        let state = get(&self.store, directory, "state").await;
        state.map_or(State::Unknown, |state| State::parse(state.as_bytes()))
    }

    /// Says where this end stands. If that cannot be said, there is no device any more.
    async fn say(&self, state: State) {
        let _ = self.set("state", state.as_str()).await;
    }

    async fn set(&self, name: &str, value: &str) -> Result<(), Error> {
        let path = format!("{DEVICE}/{name}");
        self.store.write(&path, value).await
    }
}

/// What stands at `name` in `directory`. One way to all that is read takes less code than one for each kind.
async fn get(store: &Store, directory: &str, name: &str) -> Option<String> {
    let path = format!("{directory}/{name}");
    store.read_text(&path).await.ok()
}

/// Reads `00:16:3e:01:02:03`: an address that is one interface's.
fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        let digits = parts.next().filter(|digits| digits.len() == 2)?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    (parts.next().is_none() && mac[0] & 1 == 0).then_some(mac)
}
