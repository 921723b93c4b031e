//! The toolstack: domains are made, joined, let run and ended here, whoever asks for it.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::time::Duration;

use mote_api::ImageStore;
use mote_builder::addr::PAGE_SIZE;
use mote_builder::config::{Configuration, Definition, connections};
use mote_builder::plan::Images;
use mote_builder::random::Seeds;
use mote_builder::sorted;
use mote_keyboard::Keyboard;
use mote_unikernel::time::{self, Instant};
use mote_unikernel::xen::Errno;
use mote_unikernel::xen::boot::BootMemory;
use mote_unikernel::xen::devices::reset_virtio;
use mote_unikernel::xen::domains::{self as hypervisor, End};
use mote_unikernel::xen::foreign::Window;
use mote_unikernel::{Machine, println};
use xen_abi::Zeroed;
use xen_abi::domctl::GetDomainInfo;
use xen_abi::mote::Usage;
use xen_abi::sched::reason;

use crate::build::{self, BuildError, Built, Wishes};
use crate::console::Console;
use crate::domains::{Domain, Domains, Handle, Spare};
use crate::keeper;
use crate::machine::module;
use crate::orders;
use crate::reaper;
use crate::record::{Kept, Record};
use crate::report;
use crate::statistics::Statistics;
use crate::stock::{self, Stock};
use crate::store::Store;
use crate::work::{Operation, Works};

/// Everything that a change to domains needs.
pub struct Toolstack {
    /// Who is there.
    pub domains: Domains,
    /// What they find each other by.
    pub store: Store,
    /// What was sent to build domains from.
    pub images: ImageStore,
    /// When somebody last asked for something over the network.
    pub asked: Option<Instant>,
    /// Whether this domain is to fail, because somebody asked for that.
    pub is_to_fail: bool,
    /// Ephemeral domains that ended and that nobody counted.
    pub lost: u64,
    /// What is known of their devices' traffic.
    pub statistics: RefCell<Statistics>,
    /// How long it took to do what was done to domains.
    pub works: Works,
    /// Who gets what is typed at the machine.
    pub keyboard: Keyboard,
    /// Where domains' random numbers begin.
    pub seeds: Seeds,
    /// Where memory of domains is looked at.
    pub window: Window,
    /// This domain.
    pub machine: Machine,
}

/// Bytes of this domain's memory that are for other things than images that were sent; of the rest half is for these, because one that
/// is replaced is there until the new one is whole.
const RESERVED: usize = 2 << 20;

/// How long the hypervisor may take to have a domain's vCPUs leave.
const PATIENCE: Duration = Duration::from_secs(2);

impl Toolstack {
    /// Nobody is there.
    ///
    /// # Errors
    /// If other domains' memory can be mapped nowhere.
    pub fn new(machine: &Machine, seeds: Seeds) -> Result<Self, Errno> {
        let images = ImageStore::new(machine.memory_size().saturating_sub(RESERVED) / 2);
        let (domains, statistics) = (Domains::default(), RefCell::default());
        Ok(Self {
            domains,
            store: Store::new(),
            images,
            asked: None,
            is_to_fail: false,
            lost: 0,
            statistics,
            works: Works::default(),
            keyboard: Keyboard::default(),
            seeds,
            window: Window::new(machine)?,
            machine: *machine,
        })
    }

