//! What a control domain does that is built in the place of one that failed: guests have gone on meanwhile, and find their rings served
//! again.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use mote_builder::addr::PAGE_SIZE;
use mote_builder::config::{Configuration, Definition};
use mote_unikernel::println;
use mote_unikernel::xen::domains as hypervisor;
use mote_unikernel::{Machine, time::Instant};
use xen_abi::Zeroed;
use xen_abi::domctl::{GetDomainInfo, info};

use crate::console::Console;
use crate::domains::{Domain, Handle, Spare, handle};
use crate::keeper::{self, Found};
use crate::reaper;
use crate::record::{Kept, Record};
use crate::report;
use crate::stock::Stock;
use crate::toolstack::Toolstack;

/// How often a control domain was built before this one.
pub fn builds_before() -> u8 {
    let mut room = [GetDomainInfo::new_zeroed()];
    match hypervisor::list(0, &mut room) {
        Ok(1) => room.map(|own| own.handle[0])[0],
        _ => 0,
    }
}

/// Who is known, by handle.
fn known(configuration: &Configuration, found: Option<&Found>) -> BTreeMap<Handle, u16> {
    let mut known = BTreeMap::new();
    // Not collected: that would sort them first, and sorting is much code.
    match found {
        Some(found) => known.extend(found.domains.iter().filter_map(|(id, bytes)| {
            let record = Record::load(bytes)?;
            Some((handle(&record.definition.name), *id))
        })),
        None => {
            known.extend((1..).zip(&configuration.domains).map(|(id, definition)| (handle(&definition.name), id)));
        }
    }
    known
}

/// All domains and their flags, but for clones of those who are known: these have nothing of the control domain's.
fn who_is_there(known: &BTreeMap<Handle, u16>) -> BTreeMap<u16, u32> {
    let mut there = BTreeMap::new();
    reaper::for_each(|domain| {
        if known.get(&domain.handle).is_none_or(|id| *id == domain.domain) {
            there.insert(domain.domain, domain.flags);
        }
    });
    there
}

impl Toolstack {
    /// Has all be written down that another has to know in this domain's place. Where domains have nothing of this one but their memory, the
    /// configuration says enough of them.
    pub fn keep(&mut self, machine: &Machine, configuration: &Configuration) {
        /// Bytes of records, for each domain and besides.
        const WITH_STORE: usize = 24 << 10;
        const WITHOUT: usize = 512;
        const BESIDES: usize = 16 << 10;
        if !configuration.domains.iter().any(|domain| domain.driver || domain.enhanced) {
            return;
        }
        let of = |it: &Definition| if it.xenstore { WITH_STORE } else { WITHOUT };
        let bytes = BESIDES + configuration.domains.iter().map(of).sum::<usize>();
        if let Err(error) = self.store.keep(machine, bytes) {
            println!("the control domain cannot be built again if it fails: error {}", error.number());
        }
    }

    /// Goes on with what another control domain has left. Of the configuration's domains those are reported that it had no time to build.
    pub fn take_over(&mut self, machine: &Machine, configuration: &Configuration) {
        let begun = Instant::now();
        let found = self.store.take_over(machine);
        let there = who_is_there(&known(configuration, found.as_ref().ok()));
        match found {
            Ok(found) => self.go_on(configuration, &there, &found),
            Err(_) => self.find_again(configuration, &there),
        }
        let (count, time) = (self.domains.len(), begun.elapsed().as_micros());
        println!("took over {count} domains from the control domain before, in {time} us");
    }

    /// Goes on without anything having been written down: then nobody has made domains but by the configuration.
    fn find_again(&mut self, configuration: &Configuration, there: &BTreeMap<u16, u32>) {
        for (id, definition) in (1..).zip(&configuration.domains).filter(|(id, _)| there.contains_key(id)) {
            self.domains.insert(id, Domain::new(definition.clone(), None, None));
        }
        if configuration.interactive {
            self.hand_keyboard_out();
        }
        self.let_run(there);
    }

