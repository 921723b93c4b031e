//! What the API asks for, done by the toolstack.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use mote_api::model::{Action, Domain, Image, Machine};
use mote_api::{Modules, Own, Refusal, Said, Toolstack as Interface};
use mote_builder::config::{CONTROL, Definition};
use mote_builder::plan::Images;
use mote_unikernel::time::{Instant, Timer};
use mote_unikernel::xen::{Errno, domains as hypervisor};
use xen_abi::sched::reason;

use super::observe;
use crate::build::{BuildError, Wishes};
use crate::console::Console;
use crate::toolstack::{Toolstack, has_room};
use crate::work::Operation;

impl Interface for Toolstack {
    fn machine(&self) -> Machine {
        observe::machine(self.domains.len() + 1, self.lost)
    }

    fn own(&self) -> Own {
        let (store, (used, free)) = (self.store.totals(), mote_unikernel::use_and_room());
        Own {
            heap_used: used as u64,
            heap_free: free as u64,
            images: self.images.list().iter().map(|image| image.size).sum(),
            store_nodes: store.nodes as u64,
            store_bytes: store.memory as u64,
            store_watches: store.watches as u64,
            store_transactions: store.transactions as u64,
            ready_ns: self.works.ready(),
            work: self.works.told(),
        }
    }

    fn log(&self) -> Vec<u8> {
        observe::log()
    }

    fn numbers(&self) -> Vec<u16> {
        core::iter::once(0).chain(self.domains.iter().map(|(id, _)| id)).collect()
    }

    fn find(&self, name: &str) -> Option<u16> {
        if name == CONTROL { Some(0) } else { self.domains.named(name) }
    }

    fn domain(&self, id: u16) -> Option<Domain> {
        let known = self.domains.get(id);
        if id != 0 && known.is_none() {
            return None;
        }
        let mut statistics = self.statistics.borrow_mut();
        statistics.refresh(&self.domains, &self.store);
        let booted = known.is_some_and(|known| known.definition.booted().is_some());
        let machines = booted.then(|| self.machines_of(id) as u64);
        observe::domain(id, known, machines, &statistics)
    }

    fn create(&mut self, definition: Definition, modules: Modules) -> Result<u16, Refusal> {
        let began = Instant::now();
        if !has_room() {
            let hint = "destroy other domains, remove images, or give the control domain more memory (mote,control)";
            return Err(Refusal::Conflict("the control domain has not enough memory left".into(), hint.into()));
        }
        let images = core::mem::take(&mut self.images);
        for name in [Some(&modules.kernel), modules.ramdisk.as_ref(), modules.device_tree.as_ref()] {
            name.into_iter().for_each(|name| self.images.touch(name));
        }
        let built = find(&images, &modules).ok_or(BuildError::Modules).and_then(|found| {
            let wishes = Wishes { seed: self.seeds.draw(), ..Wishes::default() };
            self.create(definition, found, wishes)
        });
        self.images = images;
        let id = built.map_err(refusal)?;
        self.store.plug(&self.domains, Some(id));
        self.works.note(Operation::Create, began);
        Ok(id)
    }

    fn destroy(&mut self, id: u16) -> Result<(), Refusal> {
        self.end(id).map_err(failed("destroying it"))
    }

    fn pause(&mut self, id: u16) -> Result<(), Refusal> {
        hypervisor::pause(id).map_err(failed("pausing it"))
    }

    fn unpause(&mut self, id: u16) -> Result<(), Refusal> {
        if self.domains.get(id).is_some_and(|domain| domain.stock.is_some()) {
            let hint = "connect to its address: a machine is booted for each who does";
            return Err(Refusal::Conflict("it stands for a service, and never runs itself".into(), hint.into()));
        }
        let (began, then) = (Instant::now(), Timer::Physical.count());
        hypervisor::unpause(id).map_err(failed("unpausing it"))?;
        let now = Timer::Physical.count();
        // It may have had its turn before this domain's came again.
        let ran = hypervisor::usage(id).map_or(0, |usage| usage.first_instruction);
        let took = if (then..now).contains(&ran) { ran - then } else { now.saturating_sub(then) };
        let done = Instant::at(began.ticks() + took);
        self.works.note_until(Operation::Start, began, done);
        Ok(())
    }

    fn shut_down(&mut self, id: u16, action: Action) -> Result<(), Refusal> {
        let (word, code) = match action {
            Action::Poweroff => ("poweroff", reason::POWEROFF),
            Action::Reboot => ("reboot", reason::REBOOT),
        };
        if self.store.ask_to(id, word) {
            return Ok(());
        }
        hypervisor::shut_down(id, code).map_err(failed("shutting it down"))
    }

    fn restart(&mut self, id: u16) -> Result<(), Refusal> {
        if id == 0 && self.store.is_kept() {
            self.is_to_fail = true;
            return Ok(());
        }
        if self.domains.get(id).is_some_and(|domain| domain.spare.is_some()) {
            // It is found as one that has failed.
            return hypervisor::shut_down(id, reason::CRASH).map_err(failed("ending it"));
        }
        let hint = "destroy it and create it again";
        Err(Refusal::Conflict("what it was built from is not kept".into(), hint.into()))
    }

    fn console(&self, id: u16, from: Option<u64>) -> Result<Said<'_>, Refusal> {
        Ok(console(self, id)?.since(from.unwrap_or(0)))
    }

    fn type_at(&mut self, id: u16, bytes: &[u8]) -> Result<usize, Refusal> {
        Ok(console(self, id)?.type_in(bytes))
    }

    fn images(&self) -> Vec<Image> {
        self.images.list()
    }

    fn image(&self, name: &str) -> Option<Image> {
        self.images.find(name)
    }

    fn put_image(&mut self, name: &str, offset: u64, bytes: &[u8], size: u64) -> Result<(), Refusal> {
        self.images.put(name, offset, bytes, size)
    }

    fn remove_image(&mut self, name: &str) -> Result<(), Refusal> {
        self.images.remove(name);
        Ok(())
    }
}

/// The bytes of these images, if all are there.
fn find<'a>(images: &'a mote_api::ImageStore, modules: &Modules) -> Option<Images<'a>> {
    let optional = |name: &Option<String>| name.as_ref().map(|name| images.bytes(name).ok_or(())).transpose().ok();
    Some(Images {
        kernel: images.bytes(&modules.kernel)?,
        ramdisk: optional(&modules.ramdisk)?,
        device_tree: optional(&modules.device_tree)?,
    })
}

fn console(toolstack: &Toolstack, id: u16) -> Result<&Console, Refusal> {
    toolstack.domains.get(id).and_then(|domain| domain.console.as_ref()).ok_or_else(|| {
        let hint = "a domain with xen,enhanced has one; what others say is on the machine's console";
        Refusal::Conflict("the domain has no console that is kept here".into(), hint.into())
    })
}

fn refusal(error: BuildError) -> Refusal {
    let said = format!("{error}");
    match error {
        BuildError::Plan(_) | BuildError::Unwanted(_) => {
            Refusal::Impossible(said, "change its definition or its modules".into())
        }
        BuildError::Modules | BuildError::Memory => {
            Refusal::Conflict(said, "destroy another domain, or ask for less".into())
        }
        BuildError::Refused(..) => Refusal::Failed(said, "`mote dmesg` may say why".into()),
    }
}

fn failed(what: &'static str) -> impl Fn(Errno) -> Refusal {
    move |error| {
        let said = format!("the hypervisor refuses {what}: error {}", error.number());
        Refusal::Failed(said, "`mote dmesg` may say why".into())
    }
}
