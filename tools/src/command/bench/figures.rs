//! What is measured, and what it should be at most.

use std::collections::HashMap;

use serde::Serialize;

pub use crate::report::figures::grouped as written;

/// A figure to be measured.
#[derive(Clone, Copy, Debug)]
pub struct Measurement {
    title: &'static str,
    /// Where its value comes from.
    pub source: Source,
    goal: Goal,
}

/// What a value is called where it comes from.
#[derive(Clone, Copy, Debug)]
pub struct Source(&'static str);

impl Source {
    /// The key of Linux' way to its first program.
    pub const LINUX: &'static str = "linux_to_init";
    /// The key of the round trip between two guests that each have a pCPU.
    pub const TWO_PCPUS: &'static str = "event_round_trip_2";
    /// The key of that between two guests on one.
    pub const ONE_PCPU: &'static str = "event_round_trip";
    /// The key of the hypervisor's image.
    pub const IMAGE: &'static str = "image_bytes";
    /// The key of the memory that the hypervisor itself holds.
    pub const MACHINE: &'static str = "hypervisor_bytes";
    /// The key of its memory for one small guest.
    pub const DOMAIN: &'static str = "domain_bytes";

    /// The key.
    pub const fn key(self) -> &'static str {
        self.0
    }
}

/// The most that is well.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// So many.
    AtMost(u64),
    /// So many per cent of what it takes without a hypervisor.
    OfBare(u64),
    /// So many per cent of what it takes on Xen.
    OfXen(u64),
    /// So many per cent of another of Mote's own.
    OfKey(&'static str, u64),
}

/// Less than on Xen.
const AHEAD: Goal = Goal::OfXen(99);

/// The figures of networks and disks, as they are shown.
pub const DEVICES: [Measurement; 10] = [
    row("TCP round trip between guests, instructions", "tcp_round_trip", AHEAD),
    row("TCP between guests, instructions per full frame", "tcp_frame", AHEAD),
    row("TCP from a guest to the host, instructions per frame", "host_send_frame", AHEAD),
    row("TCP from the host to a guest, instructions per frame", "host_receive_frame", AHEAD),
    row("HTTP between guests, one client, instructions per page", "http_latency", AHEAD),
    row("HTTP between guests, 8 clients, instructions per page", "http_request", AHEAD),
    row("disk, read of 64 KiB in a row, instructions", "disk_read_64k", AHEAD),
    row("disk, write of 64 KiB in a row, instructions", "disk_write_64k", AHEAD),
    row("disk, read of 4 KiB here and there, instructions", "disk_read_4k", AHEAD),
    row("disk, write of 4 KiB here and there, instructions", "disk_write_4k", AHEAD),
];

/// The figures of the control domain and the driver domain, and of domains that come and go, which are shown behind these. A domain is
/// created from an image of about 100 KB; what else the machine does meanwhile is counted with it.
pub const LIVES: [Measurement; 9] = [
    row("domain without devices, created and started, instructions", "bare_created", Goal::AtMost(300_000)),
    row("domain without devices, destroyed, instructions", "bare_destroyed", Goal::AtMost(100_000)),
    row("domain with xenstore and network, created and started, instructions", "web_created", Goal::AtMost(300_000)),
    row("domain with xenstore and network, destroyed, instructions", "web_destroyed", Goal::AtMost(100_000)),
    row("its start to its network being connected, instructions", "web_connected", Goal::AtMost(2_000_000)),
    row("power-on to control and driver domain serving, instructions", "control_ready", Goal::AtMost(20_000_000)),
    row("control and driver domain's images, bytes", "control_driver_image", Goal::AtMost(1_000_000)),
    row("control and driver domain's memory, bytes", "control_driver_memory", Goal::AtMost(8 << 20)),
    row("web server's image, bytes", "http_image", Goal::AtMost(100_000)),
];