    fn go_on(&mut self, configuration: &Configuration, there: &BTreeMap<u16, u32>, found: &Found) {
        let records = self.sort_out(there, found);
        self.store.retain(|id| records.contains_key(&id));
        // Those first that others need.
        let (drivers, others): (Vec<_>, Vec<_>) = records.into_iter().partition(|(_, record)| record.definition.driver);
        for (id, record) in drivers.into_iter().chain(others) {
            self.adopt(id, record, there.contains_key(&id), found.connections.get(&id).map(Vec::as_slice));
        }
        // When they were launched is not known any more.
        let machines: Vec<_> = self.machines().collect();
        machines.into_iter().for_each(|(id, order)| self.set_deadline(id, order));
        self.store.plug(&self.domains, None);
        self.store.begin_anew();
        self.store.rewrite();
        if !found.is_whole {
            self.finish_beginning(configuration, there);
        }
    }

    /// Destroys whoever was being built, and forgets whoever is gone but for driver domains, which are built again.
    fn sort_out(&mut self, there: &BTreeMap<u16, u32>, found: &Found) -> BTreeMap<u16, Record> {
        let mut records = BTreeMap::new();
        for (&id, bytes) in &found.domains {
            match Record::load(bytes) {
                Some(record) if there.contains_key(&id) || record.definition.driver => drop(records.insert(id, record)),
                _ => self.store.note_gone(id),
            }
        }
        for &id in there.keys().filter(|id| **id != keeper::NUMBER && !records.contains_key(id)) {
            // Nobody knows it, and it never ran.
            let _ = hypervisor::destroy(id);
        }
        records
    }

    fn adopt(&mut self, id: u16, record: Record, is_there: bool, connection: Option<&[u8]>) {
        let Record { definition, store, console, kept, is_reported, has_keyboard, order } = record;
        let booted = kept.filter(|_| definition.booted().is_some());
        let spare = kept.filter(|_| booted.is_none()).and_then(|kept| self.load(kept, &definition));
        if definition.driver {
            self.store.serves(id);
        }
        if !is_there {
            let rebuilt = spare.map(|spare| self.rebuild(id, &definition, spare));
            if let Some(Err(error)) = rebuilt {
                report::refused(&definition.name, error);
            }
            if self.domains.get(id).is_none() {
                self.store.release(id);
                self.store.note_gone(id);
            }
            return;
        }
        if definition.driver {
            // It may be joined still.
            let _ = hypervisor::join(id, 0);
        }
        // One that has ended needs neither.
        let console = Some(console).filter(|port| *port != 0).and_then(|port| Console::adopt(id, port).ok());
        if store != 0 {
            let _ = self.store.adopt(id, store, connection);
        }
        let mut domain = Domain::new(definition, console, spare);
        (domain.is_reported, domain.order) = (is_reported, order);
        // Without it none of its machines is built.
        domain.stock = booted.and_then(|kept| Stock::find(&self.machine, id, kept).ok());
        if has_keyboard {
            self.keyboard.owner = Some(id);
        }
        self.domains.insert(id, domain);
    }

    /// The images of a driver domain.
    fn load(&mut self, kept: Kept, definition: &Definition) -> Option<Spare> {
        let [kernel, ramdisk, tree] = kept.sizes;
        let mut address = kept.place.frame * PAGE_SIZE;
        let window = &mut self.window;
        let mut next = |size: u64| {
            let mut bytes = vec![0; usize::try_from(size).ok()?];
            window.read(keeper::NUMBER, address, &mut bytes).ok()?;
            address += size;
            Some(bytes)
        };
        let (kernel, ramdisk, tree) = (next(kernel)?, next(ramdisk)?, next(tree)?);
        self.window.close();
        Spare::again([kernel, ramdisk, tree], definition, kept)
    }

    /// The one before had no time to build all: whoever is there is let run.
    fn finish_beginning(&mut self, configuration: &Configuration, there: &BTreeMap<u16, u32>) {
        let is_known = |definition: &&Definition| self.domains.named(&definition.name).is_some();
        for definition in configuration.domains.iter().filter(|definition| !is_known(definition)) {
            report::refused(&definition.name, "the control domain failed before it was built");
        }
        self.let_run(there);
        self.store.note_whole();
    }

    /// Lets those run that wait for all to be built.
    fn let_run(&self, there: &BTreeMap<u16, u32>) {
        for (&id, flags) in there {
            let is_to_run = self.domains.get(id).is_some_and(|domain| domain.stock.is_none());
            if flags & info::PAUSED != 0 && is_to_run {
                let _ = hypervisor::unpause(id);
            }
        }
    }
}
