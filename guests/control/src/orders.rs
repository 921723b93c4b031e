//! Machines that driver domains ask for, because somebody has called a service whose machines boot ([`ORDERS`]): they are built like any
//! domain, and destroyed when they are not needed any more.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use mote_api::End;
use mote_builder::config::{Definition, Vif};
use mote_protocols::service::ORDERS;
use mote_unikernel::println;
use mote_unikernel::time::Instant;
use mote_unikernel::xen::{Errno, domains as hypervisor};
use xen_abi::Zeroed;
use xen_abi::domctl::{GetDomainInfo, info};
use xen_abi::sched::reason;

use crate::api::nanoseconds;
use crate::build::{BuildError, Wishes};
use crate::toolstack::Toolstack;
use crate::work::Operation;

/// Characters of a service's name that its machines' names begin with; a point and a number follow.
const NAME: usize = 20;

/// A machine that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// The driver domain that did.
    pub driver: u16,
    /// What it calls it.
    pub number: u32,
    /// The service that it is for.
    pub service: u16,
}

impl Order {
    fn path(self) -> String {
        format!("{}/{}", directory(self.driver), self.number)
    }
}

/// Where a driver domain asks for machines.
pub fn directory(driver: u16) -> String {
    format!("/local/domain/{driver}/{ORDERS}")
}

impl Toolstack {
    /// Does what driver domains want done; whether there may be more.
    pub fn follow_orders(&mut self) -> bool {
        if !self.store.has_orders() {
            return false;
        }
        self.end_machines(|toolstack, order| toolstack.store.peek(&order.path()).is_none());
        // One, after which others have their turns.
        let Some(order) = self.next_order() else {
            self.store.note_followed();
            return false;
        };
        if let Err(why) = self.summon(order) {
            println!("no machine for domain {}: {why}", order.service);
            self.store.update(|local| local.remove(&order.path())).unwrap_or_default();
        }
        true
    }

    /// A machine that is asked for and is not there.
    fn next_order(&mut self) -> Option<Order> {
        let drivers = self.domains.iter().filter(|(_, domain)| domain.definition.driver).map(|(id, _)| id);
        let drivers: Vec<u16> = drivers.collect();
        drivers.into_iter().find_map(|driver| {
            let names = self.store.update(|local| local.directory(&directory(driver))).unwrap_or_default();
            names.iter().find_map(|name| {
                // Such a number would be found nowhere else, and not be taken away. No name has a plus.
                if name.starts_with('0') {
                    return None;
                }
                let number = name.parse().ok()?;
                let is_there = self.machines().any(|(_, order)| (order.driver, order.number) == (driver, number));
                let order = Order { driver, number, service: 0 };
                let service = self.store.peek(&order.path()).and_then(|value| str::from_utf8(value).ok()?.parse().ok());
                (!is_there).then_some(Order { service: service.unwrap_or(0), ..order })
            })
        })
    }

    /// All machines that were asked for.
    pub fn machines(&self) -> impl Iterator<Item = (u16, Order)> {
        self.domains.iter().filter_map(|(id, domain)| Some((id, domain.order?)))
    }

    /// How many of them there are of a service.
    pub fn machines_of(&self, service: u16) -> usize {
        self.machines().filter(|(_, order)| order.service == service).count()
    }

    /// Whether the interface by which such a machine is called is this driver domain's, as it is plugged in.
    fn is_served_by(&self, definition: &Definition, driver: u16) -> bool {
        // Such machines have one interface.
        self.domains.backend(definition.vifs.first().and_then(|vif| vif.backend.as_deref())) == Some(driver)
    }

