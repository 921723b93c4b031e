//! What is said in JSON, here and by clients.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use serde::de::{Error, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a request is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What is wrong.
    pub error: String,
    /// What to do about it.
    pub hint: String,
}

/// The machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// What the hypervisor is called.
    pub hypervisor: String,
    /// Its version.
    pub version: String,
    /// Physical CPUs.
    pub cpus: u32,
    /// What a physical CPU's counter counts in a millisecond.
    pub cpu_khz: u32,
    /// Memory in KiB.
    pub memory_kib: u64,
    /// Memory that nobody has, in KiB.
    pub free_kib: u64,
    /// Domains that are there, the control domain included.
    pub domains: u32,
    /// Nanoseconds since it was switched on.
    pub time_ns: u64,
    /// Domains that ended and vanished so fast one after the other that nobody counted them.
    pub lost: u64,
}

/// All domains at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domains {
    /// Nanoseconds since the machine was switched on.
    pub time_ns: u64,
    /// Physical CPUs.
    pub cpus: u32,
    /// The machine's memory in KiB.
    pub memory_kib: u64,
    /// The domains, by their numbers.
    pub domains: Vec<Domain>,
}

/// A domain. What is counted is counted from its beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domain {
    /// Its number.
    pub id: u16,
    /// Its name.
    pub name: String,
    /// What it is doing.
    pub state: State,
    /// Its vCPUs.
    pub vcpus: u32,
    /// Its share of the physical CPUs; 256 is the usual one.
    pub weight: u32,
    /// Its memory in KiB.
    pub memory_kib: u64,
    /// Memory that it may have, in KiB.
    pub max_memory_kib: u64,
    /// Bytes of its memory that it has touched, as far as that is known.
    pub touched_bytes: u64,
    /// Bytes that the hypervisor needs for it: translation tables, and all else.
    pub hypervisor_bytes: HypervisorBytes,
    /// Nanoseconds that its vCPUs ran.
    pub cpu_ns: u64,
    /// Nanoseconds from when it was first let run until it was ready; 0 until then.
    pub ready_ns: u64,
    /// How often it came to the hypervisor, by reason.
    pub exits: Exits,
    /// How often one of its vCPUs was told of events.
    pub events: u64,
    /// Its network interfaces.
    pub networks: Vec<Network>,
    /// Its disks.
    pub disks: Vec<Disk>,
    /// Whether it has become a template, of which clones are made.
    pub template: bool,
    /// Its clones, if it is a template; or the machines that were booted for it, if it stands for a service of such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machines: Option<Machines>,
}

/// A service's machines, as many as are known of since the control domain began, and who called it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machines {
    /// All of them.
    pub launched: u64,
    /// Those that are there.
    pub live: u64,
    /// Those that ended by themselves, or because they were not needed any more.
    pub vanished: u64,
    /// Those that failed, or did more than they may.
    pub crashed: u64,
    /// Of those that ended: for how many microseconds each was there, at least.
    pub life_us_min: u64,
    /// In the mean.
    pub life_us_mean: u64,
    /// At most.
    pub life_us_max: u64,
    /// The nanoseconds of all of them.
    pub life_ns_total: u64,
    /// For how many microseconds each ran, in the mean.
    pub cpu_us_mean: u64,
    /// The nanoseconds that all of those ran.
    pub cpu_ns_total: u64,
    /// KiB of memory that each had of its own when it ended, at least.
    pub memory_kib_min: u64,
    /// In the mean.
    pub memory_kib_mean: u64,
    /// At most.
    pub memory_kib_max: u64,
    /// Connections that no machine has accepted yet.
    #[serde(default)]
    pub waiting: u64,
    /// Connections that were refused, because there were too many or no machine could be had.
    #[serde(default)]
    pub refused: u64,
    /// Connections that a machine began to answer.
    #[serde(default)]
    pub answered: u64,
    /// Of these: for how many microseconds each waited for the first byte, from when its caller was known to be there, in the mean.
    #[serde(default)]
    pub answer_us_mean: u64,
    /// At most.
    #[serde(default)]
    pub answer_us_max: u64,
}

impl Machines {
    /// All that ended, in whichever way.
    #[must_use]
    pub const fn ended(&self) -> u64 {
        self.vanished.saturating_add(self.crashed)
    }
}

