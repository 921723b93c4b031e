//! A toolstack without a machine, for tests: it keeps books, and nothing happens.

use alloc::borrow::{Cow, ToOwned};
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use mote_builder::config::Definition;

use crate::model::{Action, Disk, Domain, Exits, HypervisorBytes, Image, Machine, Machines, Network, State};
use crate::problem::Refusal;
use crate::toolstack::{Modules, Own, Said, Toolstack, Work};

/// Bytes of a console that are kept, and that can be typed.
const CONSOLE: usize = 64;
/// Bytes of all images together.
const IMAGES: u64 = 1 << 20;

/// The machine that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fake {
    // Nanoseconds that go by from one look at the machine to the next.
    tick: u64,
    time: core::cell::Cell<u64>,
    free_kib: u64,
    domains: BTreeMap<u16, Kept>,
    images: BTreeMap<String, (u64, Vec<u8>)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Kept {
    domain: Domain,
    // How much was said before what is kept.
    lost: u64,
    said: Vec<u8>,
    modules: Modules,
}

impl Default for Fake {
    /// 2 GiB, the control domain, a Linux that idles and has both kinds of devices, and a small domain that is paused.
    fn default() -> Self {
        let network = Network { received_bytes: 120_000, sent_bytes: 45_000, refused: 3, ..Network::default() };
        let disk =
            Disk { name: "xvda".into(), read_bytes: 9_000_000, written_bytes: 4096, errors: 2, ..Disk::default() };
        let idle = State { blocked: true, ..State::default() };
        let linux = Domain {
            networks: [network].into(),
            disks: [disk].into(),
            cpu_ns: 5_250_000_000,
            ready_ns: 0,
            ..domain(1, "linux", 2, 262_144, idle)
        };
        let running = State { running: true, ..State::default() };
        let paused = State { paused: true, ..State::default() };
        let domains = [domain(0, "control", 1, 2048, running), linux, domain(2, "hello", 1, 8192, paused)];
        let keep = |domain: Domain| {
            let said = alloc::format!("{}: here I am\r\n", domain.name).into_bytes();
            (domain.id, Kept { domain, said, ..Kept::default() })
        };
        Self {
            tick: 0,
            time: 90_000_000_000.into(),
            free_kib: 1_800_000,
            domains: domains.into_iter().map(keep).collect(),
            images: BTreeMap::new(),
        }
    }
}

fn domain(id: u16, name: &str, vcpus: u32, memory_kib: u64, state: State) -> Domain {
    let exits = [("hypercall", 1200), ("wfi", 340)].map(|(reason, count)| (Cow::Borrowed(reason), count));
    Domain {
        id,
        name: name.into(),
        state,
        vcpus,
        weight: 256,
        memory_kib,
        max_memory_kib: memory_kib,
        touched_bytes: memory_kib * 512,
        hypervisor_bytes: HypervisorBytes { tables: 12_288, structures: 4096 },
        cpu_ns: 1_500_000_000,
        ready_ns: 336_000,
        exits: Exits(exits.into()),
        events: 77,
        networks: Vec::new(),
        disks: Vec::new(),
        template: false,
        machines: None,
    }
}

impl Fake {
    /// The same, where so many nanoseconds go by from one look at the machine to the next.
    #[must_use]
    pub fn ticking(tick: u64) -> Self {
        Self { tick, ..Self::default() }
    }

    /// The domain has become a template, with these clones.
    pub fn make_template(&mut self, id: u16, machines: Machines) {
        if let Some(Kept { domain, .. }) = self.domains.get_mut(&id) {
            (domain.template, domain.machines) = (true, Some(machines));
        }
    }

    fn kept(&mut self, id: u16) -> Result<&mut Kept, Refusal> {
        self.domains.get_mut(&id).ok_or_else(|| Refusal::Unknown("it is gone".into(), "".into()))
    }

    /// What the domain was built from.
    pub fn modules(&self, name: &str) -> Option<&Modules> {
        self.domains.values().find(|kept| kept.domain.name == name).map(|kept| &kept.modules)
    }
}

impl Toolstack for Fake {
    fn machine(&self) -> Machine {
        self.time.set(self.time.get() + self.tick);
        Machine {
            hypervisor: "Mote".into(),
            version: "0.1.0".into(),
            cpus: 2,
            cpu_khz: 62_500,
            memory_kib: 2_097_152,
            free_kib: self.free_kib,
            domains: self.domains.len() as u32,
            time_ns: self.time.get(),
            lost: 0,
        }
    }

    fn own(&self) -> Own {
        let work = [("create", 2), ("start", 1), ("destroy", 0)].map(|(what, times)| Work {
            what,
            times,
            ns: 250_000 * times,
        });
        let ready_ns = 12_000_000;
        Own {
            heap_used: 3 << 20,
            heap_free: 4 << 20,
            store_nodes: 120,
            store_watches: 9,
            ready_ns,
            work,
            ..Own::default()
        }
    }