    /// Builds a machine and lets it run.
    fn summon(&mut self, order: Order) -> Result<(), BuildError> {
        const UNKNOWN: BuildError = BuildError::Unwanted("it has no machines that boot");
        let began = Instant::now();
        let service = self.domains.get(order.service).ok_or(UNKNOWN)?;
        let (definition, terms) = (&service.definition, service.definition.booted().ok_or(UNKNOWN)?);
        if !self.is_served_by(definition, order.driver) {
            return Err(BuildError::Unwanted("another domain serves it"));
        }
        if self.machines_of(order.service) >= terms.machines.into() {
            return Err(BuildError::Unwanted("it has as many machines as it may"));
        }
        if !crate::toolstack::has_room() {
            return Err(BuildError::Memory);
        }
        let definition = machine(definition, order.number);
        if self.domains.named(&definition.name).is_some() {
            return Err(BuildError::Unwanted("another domain has the machine's name"));
        }
        let wishes = Wishes { seed: self.seeds.draw(), order: Some(order), ..Wishes::default() };
        let stock = self.domains.get_mut(order.service).and_then(|service| service.stock.take());
        let images = stock.as_ref().and_then(|stock| stock.images()).ok_or(BuildError::Modules);
        let built = images.and_then(|images| self.create(definition, images, wishes));
        if let Some(service) = self.domains.get_mut(order.service) {
            service.stock = stock;
        }
        let id = built?;
        self.set_deadline(id, order);
        self.store.plug(&self.domains, Some(id));
        self.works.note(Operation::Create, began);
        hypervisor::unpause(id).map_err(|error| BuildError::Refused("to run it", error.number()))
    }

    /// Gives a machine as long to live as its service's machines have.
    pub fn set_deadline(&mut self, id: u16, order: Order) {
        let terms = self.domains.get(order.service).and_then(|service| service.definition.booted());
        let life = terms.map_or(0, |terms| terms.life);
        if let Some(domain) = self.domains.get_mut(id).filter(|_| life > 0) {
            domain.deadline = Some(Instant::now() + Duration::from_millis(life.into()));
        }
    }

    /// Ends those of the machines that are as `wanted`.
    pub fn end_machines(&mut self, wanted: impl Fn(&mut Self, Order) -> bool) {
        let all: Vec<_> = self.machines().collect();
        for (id, order) in all {
            if wanted(self, order) {
                // What cannot be destroyed was told of.
                let _: Result<(), Errno> = self.destroy(id);
            }
        }
    }

    /// Ends the machines that have lived for too long, as if they had failed: then they are found by whoever looks for these.
    pub fn end_overdue(&mut self) {
        while let Some((due, id)) = self.domains.next_deadline()
            && due <= Instant::now()
            && let Some(domain) = self.domains.get_mut(id)
        {
            domain.deadline = None;
            let _ = hypervisor::shut_down(id, reason::CRASH);
        }
    }

    /// A domain is about to be destroyed: if it is a machine that was asked for, it is counted, and who asked is told.
    pub fn note_end(&mut self, id: u16) {
        let Some(order) = self.domains.get(id).and_then(|domain| domain.order) else { return };
        self.store.update(|local| local.remove(&order.path())).unwrap_or_default();
        let mut room = [GetDomainInfo::new_zeroed()];
        let (Ok(usage), Ok(1)) = (hypervisor::usage(id), hypervisor::list(id, &mut room)) else { return };
        let [listed] = room;
        let code = listed.flags >> info::SHUTDOWN_SHIFT & 0xff;
        let has_failed = listed.flags & info::SHUTDOWN != 0 && !matches!(code, reason::POWEROFF | reason::REBOOT);
        let until = if usage.ended == 0 { Instant::now().ticks() } else { usage.ended };
        if let Some(service) = self.domains.get_mut(order.service) {
            service.ended.add(End {
                crashed: has_failed,
                life_ns: nanoseconds(until.saturating_sub(usage.built)),
                cpu_ns: nanoseconds(usage.cpu_ticks),
                memory_kib: usage.memory / 1024,
            });
        }
    }
}

/// What the machine of this number is to be.
fn machine(service: &Definition, number: u32) -> Definition {
    let name: String = service.name.chars().take(NAME).collect();
    let vifs = service.vifs.iter().map(|vif| Vif { service: None, host: None, ..vif.clone() });
    Definition { name: format!("{name}.{number}"), ephemeral: false, vifs: vifs.collect(), ..service.clone() }
}
