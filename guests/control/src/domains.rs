//! Who is there: the domains that this one made and has not destroyed.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cell::Cell;
use core::time::Duration;

use mote_api::Tally;
use mote_builder::config::Definition;
use mote_builder::plan::{Images, Plan};
use mote_unikernel::time::{self, Instant};
use xen_abi::mote::EXIT_REASONS;

use crate::console::Console;
use crate::orders::Order;
use crate::record::Kept;
use crate::stock::Stock;

/// Bytes that are kept of what was said on a console, and on all of them.
const CONSOLE: usize = 16 << 10;
const CONSOLES: usize = 512 << 10;

/// A domain.
pub struct Domain {
    /// What it was asked to be.
    pub definition: Definition,
    /// Its console ring, if it has one.
    pub console: Option<Console>,
    /// What a driver domain is built from again when it has ended.
    pub spare: Option<Spare>,
    /// What its machines boot from, if it is a service of such.
    pub stock: Option<Stock>,
    /// Who asked for it, if a driver domain did.
    pub order: Option<Order>,
    /// When it is ended, if it has not by then.
    pub deadline: Option<Instant>,
    /// Whether its end was reported.
    pub is_reported: bool,
    /// Its clones that ended, if it is a template, or its machines, if these boot.
    pub ended: Tally,
    /// By this the hypervisor knows it and its clones.
    pub handle: Handle,
    /// How often it was seen to have come to the hypervisor, by reason.
    exits: Cell<Exits>,
}

/// The bytes that a domain was built from, kept to build it again, and how that went.
pub struct Spare {
    kernel: Vec<u8>,
    ramdisk: Option<Vec<u8>>,
    device_tree: Option<Vec<u8>>,
    /// Where the registers of its virtio devices are in the machine.
    pub virtio: Vec<u64>,
    built: Instant,
    // How often in a row it has ended soon.
    short_lives: u32,
    // When it is to be built again, if it has ended.
    due: Option<Instant>,
    /// Where they lie as well, for whoever comes after this domain.
    pub kept: Option<Kept>,
}

impl Spare {
    /// Keeps `images` of a domain that is built now, which may be `kept` as well. `None` if there is no memory for that.
    pub fn new(images: &Images<'_>, virtio: Vec<u64>, kept: Option<Kept>) -> Option<Self> {
        let optional = |bytes: Option<&[u8]>| bytes.map(|bytes| copy(bytes).ok_or(())).transpose().ok();
        let (ramdisk, device_tree) = (optional(images.ramdisk)?, optional(images.device_tree)?);
        let (kernel, built) = (copy(images.kernel)?, Instant::now());
        Some(Self { kernel, ramdisk, device_tree, virtio, built, short_lives: 0, due: None, kept })
    }

    /// What another control domain had kept, of a domain that is this.
    pub fn again(parts: [Vec<u8>; 3], definition: &Definition, kept: Kept) -> Option<Self> {
        let [kernel, ramdisk, device_tree] = parts;
        let [ramdisk, device_tree] = [ramdisk, device_tree].map(|bytes| Some(bytes).filter(|bytes| !bytes.is_empty()));
        let (built, kept) = (Instant::now(), Some(kept));
        let spare = Self { kernel, ramdisk, device_tree, virtio: Vec::new(), built, short_lives: 0, due: None, kept };
        let virtio = Plan::new(definition, spare.images()).ok()?.devices().virtio.clone();
        Some(Self { virtio, ..spare })
    }

    /// What is kept.
    pub fn images(&self) -> Images<'_> {
        let (ramdisk, device_tree) = (self.ramdisk.as_deref(), self.device_tree.as_deref());
        Images { kernel: &self.kernel, ramdisk, device_tree }
    }

    /// The domain has ended: when it is to come back, at once if it lived well. False if that was known.
    pub fn mourn(&mut self) -> bool {
        if self.due.is_some() {
            return false;
        }
        self.short_lives = if self.built.elapsed() < GOOD_LIFE { self.short_lives + 1 } else { 0 };
        self.due = Some(Instant::at(Instant::now().ticks() + time::ticks(pause(self.short_lives))));
        true
    }

    /// The domain is there again.
    pub fn begin(&mut self) {
        (self.built, self.due) = (Instant::now(), None);
    }
}

/// A domain that lived as long as this had no reason to end that was there at its start.
const GOOD_LIFE: Duration = Duration::from_secs(10);