    fn log(&self) -> Vec<u8> {
        b"(mote) Mote 0.1.0, 2 pCPUs\n(mote) domain 0 runs\n".into()
    }

    fn numbers(&self) -> Vec<u16> {
        self.domains.keys().copied().collect()
    }

    fn find(&self, name: &str) -> Option<u16> {
        self.domains.values().find(|kept| kept.domain.name == name).map(|kept| kept.domain.id)
    }

    fn domain(&self, id: u16) -> Option<Domain> {
        self.domains.get(&id).map(|kept| kept.domain.clone())
    }

    fn create(&mut self, definition: Definition, modules: Modules) -> Result<u16, Refusal> {
        if definition.memory < definition.image_bytes() {
            return Err(Refusal::Impossible("the image does not fit its memory".into(), "give it more".into()));
        }
        let id = self.domains.keys().max().map_or(1, |last| last + 1);
        let state = State { paused: true, ..State::default() };
        let memory = definition.memory >> 10;
        self.free_kib -= memory;
        let domain = domain(id, &definition.name, definition.vcpus, memory, state);
        self.domains.insert(id, Kept { domain, modules, ..Kept::default() });
        Ok(id)
    }

    fn destroy(&mut self, id: u16) -> Result<(), Refusal> {
        let memory = self.kept(id)?.domain.memory_kib;
        self.domains.remove(&id);
        self.free_kib += memory;
        Ok(())
    }

    fn pause(&mut self, id: u16) -> Result<(), Refusal> {
        self.kept(id)?.domain.state = State { paused: true, ..State::default() };
        Ok(())
    }

    fn unpause(&mut self, id: u16) -> Result<(), Refusal> {
        self.kept(id)?.domain.state = State { running: true, ..State::default() };
        Ok(())
    }

    fn shut_down(&mut self, id: u16, action: Action) -> Result<(), Refusal> {
        let kept = self.kept(id)?;
        if kept.domain.state.paused {
            let (name, hint) = (&kept.domain.name, "let it run again: unpause".to_string());
            return Err(Refusal::Conflict(alloc::format!("{name} is paused and hears nothing"), hint));
        }
        if action == Action::Poweroff {
            self.destroy(id)?;
        }
        Ok(())
    }

    fn restart(&mut self, id: u16) -> Result<(), Refusal> {
        if id == 0 {
            return Ok(());
        }
        let name = &self.kept(id)?.domain.name;
        let hint = "destroy it and create it again".to_string();
        Err(Refusal::Conflict(alloc::format!("what {name} was built from is not kept"), hint))
    }

    fn console(&self, id: u16, from: Option<u64>) -> Result<Said<'_>, Refusal> {
        if id == 0 {
            return Err(Refusal::Conflict("the control domain has no console here".into(), "see dmesg".into()));
        }
        let Some(kept) = self.domains.get(&id) else { return Err(Refusal::Unknown("it is gone".into(), "".into())) };
        let end = kept.lost + kept.said.len() as u64;
        let from = from.unwrap_or(0).clamp(kept.lost, end);
        let bytes = kept.said.get((from - kept.lost) as usize..).unwrap_or_default();
        Ok(Said { from, bytes: Cow::Borrowed(bytes) })
    }

    /// It is said back, as a domain with a shell would.
    fn type_at(&mut self, id: u16, bytes: &[u8]) -> Result<usize, Refusal> {
        let kept = self.kept(id)?;
        let taken = bytes.get(..CONSOLE).unwrap_or(bytes);
        kept.said.extend_from_slice(taken);
        let over = kept.said.len().saturating_sub(CONSOLE);
        kept.said.drain(..over);
        kept.lost += over as u64;
        Ok(taken.len())
    }

    fn images(&self) -> Vec<Image> {
        let image = |(name, (size, bytes)): (&String, &(u64, Vec<u8>))| Image {
            name: name.clone(),
            size: *size,
            present: bytes.len() as u64,
        };
        self.images.iter().map(image).collect()
    }

    fn put_image(&mut self, name: &str, offset: u64, bytes: &[u8], size: u64) -> Result<(), Refusal> {
        let others: u64 = self.images.iter().filter(|(other, _)| *other != name).map(|(_, (size, _))| size).sum();
        if others.saturating_add(size) > IMAGES {
            let error = alloc::format!("there is no room for an image of {size} bytes");
            return Err(Refusal::TooLarge(error, "remove others: DELETE /images/NAME".into()));
        }
        let image = self.images.entry(name.to_owned()).or_default();
        if offset == 0 {
            *image = (size, Vec::new());
        }
        image.1.extend_from_slice(bytes);
        Ok(())
    }

    fn remove_image(&mut self, name: &str) -> Result<(), Refusal> {
        self.images.remove(name);
        Ok(())
    }
}
