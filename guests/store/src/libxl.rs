//! The nodes that Xen's toolstack, libxl, writes for a domain and its devices: where guests' drivers look for them
//! (`libxl_create.c`, `libxl_dom.c`, `libxl_device.c`, `docs/misc/xenstore-paths.pandoc`).
//!
//! A device has two ends. Each end's directory belongs to the domain whose end it is, and the other may read it. What libxl keeps for
//! itself about a device is at `/libxl/<domain>/device`, where no guest can change it.

use alloc::format;
use alloc::string::{String, ToString};

use mote_protocols::service::Terms;
use mote_protocols::xenbus::State;

use crate::error::Error;
use crate::local::Local;
use crate::path::Path;
use crate::permissions::{Access, Permission, Permissions};

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
        let id = guest.id;
        let (home, vm, own) = (Path::home(id).to_string(), vm(id), format!("/libxl/{id}"));
        let readable = Permissions::new(0, Access::NONE, &[reader(id)]);
        let (writable, hidden) = (Permissions::new(id, Access::NONE, &[]), Permissions::new(0, Access::NONE, &[]));
        for (path, permissions) in [(&home, &readable), (&vm, &readable), (&own, &hidden)] {
            self.remove(path)?;
            self.make(path, permissions)?;
        }
        for name in GIVEN {
            self.make(&format!("{home}/{name}"), &readable)?;
        }
        let drivers = ["libxl", "device-model"];
        for name in OWN.iter().chain(drivers.iter().filter(|_| guest.driver)) {
            self.make(&format!("{home}/{name}"), &writable)?;
        }
        self.mkdir(&format!("{own}/device"))?;
        self.write(&format!("{own}/type"), "pvh")?;
        self.write(&format!("{vm}/name"), guest.name)?;
        self.write(&format!("{vm}/uuid"), uuid(id))?;
        self.write(&format!("{home}/vm"), &vm)?;
        self.write(&format!("{home}/name"), guest.name)?;
        self.write(&format!("{home}/domid"), id)?;
        self.write(&format!("{home}/memory/static-max"), guest.memory)?;
        self.write(&format!("{home}/memory/target"), guest.memory)?;
        self.write(&format!("{home}/memory/videoram"), 0)?;
        self.write(&format!("{home}/control/platform-feature-multiprocessor-suspend"), 1)?;
        self.write(&format!("{home}/control/platform-feature-xs_reset_watches"), 1)?;
        self.describe_ring(guest)?;
        for vcpu in 0..guest.vcpus {
            self.write(&format!("{home}/cpu/{vcpu}/availability"), "online")?;
        }
        Ok(())
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
        self.unplug(&own)?;
        self.write(&format!("{own}/frontend"), &front)?;
        self.write(&format!("{own}/backend"), &back)?;
        self.end(&front, device.domain, device.backend)?;
        self.write(&format!("{front}/backend"), &back)?;
        self.write(&format!("{front}/backend-id"), device.backend)?;
        self.describe_front(&front, device)?;
        self.write(&format!("{front}/trusted"), 1)?;
        self.write(&format!("{front}/state"), State::Initialising.as_str())?;
        self.end(&back, device.backend, device.domain)?;
        self.write(&format!("{back}/frontend"), &front)?;
        for path in [&back, &own] {
            self.write(&format!("{path}/frontend-id"), device.domain)?;
            self.write(&format!("{path}/online"), 1)?;
            self.describe_back(path, device)?;
            // The last, because it is what a back end waits for.
            self.write(&format!("{path}/state"), State::Initialising.as_str())?;
        }
        Ok(())
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
        let served = format!("{}/", Path::home(domain));
        for guest in self.children("/libxl") {
            for kind in self.children(&format!("/libxl/{guest}/device")) {
                for number in self.children(&format!("/libxl/{guest}/device/{kind}")) {
                    let own = format!("/libxl/{guest}/device/{kind}/{number}");
                    let back = self.text(&format!("{own}/backend")).unwrap_or_default();
                    if guest == format!("{domain}") || back.starts_with(&served) {
                        self.unplug(&own)?;
                    }
                }
            }
        }
        self.remove(&Path::home(domain).to_string())?;
        self.remove(&vm(domain))?;
        self.remove(&format!("/libxl/{domain}"))
    }

    /// Removes the back end of the device that libxl's own node describes, and that node. The front end stays: it is the
    /// guest's to close, and goes with the guest or when the device is plugged again.
    fn unplug(&mut self, own: &str) -> Result<(), Error> {
        if let Some(back) = self.text(&format!("{own}/backend")) {
            self.remove(&back)?;
            let above = back.rsplit_once('/').map_or("", |(above, _)| above);
            if !above.is_empty() && self.children(above).is_empty() {
                self.remove(above)?;
            }
        }
        self.remove(own)
    }

    fn describe_front(&mut self, front: &str, device: &Device<'_>) -> Result<(), Error> {
        match device.kind {
            Kind::Vif { mac, service, .. } => {
                self.write(&format!("{front}/handle"), device.number)?;
                if let Some(Terms { port, .. }) = service {
                    self.write(&format!("{front}/service"), port)?;
                }
                self.write(&format!("{front}/mac"), mac_text(mac))
            }
            Kind::Vbd { .. } => {
                self.write(&format!("{front}/virtual-device"), device.number)?;
                self.write(&format!("{front}/device-type"), "disk")
            }
        }
    }

    fn describe_back(&mut self, back: &str, device: &Device<'_>) -> Result<(), Error> {
        let mut set = |name: &str, value: &str| self.write(&format!("{back}/{name}"), value);
        match device.kind {
            Kind::Vif { mac, ip, service } => {
                set("script", "/etc/xen/scripts/vif-bridge")?;
                set("mac", &mac_text(mac))?;
                if let Some([a, b, c, d]) = ip {
                    set("ip", &format!("{a}.{b}.{c}.{d}"))?;
                }
                if let Some(terms) = service {
                    set("service", &format!("{terms}"))?;
                }
                set("bridge", "xenbr0")?;
                set("handle", &format!("{}", device.number))?;
                set("type", "vif")?;
                set("hotplug-status", "")
            }
            Kind::Vbd { dev, params, read_only } => {
                set("params", params)?;
                set("removable", "0")?;
                set("bootable", "1")?;
                set("dev", dev)?;
                set("type", "phy")?;
                set("mode", if read_only { "r" } else { "w" })?;
                set("device-type", "disk")?;
                set("discard-enable", "1")
            }
        }
    }

    /// Makes the directory of a device's end anew.
    fn end(&mut self, path: &str, owner: u16, other: u16) -> Result<(), Error> {
        self.remove(path)?;
        self.make(path, &Permissions::new(owner, Access::NONE, &[reader(other)]))
    }

    fn text(&mut self, path: &str) -> Option<String> {
        String::from_utf8(self.read(path).ok()?).ok()
    }

    fn children(&mut self, path: &str) -> alloc::vec::Vec<String> {
        self.directory(path).unwrap_or_default()
    }
}

const fn reader(domain: u16) -> Permission {
    Permission { domain, access: Access::READ }
}

fn vm(domain: u16) -> String {
    format!("/vm/{}", uuid(domain))
}

/// Domains have no UUID of their own: this is as good, because it is another for each of them.
fn uuid(domain: u16) -> String {
    format!("00000000-0000-0000-0000-{domain:012x}")
}

fn mac_text(mac: [u8; 6]) -> String {
    let [a, b, c, d, e, f] = mac;
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}