    /// Builds every domain of the configuration, joins and connects them, and only then lets the first run. Whoever cannot be built
    /// is reported and left out.
    pub fn build_all(&mut self, configuration: &Configuration, boot: &BootMemory) {
        for (name, error) in &configuration.refused {
            report::refused(name, error);
        }
        let numbered: Vec<(u16, &Definition)> = (1..).zip(&configuration.domains).collect();
        for &(id, definition) in &numbered {
            let wishes = Wishes { id: Some(id), seed: self.seeds.draw(), order: None };
            let images = images(definition, boot).ok_or(BuildError::Modules);
            if let Err(error) = images.and_then(|images| self.create(definition.clone(), images, wishes)) {
                report::refused(&definition.name, error);
            }
        }
        for ends in configuration.connections() {
            let [first, second] = ends.map(|(index, port)| (index as u16 + 1, port));
            self.connect(first, second);
        }
        self.store.plug(&self.domains, None);
        if configuration.interactive {
            self.hand_keyboard_out();
        }
        self.store.note_whole();
        // Whoever runs may take this domain's pCPU for a while: those that others need come first, and those that are quick.
        let those = self.domains.iter().filter(|(_, domain)| domain.stock.is_none());
        let place = |(id, Domain { definition, .. }): (u16, &Domain)| (!definition.driver, definition.memory, id);
        for (_, _, id) in sorted(those.map(place).collect()) {
            // It was paused once, when it was made.
            let _ = hypervisor::unpause(id);
        }
    }

    /// Builds a domain, which stays paused, and joins it with those that are there. The answer is its number.
    ///
    /// # Errors
    /// Why it was not built; then nothing is left of it.
    pub fn create(&mut self, definition: Definition, images: Images<'_>, wishes: Wishes) -> Result<u16, BuildError> {
        if definition.booted().is_some() {
            return self.stand_in(definition, &images, wishes);
        }
        let Built { id, virtio } = self.make(&definition, images, wishes)?;
        let console = self.give_rings(id, &definition).inspect_err(|_| {
            let _ = hypervisor::destroy(id);
        })?;
        let kept = if definition.driver { self.keep_images(&images) } else { None };
        let spare = if definition.driver { Spare::new(&images, virtio, kept) } else { None };
        let mut domain = Domain::new(definition, console, spare);
        domain.order = wishes.order;
        self.domains.insert(id, domain);
        self.note(id);
        Ok(id)
    }

    /// Makes the domain that stands for a service whose machines boot. The answer is its number.
    fn stand_in(&mut self, definition: Definition, images: &Images<'_>, wishes: Wishes) -> Result<u16, BuildError> {
        let (id, kept) = build::shelve(&definition, images, wishes, &mut self.window)?;
        let stock = Stock::find(&self.machine, id, kept).and_then(|stock| {
            self.store.tell_of(id, &definition)?;
            Ok(stock)
        });
        let stock = stock.map_err(|error| {
            let _ = hypervisor::destroy(id);
            BuildError::Refused("its place", error.number())
        })?;
        let mut domain = Domain::new(definition, None, None);
        domain.stock = Some(stock);
        self.domains.insert(id, domain);
        self.note(id);
        Ok(id)
    }

    /// Writes down what is known of a domain.
    pub fn note(&mut self, id: u16) {
        let Some(domain) = self.domains.get(id).filter(|_| self.store.is_kept()) else { return };
        let record = Record {
            definition: domain.definition.clone(),
            store: self.store.port(id),
            console: domain.console.as_ref().map_or(0, Console::port),
            kept: domain.spare.as_ref().and_then(|spare| spare.kept).or(domain.stock.as_ref().map(|stock| stock.kept)),
            order: domain.order,
            is_reported: domain.is_reported,
            has_keyboard: self.keyboard.owner == Some(id),
        };
        self.store.note_domain(id, record.save());
    }

    /// Writes down that a domain's end was reported.
    pub fn note_reported(&mut self, id: u16) {
        if let Some(domain) = self.domains.get_mut(id) {
            domain.is_reported = true;
            self.note(id);
        }
    }

    /// Puts images where they outlive this domain, if there is such a place.
    fn keep_images(&mut self, images: &Images<'_>) -> Option<Kept> {
        let parts = stock::parts(images);
        let place = self.store.keeper()?.allocate(parts.iter().map(|part| part.len()).sum()).ok()?;
        let mut address = place.frame * PAGE_SIZE;
        let written = parts.iter().try_for_each(|part| {
            let at = address;
            address += part.len() as u64;
            self.window.write(keeper::NUMBER, at, part)
        });
        self.window.close();
        written.ok().map(|()| Kept { place, sizes: parts.map(|part| part.len() as u64) })
    }

