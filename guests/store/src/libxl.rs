//! The nodes that Xen's toolstack, libxl, writes for a domain and its devices: where guests' drivers look for them
//! (`libxl_create.c`, `libxl_dom.c`, `libxl_device.c`, `docs/misc/xenstore-paths.pandoc`).
//!
//! A device has two ends. Each end's directory belongs to the domain whose end it is, and the other may read it. What libxl keeps for
//! itself about a device is at `/libxl/<domain>/device`, where no guest can change it.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use mote_protocols::service::Terms;
use mote_protocols::xenbus::State;

use crate::error::Error;
use crate::local::Local;
use crate::path::Path;
use crate::permissions::{Access, Permission, Permissions};
use crate::view::Leaf;

/// What a guest may write about itself.
const OWN: [&str; 11] = [
    "control/shutdown",
    "control/feature-poweroff",
    "control/feature-reboot",
    "control/feature-suspend",
    "control/sysrq",
    "device/suspend/event-channel",
    "data",
    "drivers",
    "feature",
    "attr",
    "error",
];
/// And that of one that serves devices.
const DRIVERS: [&str; 2] = ["libxl", "device-model"];
/// What it may read.
const GIVEN: [&str; 4] = ["cpu", "memory", "device", "control"];

/// A domain as its nodes describe it.
#[derive(Clone, Copy, Debug)]
pub struct Guest<'a> {
    /// Its number.
    pub id: u16,
    /// Its name.
    pub name: &'a str,
    /// Its memory in KiB.
    pub memory: u64,
    /// Its vCPUs.
    pub vcpus: u32,
    /// The frame of its ring, and its event channel.
    pub store: (u64, u32),
    /// Whether it serves devices.
    pub driver: bool,
}

/// What a device is.
#[derive(Clone, Copy, Debug)]
pub enum Kind<'a> {
    /// A network interface.
    Vif {
        /// Its MAC address.
        mac: [u8; 6],
        /// The only IPv4 address that it may send from.
        ip: Option<[u8; 4]>,
        /// How clones of the domain serve who connects to that address, if they do.
        service: Option<Terms>,
        /// By which number the back end asked for the domain, if it did.
        machine: Option<u32>,
    },
    /// A disk.
    Vbd {
        /// What it is called in the domain, as `xvda`.
        dev: &'a str,
        /// What the back end knows it by.
        params: &'a str,
        /// Whether it cannot be written.
        read_only: bool,
    },
}

impl Kind<'_> {
    const fn name(self) -> &'static str {
        match self {
            Self::Vif { .. } => "vif",
            Self::Vbd { .. } => "vbd",
        }
    }
}

/// A device of a domain.
#[derive(Clone, Copy, Debug)]
pub struct Device<'a> {
    /// What it is.
    pub kind: Kind<'a>,
    /// Whose it is.
    pub domain: u16,
    /// Its number among the domain's of its kind; a disk's is that of its name.
    pub number: u32,
    /// The domain that serves it.
    pub backend: u16,
}

impl Device<'_> {
    fn frontend_path(&self) -> String {
        format!("{}/device/{}/{}", Path::home(self.domain), self.kind.name(), self.number)
    }

    fn backend_path(&self) -> String {
        format!("{}/backend/{}/{}/{}", Path::home(self.backend), self.kind.name(), self.domain, self.number)
    }

    fn own_path(&self) -> String {
        format!("/libxl/{}/device/{}/{}", self.domain, self.kind.name(), self.number)
    }
}

