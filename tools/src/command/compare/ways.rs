//! The ways in which the same page is served: which there are, what each has of the machine, and what it has done up to now.

use mote_api::model::{Domain, Domains, Machines};
use serde::Serialize;

use crate::failure::Result;
use crate::running::Client;

/// The domains that serve others.
const DRIVER: &str = "driver";
const CONTROL: &str = "control";

/// What the machine and everybody who serves have at one moment.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sample {
    /// Nanoseconds since the machine was switched on.
    pub time_ns: u64,
    /// Memory of the machine that nobody has, in KiB.
    pub free_kib: u64,
    /// Nanoseconds that the driver domain and the control domain ran.
    pub driver_ns: u64,
    /// See there.
    pub control_ns: u64,
    /// Everybody who serves.
    pub ways: Vec<Way>,
}

/// What somebody who serves has, with all clones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Way {
    /// The domain's name.
    pub name: String,
    /// Machines that were launched for it: itself, or its clones.
    pub launched: u64,
    /// Those that are there.
    pub live: u64,
    /// Those that ended as they should.
    pub vanished: u64,
    /// Those that failed.
    pub crashed: u64,
    /// Nanoseconds for which those that ended were there.
    pub life_ns_total: u64,
    /// Nanoseconds that it and those of its clones that ended ran.
    pub cpu_ns: u64,
    /// Bytes of memory that it was given.
    pub given_bytes: u64,
    /// Bytes of that which it has touched.
    pub touched_bytes: u64,
    /// Bytes of the hypervisor's own for it.
    pub hypervisor_bytes: u64,
    /// Bytes that its clones which are there have of their own, if each has what those that ended had in the mean.
    pub clones_bytes: u64,
    /// All that is known of its clones, if these serve.
    pub clones: Option<Machines>,
}

impl Sample {
    /// A look at the machine and at the domains called `names`.
    ///
    /// # Errors
    ///
    /// The machine does not answer. Who is not there is left out.
    pub fn take(client: &Client, names: &[&str]) -> Result<Self> {
        let (free_kib, all) = (client.machine()?.free_kib, client.domains()?);
        Ok(Self::of(free_kib, &all, names))
    }

    fn of(free_kib: u64, all: &Domains, names: &[&str]) -> Self {
        let find = |name: &str| all.domains.iter().find(|domain| domain.name == name);
        let ran = |name: &str| find(name).map_or(0, |domain| domain.cpu_ns);
        let ways = names.iter().filter_map(|name| find(name)).map(Way::of).collect();
        Self { time_ns: all.time_ns, free_kib, driver_ns: ran(DRIVER), control_ns: ran(CONTROL), ways }
    }

    /// Who is called `name`.
    #[must_use]
    pub fn way(&self, name: &str) -> Option<&Way> {
        self.ways.iter().find(|way| way.name == name)
    }

    /// Seconds since the machine was switched on.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.time_ns as f64 / 1e9
    }
}

impl Way {
    fn of(domain: &Domain) -> Self {
        let is_up = u64::from(!domain.state.shutdown && !domain.state.dying);
        let itself = Machines { launched: 1, live: is_up, vanished: 1 - is_up, ..Machines::default() };
        let machines = domain.machines.unwrap_or(itself);
        Self {
            name: domain.name.clone(),
            launched: machines.launched,
            live: machines.live,
            vanished: machines.vanished,
            crashed: machines.crashed,
            life_ns_total: machines.life_ns_total,
            cpu_ns: domain.cpu_ns.saturating_add(machines.cpu_ns_total),
            given_bytes: domain.memory_kib << 10,
            touched_bytes: domain.touched_bytes,
            hypervisor_bytes: domain.hypervisor_bytes.total(),
            clones_bytes: machines.live.saturating_mul(machines.memory_kib_mean) << 10,
            clones: domain.machines,
        }
    }

    /// Whether nobody is there who was launched for a request.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.clones.is_none_or(|clones| clones.live == 0)
    }

    /// Bytes of the machine that others cannot have because of it.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.given_bytes.saturating_add(self.hypervisor_bytes).saturating_add(self.clones_bytes)
    }
}

#[cfg(test)]
mod tests {
    use mote_api::model::HypervisorBytes;

    use super::*;

    /// A machine with a domain that is always there and one whose clones serve.
    fn domains() -> Domains {
        let domain = |name: &str, cpu_ns| Domain {
            name: name.into(),
            cpu_ns,
            memory_kib: 1024,
            hypervisor_bytes: HypervisorBytes { tables: 1000, structures: 24 },
            ..Domain::default()
        };
        let clones = Machines {
            launched: 12,
            live: 2,
            vanished: 9,
            crashed: 1,
            life_ns_total: 5000,
            cpu_ns_total: 700,
            memory_kib_mean: 64,
            ..Machines::default()
        };
        let template = Domain { machines: Some(clones), ..domain("clones", 300) };
        let domains = vec![domain("control", 1), domain("driver", 20), domain("linux", 4000), template];
        Domains { time_ns: 2_000_000_000, domains, ..Domains::default() }
    }

    #[test]
    fn who_is_always_there_is_one_machine_and_a_template_is_its_clones() {
        let sample = Sample::of(500, &domains(), &["linux", "clones"]);
        assert_eq!((sample.driver_ns, sample.control_ns, sample.seconds()), (20, 1, 2.0));
        let [linux, clones] = &sample.ways[..] else { panic!("two ways") };
        assert_eq!((linux.launched, linux.live, linux.vanished, linux.cpu_ns), (1, 1, 0, 4000));
        assert_eq!((clones.launched, clones.live, clones.vanished, clones.cpu_ns), (12, 2, 9, 1000));
        assert_eq!(linux.held_bytes(), (1 << 20) + 1024);
        assert_eq!(clones.held_bytes(), (1 << 20) + 1024 + (128 << 10));
        assert!(linux.is_at_rest() && !clones.is_at_rest());
    }
}