    /// Builds a domain and joins it with those that are there.
    fn make(&mut self, definition: &Definition, images: Images<'_>, wishes: Wishes) -> Result<Built, BuildError> {
        let built = build::build(definition, images, wishes, &mut self.window)?;
        let id = built.id;
        let peers = self.domains.iter().filter(|(_, other)| definition.is_joined_with(&other.definition));
        for (peer, _) in peers {
            // Without it the two have nothing to do with each other, which harms nobody.
            if hypervisor::join(id, peer).is_err() {
                println!("{} cannot be joined with domain {peer}", definition.name);
            }
        }
        if definition.driver && hypervisor::join(id, 0).is_err() {
            println!("{} cannot be joined with this domain, which has no network then", definition.name);
        }
        Ok(built)
    }

    /// Gives a domain the rings that it is to have before it runs.
    fn give_rings(&mut self, id: u16, definition: &Definition) -> Result<Option<Console>, BuildError> {
        let refused = |what| move |error: Errno| BuildError::Refused(what, error.number());
        let console = definition.enhanced.then(|| Console::give(id)).transpose().map_err(refused("its console"))?;
        if definition.xenstore {
            self.store.give(id, definition).map_err(refused("its xenstore"))?;
        }
        Ok(console)
    }

    /// Connects the ports again by which a domain that was built again had been connected.
    fn connect_again(&self, id: u16) {
        let domains = self.domains.iter().map(|(id, domain)| (id, &domain.definition));
        let its = connections(domains).filter(|ends| ends.iter().any(|(end, _)| *end == id));
        its.for_each(|[first, second]| self.connect(first, second));
    }

    /// Connects two ports, as the configuration asks for it. What cannot be, is said.
    fn connect(&self, first: (u16, u32), second: (u16, u32)) {
        let [(Some(one), port), (Some(other), other_port)] =
            [first, second].map(|(id, port)| (self.domains.get(id), port))
        else {
            return;
        };
        if let Err(error) = hypervisor::connect(first, second) {
            println!(
                "port {port} of {} and port {other_port} of {} are not connected: error {}",
                one.definition.name,
                other.definition.name,
                error.number()
            );
        }
    }

    /// Destroys a domain, if it is there.
    ///
    /// # Errors
    /// `EBUSY` if its devices do not stop: it stays, because they may use its memory. Else the hypervisor's, and nobody knows the domain
    /// any more.
    pub fn destroy(&mut self, id: u16) -> Result<(), Errno> {
        self.still(id)?;
        self.end_clones(id)?;
        self.end_machines(|_, order| order.service == id || order.driver == id);
        self.note_end(id);
        self.store.release(id);
        let taken = self.take_apart(id);
        self.store.note_gone(id);
        let kept = taken?.and_then(|(_, spare)| spare?.kept);
        kept.into_iter().for_each(|kept| keeper::free(kept.place));
        Ok(())
    }

    /// Ends all clones of a domain, if it is a template: as long as it has some, it cannot be destroyed.
    ///
    /// # Errors
    /// `EBUSY` if there is no end of them, else the hypervisor's.
    fn end_clones(&mut self, id: u16) -> Result<(), Errno> {
        let Some(handle) = self.domains.get(id).map(|domain| domain.handle) else { return Ok(()) };
        let began = Instant::now();
        while hypervisor::usage(id).is_ok_and(|usage| clones(&usage).is_some_and(|clones| clones > 0)) {
            if began.elapsed() > PATIENCE {
                return Err(Errno::EBUSY);
            }
            // From then on there are no more of them, but for those that are being made.
            let _ = hypervisor::shut_down(id, reason::POWEROFF);
            destroy_clones(|clone| clone.handle == handle && clone.domain != id);
        }
        // Its number may be another's soon.
        self.count_ends();
        Ok(())
    }

