//! Who is there: the domains that this one made and has not destroyed.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cell::Cell;
use core::time::Duration;

use mote_builder::config::Definition;
use mote_builder::plan::Images;
use mote_unikernel::time::Instant;
use xen_abi::mote::EXIT_REASONS;

use crate::console::Console;

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
    /// How often it was seen to have come to the hypervisor, by reason.
    exits: Cell<Exits>,
}

/// The bytes that a domain was built from, kept to build it again, and how that went.
pub struct Spare {
    kernel: Vec<u8>,
    ramdisk: Option<Vec<u8>>,
    device_tree: Option<Vec<u8>>,
    built: Instant,
    // How often in a row it has ended soon.
    failures: u32,
}

impl Spare {
    /// Keeps `images` of a domain that is built now.
    pub fn new(images: &Images<'_>) -> Self {
        let kept = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        let (ramdisk, device_tree) = (kept(images.ramdisk), kept(images.device_tree));
        Self { kernel: images.kernel.to_vec(), ramdisk, device_tree, built: Instant::now(), failures: 0 }
    }

    /// What is kept.
    pub fn images(&self) -> Images<'_> {
        let (ramdisk, device_tree) = (self.ramdisk.as_deref(), self.device_tree.as_deref());
        Images { kernel: &self.kernel, ramdisk, device_tree }
    }

    /// The domain has ended and is about to be built again, if that makes sense: not one that ends at once each time.
    pub fn again(&mut self) -> bool {
        const SOON: Duration = Duration::from_secs(1);
        const MOST: u32 = 3;
        self.failures = if self.built.elapsed() < SOON { self.failures + 1 } else { 0 };
        self.built = Instant::now();
        self.failures < MOST
    }
}

/// Exits by reason.
pub type Exits = [u64; EXIT_REASONS.len()];

impl Domain {
    /// A domain that was made.
    pub const fn new(definition: Definition, console: Option<Console>, spare: Option<Spare>) -> Self {
        Self { definition, console, spare, exits: Cell::new([0; EXIT_REASONS.len()]) }
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

    /// The domain of a number.
    pub fn get(&self, id: u16) -> Option<&Domain> {
        self.0.get(&id)
    }

    /// All of them, by their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &Domain)> {
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