/// All others, which are shown before these.
pub const ROWS: [Measurement; 19] = [
    row("PSCI_VERSION by HVC, instructions", "psci_version", Goal::AtMost(100)),
    row("read of GICD_TYPER, instructions", "gicd_typer", Goal::AtMost(200)),
    row("SGI to self, instructions", "self_sgi", Goal::AtMost(350)),
    row("virtual timer interrupt, instructions", "vtimer", Goal::AtMost(400)),
    row("null hypercall (XENVER_version), instructions", "xen_version", Goal::AtMost(100)),
    row("event send, pending already, instructions", "event_send", Goal::AtMost(250)),
    row("event send that tells the vCPU, instructions", "event_send_new", Goal::OfXen(50)),
    row("event round trip on one pCPU, instructions", "event_round_trip", Goal::OfXen(50)),
    row("event round trip on two pCPUs, instructions", Source::TWO_PCPUS, Goal::OfXen(50)),
    row("grant map and unmap, instructions", "grant_map_unmap", Goal::OfXen(50)),
    row("grant copy of 4 KiB, instructions", "grant_copy_4k", Goal::OfXen(50)),
    row("grant copy of 64 KiB, instructions", "grant_copy_64k", Goal::OfXen(50)),
    row("switch between two vCPUs, instructions", "context_switch", Goal::OfXen(50)),
    row("page populated and touched, instructions", "populate", Goal::OfXen(50)),
    row("power-on to a small guest, instructions", "boot", Goal::AtMost(5_000_000)),
    row("power-on to Linux' first program, instructions", Source::LINUX, Goal::OfBare(103)),
    row("hypervisor's image, bytes", Source::IMAGE, Goal::AtMost(200_000)),
    row("hypervisor's own memory, bytes", Source::MACHINE, Goal::AtMost(2 << 20)),
    row("hypervisor's memory for a small guest, bytes", Source::DOMAIN, Goal::AtMost(64 << 10)),
];

/// A row of the table.
pub const fn row(title: &'static str, key: &'static str, goal: Goal) -> Measurement {
    Measurement { title, source: Source(key), goal }
}

impl Measurement {
    /// The figure, of what was measured.
    pub fn figure(&self, mote: &HashMap<String, u64>, xen: &HashMap<String, u64>, linux_bare: Option<u64>) -> Figure {
        let key = self.source.key();
        let bare = linux_bare.filter(|_| key == Source::LINUX);
        let on_xen = xen.get(key).copied();
        let part = |whole: u64, per_cent| whole.saturating_mul(per_cent) / 100;
        Figure {
            key: key.into(),
            title: self.title.into(),
            goal: match self.goal {
                Goal::AtMost(most) => Some(most),
                Goal::OfBare(per_cent) => bare.map(|bare| part(bare, per_cent)),
                Goal::OfXen(per_cent) => on_xen.map(|xen| part(xen, per_cent)),
                Goal::OfKey(other, per_cent) => mote.get(other).map(|&other| part(other, per_cent)),
            },
            mote: mote.get(key).copied(),
            xen: on_xen,
            ratio_permille: on_xen
                .zip(mote.get(key).copied().filter(|&own| own > 0))
                .map(|(xen, own)| xen.saturating_mul(1000) / own),
            bare,
        }
    }
}

/// A figure that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// Its name for programs.
    pub key: String,
    /// Its name for people.
    pub title: String,
    /// What it should be at most.
    pub goal: Option<u64>,
    /// On Mote.
    pub mote: Option<u64>,
    /// On Xen.
    pub xen: Option<u64>,
    /// Xen's divided by Mote's, in thousandths.
    pub ratio_permille: Option<u64>,
    /// Without a hypervisor.
    pub bare: Option<u64>,
}

/// How a figure of Mote's compares with its goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is within it.
    Met,
    /// It is more.
    Missed,
    /// It could not be measured.
    Unknown,
}

impl Verdict {
    /// For the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "MISSED",
            Self::Unknown => "NOT MEASURED",
        }
    }
}

impl Figure {
    /// How it compares with its goal.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        match (self.mote, self.goal) {
            (Some(mote), Some(goal)) if mote <= goal => Verdict::Met,
            (Some(_), Some(_)) => Verdict::Missed,
            (None, _) | (_, None) => Verdict::Unknown,
        }
    }

    /// Mote's, Xen's and nobody's value for people.
    #[must_use]
    pub fn cells(&self) -> [String; 3] {
        [self.mote, self.xen, self.bare].map(|value| value.map_or_else(|| "-".into(), written))
    }

    /// How many times Mote's value is in Xen's, for people.
    #[must_use]
    pub fn ratio(&self) -> String {
        match (self.mote, self.xen) {
            (Some(mote @ 1..), Some(xen)) => format!("{:.1}×", xen as f64 / mote as f64),
            _ => "-".into(),
        }
    }
}