    /// Ends the clones of the templates that a driver domain serves, which has ended: nobody reaches them any more. The templates stay as
    /// they are, for the next driver domain.
    fn end_served(&self, driver: &Definition) {
        let is_its = |backend: Option<&str>| backend.is_none_or(|backend| backend == driver.name);
        let is_served = |domain: &Domain| {
            let services = domain.definition.vifs.iter().filter(|vif| vif.service.is_some());
            { services }.any(|vif| is_its(vif.backend.as_deref()))
        };
        let served = self.domains.iter().filter(|(_, domain)| is_served(domain));
        let mut templates: BTreeMap<Handle, u16> = BTreeMap::new();
        // Not collected: that would sort them first, and sorting is much code.
        templates.extend(served.map(|(id, domain)| (domain.handle, id)));
        if !templates.is_empty() {
            destroy_clones(|clone| templates.get(&clone.handle).is_some_and(|template| *template != clone.domain));
        }
    }

    /// Counts the ephemeral domains that ended since this was done last; whether there may be more.
    pub fn count_ends(&mut self) -> bool {
        const ROOM: usize = 32;
        const MOST: usize = 64;
        for _ in 0..MOST {
            let mut room = [End::new_zeroed(); ROOM];
            let Ok((count, lost)) = hypervisor::ended(&mut room) else { return false };
            self.lost = lost;
            if count == 0 {
                return false;
            }
            room.iter().take(count).for_each(|end| self.count(end));
        }
        true
    }

    fn count(&mut self, end: &End) {
        const KIB_PER_PAGE: u64 = 4;
        let nanoseconds = |ticks| time::duration(ticks).as_nanos() as u64;
        if let Some(template) = self.domains.get_mut(end.template).filter(|_| end.domain != end.template) {
            template.ended.add(mote_api::End {
                crashed: !matches!(end.code, reason::POWEROFF | reason::REBOOT),
                life_ns: nanoseconds(end.lived),
                cpu_ns: nanoseconds(end.ran),
                memory_kib: end.pages.saturating_mul(KIB_PER_PAGE),
            });
        }
    }

    /// A domain has vanished with all it had.
    pub fn forget(&mut self, id: u16) {
        self.store.release(id);
        drop(self.domains.remove(id));
        self.take_keyboard_from(id);
        self.store.note_gone(id);
    }

    /// Has the devices of a driver domain leave its memory alone, or they would go on writing to it when it is another's.
    ///
    /// # Errors
    /// `EBUSY` if they do not, else the hypervisor's.
    fn still(&self, id: u16) -> Result<(), Errno> {
        let Some(domain) = self.domains.get(id) else { return Ok(()) };
        let virtio = domain.spare.as_ref().map_or(&[][..], |spare| &spare.virtio);
        if virtio.is_empty() {
            return Ok(());
        }
        // As long as it runs, it can set them going again. If it has ended already, that is as good.
        let _ = hypervisor::shut_down(id, reason::POWEROFF);
        let began = Instant::now();
        while hypervisor::is_running(id)? {
            if began.elapsed() > PATIENCE {
                return Err(Errno::EBUSY);
            }
        }
        virtio.iter().try_for_each(|&address| reset_virtio(address)).inspect_err(|error| {
            println!("the devices of {} do not stop: error {}", domain.definition.name, error.number());
        })
    }

    /// Destroys a domain of which xenstore may still tell. The answer is what is left of it: nothing if it was not there.
    fn take_apart(&mut self, id: u16) -> Result<Option<(Definition, Option<Spare>)>, Errno> {
        let Some(domain) = self.domains.remove(id) else { return Ok(None) };
        // What it has here of the domain's must go before.
        let Domain { definition, console, spare, stock, .. } = domain;
        drop((console, stock));
        let destroyed = hypervisor::destroy(id).inspect_err(|error| {
            println!("{} cannot be destroyed: error {}", definition.name, error.number());
        });
        self.take_keyboard_from(id);
        destroyed.map(|()| Some((definition, spare)))
    }