impl Local<'_> {
    /// Writes what is always there, once.
    ///
    /// # Errors
    /// None, if the server is new.
    pub fn describe_host(&mut self) -> Result<(), Error> {
        self.mkdir("/tool/xenstored")?;
        self.write("/local/domain/0/domid", 0)?;
        self.write("/local/domain/0/name", "Domain-0")
    }

    /// Writes a domain's nodes, of which the server must have been told.
    ///
    /// # Errors
    /// [`Error::Missing`] if it was not.
    pub fn describe(&mut self, guest: &Guest<'_>) -> Result<(), Error> {
        let (id, memory) = (guest.id, format!("{}", guest.memory));
        let (home, vm, own) = (Path::home(id).to_string(), vm(id), format!("/libxl/{id}"));
        let (number, ring, port) = (format!("{id}"), format!("{}", guest.store.0), format!("{}", guest.store.1));
        let readable = Permissions::new(0, Access::NONE, &[reader(id)]);
        let (writable, hidden) = (Permissions::new(id, Access::NONE, &[]), Permissions::new(0, Access::NONE, &[]));
        let drivers = DRIVERS.iter().filter(|_| guest.driver);
        let written = OWN.iter().chain(drivers).map(|name| Leaf { name, value: "", permissions: Some(&writable) });
        let cpus: Vec<String> = (0..guest.vcpus).map(|vcpu| format!("cpu/{vcpu}/availability")).collect();
        let values = [
            ("vm", &*vm),
            ("name", guest.name),
            ("domid", &number),
            ("memory/static-max", &memory),
            ("memory/target", &memory),
            ("memory/videoram", "0"),
            ("control/platform-feature-multiprocessor-suspend", "1"),
            ("control/platform-feature-xs_reset_watches", "1"),
            ("store/ring-ref", &ring),
            ("store/port", &port),
        ];
        let given = GIVEN.iter().map(|name| leaf(name, ""));
        let values = values.into_iter().map(|(name, value)| leaf(name, value));
        let cpus = cpus.iter().map(|name| leaf(name, "online"));
        let leaves: Vec<Leaf<'_>> = given.chain(written).chain(values).chain(cpus).collect();
        self.plant(&home, &readable, &leaves)?;
        self.plant(&vm, &readable, &[leaf("name", guest.name), leaf("uuid", uuid_of(&vm))])?;
        self.plant(&own, &hidden, &[leaf("device", ""), leaf("type", "pvh")])
    }

    /// Writes where a domain's ring is.
    ///
    /// # Errors
    /// [`Error::Missing`] if the server does not know the domain.
    pub fn describe_ring(&mut self, guest: &Guest<'_>) -> Result<(), Error> {
        let home = Path::home(guest.id);
        self.write(&format!("{home}/store/ring-ref"), guest.store.0)?;
        self.write(&format!("{home}/store/port"), guest.store.1)
    }

    /// Writes the nodes of a device's two ends. If there is such a device, it is made anew.
    ///
    /// # Errors
    /// [`Error::Missing`] if the server does not know one of the domains.
    pub fn plug(&mut self, device: &Device<'_>) -> Result<(), Error> {
        let (front, back, own) = (device.frontend_path(), device.backend_path(), device.own_path());
        let [domain, backend, number] =
            [device.domain.into(), device.backend.into(), device.number].map(|number: u32| format!("{number}"));
        let (mac, ip, service, machine) = match device.kind {
            Kind::Vif { mac, ip, service, machine } => {
                (mac_text(mac), ip.map(|[a, b, c, d]| format!("{a}.{b}.{c}.{d}")), service, machine)
            }
            Kind::Vbd { .. } => (String::new(), None, None, None),
        };
        let machine = machine.map(|machine| format!("{machine}"));
        let (terms, port) = (service.map(|terms| format!("{terms}")), service.map(|terms| format!("{}", terms.port)));
        let back_leaves = match device.kind {
            Kind::Vif { .. } => [
                leaf("script", "/etc/xen/scripts/vif-bridge"),
                leaf("mac", &mac),
                leaf("bridge", "xenbr0"),
                leaf("handle", &number),
                leaf("type", "vif"),
                leaf("hotplug-status", ""),
            ]
            .into_iter()
            .chain(ip.as_deref().map(|ip| leaf("ip", ip)))
            .chain(terms.as_deref().map(|terms| leaf("service", terms)))
            .chain(machine.as_deref().map(|machine| leaf("machine", machine)))
            .collect::<Vec<_>>(),
            Kind::Vbd { dev, params, read_only } => Vec::from([
                leaf("params", params),
                leaf("removable", "0"),
                leaf("bootable", "1"),
                leaf("dev", dev),
                leaf("type", "phy"),
                leaf("mode", if read_only { "r" } else { "w" }),
                leaf("device-type", "disk"),
                leaf("discard-enable", "1"),
            ]),
        };
        let front_leaves = match device.kind {
            Kind::Vif { .. } => [leaf("handle", &number), leaf("mac", &mac)],
            Kind::Vbd { .. } => [leaf("virtual-device", &number), leaf("device-type", "disk")],
        };
        // The last, because it is what a back end waits for.
        let state = [leaf("state", State::Initialising.as_str())];
        let both = [leaf("frontend-id", &domain), leaf("online", "1")].into_iter().chain(back_leaves).chain(state);
        let both: Vec<_> = both.collect();
        let ends = [leaf("frontend", &front), leaf("backend", &back)];
        let in_front = [leaf("backend", &back), leaf("backend-id", &backend), leaf("trusted", "1")];
        let served = port.as_deref().map(|port| leaf("service", port));
        let in_front: Vec<_> = in_front.into_iter().chain(front_leaves).chain(served).chain(state).collect();
        let in_back: Vec<_> = [leaf("frontend", &front)].into_iter().chain(both.iter().copied()).collect();
        let of_own: Vec<_> = ends.into_iter().chain(both).collect();
        let of = |owner, other| Permissions::new(owner, Access::NONE, &[reader(other)]);
        self.unplug(&own)?;
        self.plant(&own, &Permissions::new(0, Access::NONE, &[]), &of_own)?;
        self.plant(&front, &of(device.domain, device.backend), &in_front)?;
        self.plant(&back, &of(device.backend, device.domain), &in_back)
    }

    /// The number of the domain that serves a device of `domain`, or `None` if it is not plugged.
    pub fn backend(&mut self, domain: u16, kind: Kind<'_>, number: u32) -> Option<u16> {
        let device = Device { kind, domain, number, backend: 0 };
        let path = self.text(&format!("{}/backend", device.own_path()))?;
        path.strip_prefix("/local/domain/")?.split('/').next()?.parse().ok()
    }

    /// Removes a domain's nodes, both ends of its devices, and what is known of devices that it serves: another domain
    /// can serve them then.
    ///
    /// # Errors
    /// None that a domain could be the cause of.
    pub fn undescribe(&mut self, domain: u16) -> Result<(), Error> {
        let (home, own) = (Path::home(domain).to_string(), format!("/libxl/{domain}"));
        // What is below its own nodes goes with them.
        self.for_each_device(&own, |local, _, back| local.remove_back(back))?;
        // Whom it served is known only by looking at all.
        let served = format!("{home}/");
        if self.has(&format!("{home}/backend")) {
            for guest in self.children("/libxl") {
                self.for_each_device(&format!("/libxl/{guest}"), |local, device, back| {
                    if back.starts_with(&served) { local.unplug(device) } else { Ok(()) }
                })?;
            }
        }
        self.remove(&home)?;
        self.remove(&vm(domain))?;
        self.remove(&own)
    }

    /// Does something with each device of the domain that libxl's own node describes, and its back end's path.
    fn for_each_device(
        &mut self,
        own: &str,
        mut what: impl FnMut(&mut Self, &str, &str) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for kind in self.children(&format!("{own}/device")) {
            for number in self.children(&format!("{own}/device/{kind}")) {
                let device = format!("{own}/device/{kind}/{number}");
                let back = self.text(&format!("{device}/backend")).unwrap_or_default();
                what(self, &device, &back)?;
            }
        }
        Ok(())
    }

    /// Removes the back end of the device that libxl's own node describes, and that node. The front end stays: it is the
    /// guest's to close, and goes with the guest or when the device is plugged again.
    fn unplug(&mut self, own: &str) -> Result<(), Error> {
        let back = self.text(&format!("{own}/backend")).unwrap_or_default();
        self.remove_back(&back)?;
        self.remove(own)
    }

    fn remove_back(&mut self, back: &str) -> Result<(), Error> {
        if back.is_empty() {
            return Ok(());
        }
        self.remove(back)?;
        let above = back.rsplit_once('/').map_or("", |(above, _)| above);
        if !above.is_empty() && self.children(above).is_empty() { self.remove(above) } else { Ok(()) }
    }

    fn text(&mut self, path: &str) -> Option<String> {
        String::from_utf8(self.read(path).ok()?).ok()
    }

    fn children(&mut self, path: &str) -> Vec<String> {
        self.directory(path).unwrap_or_default()
    }
}

/// A node with the permissions of the one above.
const fn leaf<'a>(name: &'a str, value: &'a str) -> Leaf<'a> {
    Leaf { name, value, permissions: None }
}

const fn reader(domain: u16) -> Permission {
    Permission { domain, access: Access::READ }
}

/// Domains have no UUID of their own: this is as good, because it is another for each of them.
fn vm(domain: u16) -> String {
    format!("/vm/00000000-0000-0000-0000-{domain:012x}")
}

fn uuid_of(vm: &str) -> &str {
    vm.strip_prefix("/vm/").unwrap_or_default()
}

fn mac_text(mac: [u8; 6]) -> String {
    let [a, b, c, d, e, f] = mac;
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}
