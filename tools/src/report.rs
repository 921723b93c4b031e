//! What the hypervisor measured: its report lines, read.

pub mod chart;
pub mod figures;
pub mod json;
pub mod page;
pub mod table;

use serde::{Deserialize, Serialize};

/// One report of the hypervisor.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Report {
    /// A guest has ended.
    Domain(Box<DomainReport>),
    /// The machine is about to switch itself off.
    Machine(MachineReport),
    /// A guest of the configuration was left out.
    Refused {
        /// Its node's name.
        name: String,
        /// Why.
        reason: String,
    },
}

/// How a guest ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It switched itself off.
    Shutdown,
    /// It asked for a restart.
    Reboot,
    /// It was stopped for what it did.
    Crashed,
}

impl State {
    /// As the reports spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shutdown => "shutdown",
            Self::Reboot => "reboot",
            Self::Crashed => "crashed",
        }
    }
}

/// What one guest cost. Times are ticks of the machine's counter since it was switched on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct DomainReport {
    /// The guest's number.
    pub id: u16,
    /// The guest's name.
    pub name: String,
    /// How it ended.
    pub state: State,
    /// Why, in words; empty if there is nothing to say.
    #[serde(default)]
    pub reason: String,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Bytes of its kernel and ramdisk as they were loaded.
    pub image_bytes: u64,
    /// Bytes of memory it was given.
    pub memory_bytes: u64,
    /// Bytes of that which it used.
    pub touched_bytes: u64,
    /// Bytes of its own that the hypervisor spent on it.
    pub hypervisor_bytes: HypervisorBytes,
    /// Ticks per second.
    pub hz: u64,
    /// When the hypervisor began to build it.
    pub created: u64,
    /// When it was built: from here on it waited for a CPU alone. 0 if it was paused until its end.
    pub built: u64,
    /// When its first instruction was about to run, if it did.
    pub first_instruction: Option<u64>,
    /// When it printed what it prints when ready, if it did.
    pub ready: Option<u64>,
    /// When it ended.
    pub ended: u64,
    /// Ticks it was running on a CPU, summed over its vCPUs.
    pub cpu_ticks: u64,
    /// How often it fell into the hypervisor.
    pub exits: Exits,
}

/// The hypervisor's memory for one guest, by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct HypervisorBytes {
    /// Its translation tables.
    pub tables: u64,
    /// Everything else.
    pub structures: u64,
}

impl HypervisorBytes {
    /// All of it.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.tables.saturating_add(self.structures)
    }
}

/// Exits from a guest, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Exits {
    hypercall: u64,
    psci: u64,
    mmio: u64,
    sysreg: u64,
    wfi: u64,
    interrupt: u64,
    access_flag: u64,
    fault: u64,
    other: u64,
}

impl Exits {
    /// Every reason with its count.
    #[must_use]
    pub const fn by_reason(&self) -> [(&'static str, u64); 9] {
        [
            ("hypercall", self.hypercall),
            ("psci", self.psci),
            ("mmio", self.mmio),
            ("sysreg", self.sysreg),
            ("wfi", self.wfi),
            ("interrupt", self.interrupt),
            ("access_flag", self.access_flag),
            ("fault", self.fault),
            ("other", self.other),
        ]
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_reason().iter().map(|(_, count)| count).sum()
    }
}

/// What the machine as a whole cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct MachineReport {
    /// Physical CPUs.
    pub pcpus: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes of the hypervisor's image.
    pub image_bytes: u64,
    /// Bytes of memory that the hypervisor itself holds.
    pub hypervisor_bytes: u64,
    /// Ticks per second.
    pub hz: u64,
    /// When the hypervisor's first instruction ran.
    pub entered: u64,
    /// When the first guest's first instruction was about to run, if one did.
    #[serde(default)]
    pub first_guest: Option<u64>,
    /// Bytes of memory that guests could have.
    pub pool_bytes: u64,
    /// What of it was free when all guests were gone.
    pub free_bytes: u64,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A report as the hypervisor prints it.
    pub const HELLO: &str = r#"{"kind":"domain","id":1,"name":"hello","state":"shutdown",
        "reason":"","vcpus":1,"image_bytes":9000,"memory_bytes":8388608,"touched_bytes":40960,
        "hypervisor_bytes":{"tables":12288,"structures":4096},"hz":1000000000,"created":1000,"built":30000,
        "first_instruction":31000,"ready":33500,"ended":40000,"cpu_ticks":9000,
        "exits":{"hypercall":0,"psci":1,"mmio":20,"sysreg":3,"wfi":0,"interrupt":1,
        "access_flag":0,"fault":0,"other":0}}"#;

    /// A report of a guest that ended in this state.
    pub fn domain(state: &str) -> Report {
        serde_json::from_str(&HELLO.replace("shutdown", state)).expect("a report")
    }

    #[test]
    fn a_domain_report_is_read_in_full() {
        let Ok(Report::Domain(hello)) = serde_json::from_str(HELLO) else { panic!("not read") };
        assert_eq!(hello.state, State::Shutdown);
        assert_eq!(hello.hypervisor_bytes.total(), 16_384);
        assert_eq!(hello.exits.total(), 25);
    }

    #[test]
    fn a_guest_that_never_was_ready_says_null() {
        let never = HELLO.replace("33500", "null");
        let Ok(Report::Domain(hello)) = serde_json::from_str(&never) else { panic!("not read") };
        assert_eq!(hello.ready, None);
    }

    #[test]
    fn a_guest_that_never_ran_says_null() {
        let never = HELLO.replace("31000", "null").replace("30000", "0").replace("33500", "null");
        let Ok(Report::Domain(hello)) = serde_json::from_str(&never) else { panic!("not read") };
        assert_eq!((hello.built, hello.first_instruction), (0, None));
    }

    #[test]
    fn a_refusal_names_the_node_and_the_reason() {
        let line = r#"{"kind":"refused","name":"bad","reason":"no kernel"}"#;
        let report: Report = serde_json::from_str(line).expect("a report");
        assert_eq!(report, Report::Refused { name: "bad".into(), reason: "no kernel".into() });
    }
}