    /// A domain has ended and was reported: it is destroyed, and a driver domain is built again, in whose place it was: for its guests
    /// the one is the other, after a pause.
    ///
    /// # Errors
    /// As [`Toolstack::destroy`].
    pub fn bury(&mut self, id: u16) -> Result<(), Errno> {
        if !self.domains.get(id).is_some_and(|domain| domain.definition.driver) || !self.domains.keep_machine_on() {
            return self.destroy(id);
        }
        self.still(id)?;
        self.store.suspend(id);
        let left = self.take_apart(id)?;
        if let Some((definition, Some(spare))) = left {
            self.end_served(&definition);
            self.end_machines(|_, order| order.driver == id);
            self.store.update(|local| local.remove(&orders::directory(id))).unwrap_or_default();
            match self.rebuild(id, &definition, spare) {
                Ok(()) => return Ok(()),
                Err(error) => report::refused(&definition.name, error),
            }
        }
        self.store.release(id);
        self.store.note_gone(id);
        Ok(())
    }

    /// Builds a domain under the number that it had, and lets it run.
    pub fn rebuild(&mut self, id: u16, definition: &Definition, mut spare: Spare) -> Result<(), BuildError> {
        let wishes = Wishes { id: Some(id), seed: self.seeds.draw(), ..Wishes::default() };
        self.make(definition, spare.images(), wishes)?;
        spare.begin();
        let ready = self.give_rings(id, definition).and_then(|console| {
            self.domains.insert(id, Domain::new(definition.clone(), console, Some(spare)));
            self.note(id);
            self.connect_again(id);
            hypervisor::unpause(id).map_err(|error| BuildError::Refused("to run it", error.number()))
        });
        ready.inspect_err(|_| {
            self.domains.remove(id);
            let _ = hypervisor::destroy(id);
        })
    }

    /// Ends a domain that did not end by itself, reports it and buries it.
    ///
    /// # Errors
    /// As [`Toolstack::destroy`].
    pub fn end(&mut self, id: u16) -> Result<(), Errno> {
        let began = Instant::now();
        let _ = hypervisor::shut_down(id, reason::POWEROFF);
        let domain = self.domains.get(id).filter(|domain| domain.is_to_be_reported());
        if let (Some(domain), Ok(usage)) = (domain, hypervisor::usage(id)) {
            report::domain(id, &domain.definition, reason::POWEROFF, &usage);
        }
        self.note_reported(id);
        let buried = self.bury(id);
        self.works.note(Operation::Destroy, began);
        buried
    }

    /// Ends whoever is left, because the machine is about to be switched off.
    pub fn end_all(&mut self) {
        let left: Vec<u16> = self.domains.iter().map(|(id, _)| id).collect();
        for id in left {
            // What cannot be destroyed was told of.
            let _ = self.end(id);
        }
    }
}

/// Whether this domain has enough of its own memory left to know of another, and to go on.
pub fn has_room() -> bool {
    const SPARE: usize = 512 << 10;
    let mut spare = Vec::<u8>::new();
    let has_room = spare.try_reserve_exact(SPARE).is_ok();
    // Else it would never be asked for: a compiler may leave out what is not used.
    drop(core::hint::black_box(spare));
    has_room
}

/// Destroys the clones among the domains that are as `wanted`.
fn destroy_clones(wanted: impl Fn(&GetDomainInfo) -> bool) {
    reaper::for_each(|info| {
        if wanted(info) {
            // It may have ended by itself.
            let _ = hypervisor::destroy(info.domain);
        }
    });
}

/// How many clones a template has; `None` for another.
pub fn clones(usage: &Usage) -> Option<u64> {
    // While it is being destroyed it counts none.
    usage.clones.checked_sub(1).map(|clones| if clones < u32::MAX.into() { clones } else { 0 })
}

/// The bytes that a domain of the configuration is built from.
fn images<'a>(definition: &Definition, boot: &'a BootMemory) -> Option<Images<'a>> {
    let optional = |range: Option<_>| range.map(|range| module(boot, range).ok_or(())).transpose().ok();
    Some(Images {
        kernel: module(boot, definition.kernel)?,
        ramdisk: optional(definition.ramdisk)?,
        device_tree: optional(definition.device_tree)?,
    })
}