/// Bytes that the hypervisor needs for a domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HypervisorBytes {
    /// Translation tables.
    pub tables: u64,
    /// All else.
    pub structures: u64,
}

impl HypervisorBytes {
    /// All of them.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.tables.saturating_add(self.structures)
    }
}

/// A domain's network interface, seen from the domain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its number in the domain.
    pub index: u32,
    /// Bytes that came.
    pub received_bytes: u64,
    /// Frames that came.
    pub received_frames: u64,
    /// Frames that came and found no room.
    pub received_dropped: u64,
    /// Bytes that went.
    pub sent_bytes: u64,
    /// Frames that went.
    pub sent_frames: u64,
    /// Frames that the domain must not send: from an address that is not its own.
    pub refused: u64,
    /// How often its rings made no sense, which ended a connection.
    pub broken: u64,
}

/// A domain's disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// What it is called in the domain: `xvda`.
    pub name: String,
    /// Bytes that were read.
    pub read_bytes: u64,
    /// Requests to read that were done.
    pub reads: u64,
    /// Bytes that were written.
    pub written_bytes: u64,
    /// Requests to write that were done.
    pub writes: u64,
    /// Other requests that were done: to flush, to discard.
    pub others: u64,
    /// Requests that failed.
    pub errors: u64,
    /// How often its ring made no sense, which ended a connection.
    pub broken: u64,
}

/// An image: bytes to build domains from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Its name.
    pub name: String,
    /// How many bytes it is to have.
    pub size: u64,
    /// How many of them are there, from the first on.
    pub present: u64,
}

/// All images.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Images {
    /// The images, by their names.
    pub images: Vec<Image>,
}

/// How a domain is to be shut down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shutdown {
    /// What it is asked for.
    #[serde(default)]
    pub action: Action,
}

/// What a domain is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// To switch itself off.
    #[default]
    Poweroff,
    /// To start anew.
    Reboot,
}

/// Bytes that a console took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// How many: the first ones of those that were sent. For the others there was no room.
    pub taken: u64,
}

/// What a domain is doing, in xl's letters: running, blocked, paused, shut down, crashed, dying.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// A vCPU of it runs.
    pub running: bool,
    /// It has nothing to do.
    pub blocked: bool,
    /// It was paused.
    pub paused: bool,
    /// It has shut down.
    pub shutdown: bool,
    /// It did so because it had failed.
    pub crashed: bool,
    /// It is being destroyed.
    pub dying: bool,
}

impl State {
    const LETTERS: [u8; 6] = *b"rbpscd";

    const fn flags(self) -> [bool; 6] {
        [self.running, self.blocked, self.paused, self.shutdown, self.crashed, self.dying]
    }

    /// The letters, each in its place or a dash.
    fn letters(self) -> [u8; 6] {
        let mut letters = Self::LETTERS;
        let unset = letters.iter_mut().zip(self.flags()).filter(|(_, flag)| !flag);
        unset.for_each(|(letter, _)| *letter = b'-');
        letters
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(core::str::from_utf8(&self.letters()).unwrap_or_default())
    }
}

impl FromStr for State {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let found: [u8; 6] = text.as_bytes().try_into().map_err(drop)?;
        let mut flags = [false; 6];
        for ((flag, found), letter) in flags.iter_mut().zip(found).zip(Self::LETTERS) {
            *flag = match found {
                b'-' => false,
                found if found == letter => true,
                _ => return Err(()),
            };
        }
        let [running, blocked, paused, shutdown, crashed, dying] = flags;
        Ok(Self { running, blocked, paused, shutdown, crashed, dying })
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(core::str::from_utf8(&self.letters()).unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for State {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(|()| D::Error::custom("a state is six of `rbpscd` or dashes"))
    }
}

/// Counts by reason, in the order in which they were counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exits(pub Vec<(Cow<'static, str>, u64)>);

impl Exits {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }
}

impl Serialize for Exits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (reason, count) in &self.0 {
            map.serialize_entry(&**reason, count)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Exits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Counts)
    }
}

struct Counts;

impl<'de> Visitor<'de> for Counts {
    type Value = Exits;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("counts by reason")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Exits, A::Error> {
        let mut counts = Vec::new();
        while let Some((reason, count)) = map.next_entry::<String, u64>()? {
            counts.push((Cow::Owned(reason), count));
        }
        Ok(Exits(counts))
    }
}