/// How long a domain waits that ended soon so often in a row.
fn pause(short_lives: u32) -> Duration {
    const SHORTEST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(10);
    let doubled = short_lives.checked_sub(2).map(|times| SHORTEST.saturating_mul(1 << times.min(16)));
    doubled.unwrap_or_default().min(LONGEST)
}

fn copy(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut copy = Vec::new();
    copy.try_reserve_exact(bytes.len()).ok()?;
    copy.extend_from_slice(bytes);
    Some(copy)
}

/// What the hypervisor keeps of a domain besides its number, and gives to its clones too.
pub type Handle = [u8; 16];

/// The handle of a domain that is called so: others have other names (FNV-1a with 128 bits).
pub fn handle(name: &str) -> Handle {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    name.bytes().fold(BASIS, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME)).to_be_bytes()
}

/// Exits by reason.
pub type Exits = [u64; EXIT_REASONS.len()];

impl Domain {
    /// A domain that was made.
    pub fn new(definition: Definition, console: Option<Console>, spare: Option<Spare>) -> Self {
        let (handle, exits) = (handle(&definition.name), Cell::new([0; EXIT_REASONS.len()]));
        Self {
            definition,
            console,
            spare,
            stock: None,
            order: None,
            deadline: None,
            is_reported: false,
            ended: Tally::default(),
            handle,
            exits,
        }
    }

    /// Whether somebody is told of its end, who did not ask for it alone.
    pub const fn is_to_be_reported(&self) -> bool {
        !self.definition.ephemeral && self.order.is_none()
    }

    /// The exits that are counted now, or those that were before: the hypervisor leaves out vCPUs that run.
    pub fn exits(&self, now: Exits) -> Exits {
        let mut exits = self.exits.get();
        exits.iter_mut().zip(now).for_each(|(seen, now)| *seen = now.max(*seen));
        self.exits.set(exits);
        exits
    }
}

/// The domains by their numbers.
#[derive(Default)]
pub struct Domains(BTreeMap<u16, Domain>);

impl Domains {
    /// One more.
    pub fn insert(&mut self, id: u16, domain: Domain) {
        self.0.insert(id, domain);
        self.share_out();
    }

    /// One less.
    pub fn remove(&mut self, id: u16) -> Option<Domain> {
        let domain = self.0.remove(&id);
        self.share_out();
        domain
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Lets each console keep its share of what all may.
    fn share_out(&mut self) {
        let share = (CONSOLES / self.0.len().max(1)).min(CONSOLE);
        self.consoles().for_each(|console| console.keep(share));
    }

    /// The number of the domain that is called so.
    pub fn named(&self, name: &str) -> Option<u16> {
        self.iter().find(|(_, domain)| domain.definition.name == name).map(|(id, _)| id)
    }

    /// Who serves a device that names this domain for it, or else the first driver domain.
    pub fn backend(&self, name: Option<&str>) -> Option<u16> {
        let first = || self.iter().find(|(_, domain)| domain.definition.driver).map(|(id, _)| id);
        name.map_or_else(first, |name| self.named(name))
    }

    /// The domain of a number.
    pub fn get(&self, id: u16) -> Option<&Domain> {
        self.0.get(&id)
    }

    /// A domain, to change what is known of it.
    pub fn get_mut(&mut self, id: u16) -> Option<&mut Domain> {
        self.0.get_mut(&id)
    }

    /// The domain that has ended and comes back first, and when.
    pub fn next_due(&self) -> Option<(Instant, u16)> {
        self.iter().filter_map(|(id, domain)| Some((domain.spare.as_ref()?.due?, id))).min()
    }

    /// The domain that is ended first if it goes on, and when.
    pub fn next_deadline(&self) -> Option<(Instant, u16)> {
        self.iter().filter_map(|(id, domain)| Some((domain.deadline?, id))).min()
    }

    /// Those with numbers from `first` to `last`, by these.
    pub fn range(&self, first: u16, last: u16) -> impl Iterator<Item = (u16, &Domain)> {
        self.0.range(first..=last.max(first)).map(|(id, domain)| (*id, domain))
    }

    /// All of them, by their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &Domain)> + Clone {
        self.0.iter().map(|(id, domain)| (*id, domain))
    }

    /// All console rings.
    pub fn consoles(&self) -> impl Iterator<Item = &Console> {
        self.0.values().filter_map(|domain| domain.console.as_ref())
    }

    /// Whether there is somebody left to run the machine for: a driver domain alone has nobody to drive for.
    pub fn keep_machine_on(&self) -> bool {
        self.0.values().any(|domain| !domain.definition.driver)
    }
}
