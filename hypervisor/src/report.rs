//! What EL2 measured, as lines of JSON on the console: `(mote) report {…}`, one for each domain that ended or was left out, and one
//! for the machine. Integers only; times are ticks of the physical counter, sizes are bytes.

use core::fmt::{self, Write};

use mote_platform::{heap, image, timer};

use crate::console;
use crate::domain::{Domain, End};
use crate::memory::{self, Usage};
use crate::stats::Exits;

/// A string as JSON.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if c.is_ascii_graphic() || c == ' ' => f.write_char(c)?,
                c => write!(f, "\\u{:04x}", u32::from(c))?,
            }
        }
        f.write_str("\"")
    }
}

/// A milestone as JSON: null if it was not reached.
struct Tick(u64);

impl fmt::Display for Tick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { f.write_str("null") } else { write!(f, "{}", self.0) }
    }
}

impl fmt::Display for Exits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, (name, count)) in self.named().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}\"{name}\":{count}")?;
        }
        f.write_str("}")
    }
}

/// What a domain cost, counted when it was taken apart.
pub struct Cost {
    /// Its memory.
    pub memory: Usage,
    /// EL2's structures for it.
    pub structure_bytes: u64,
    /// Time its vCPUs ran.
    pub cpu_ticks: u64,
    /// Its exits.
    pub exits: Exits,
}

/// Reports a domain that ended.
pub fn domain(domain: &Domain, end: End, cost: &Cost) {
    let (state, reason) = match end {
        End::Shutdown => ("shutdown", "it switched itself off"),
        End::Reboot => ("reboot", "it asked for a reset"),
        End::Crashed(reason) => ("crashed", reason),
    };
    let Domain { id, name, vcpus, image_bytes, milestones, .. } = domain;
    let Cost { memory, structure_bytes, cpu_ticks, exits } = cost;
    let Usage { given: memory_bytes, touched: touched_bytes, tables: table_bytes } = memory;
    let relaxed = core::sync::atomic::Ordering::Relaxed;
    console::log(format_args!(
        "report {{\"kind\":\"domain\",\"id\":{},\"name\":{},\"state\":\"{state}\",\"reason\":{},\"vcpus\":{},\
         \"image_bytes\":{image_bytes},\"memory_bytes\":{memory_bytes},\"touched_bytes\":{touched_bytes},\
         \"hypervisor_bytes\":{{\"tables\":{table_bytes},\"structures\":{structure_bytes}}},\
         \"hz\":{},\"created\":{},\"built\":{},\"first_instruction\":{},\"ready\":{},\"ended\":{},\
         \"cpu_ticks\":{cpu_ticks},\"exits\":{exits}}}",
        id.get(),
        Quoted(name),
        Quoted(reason),
        vcpus.len(),
        timer::frequency(),
        milestones.created,
        milestones.built.load(relaxed),
        Tick(milestones.first_instruction.load(relaxed)),
        Tick(milestones.ready.load(relaxed)),
        timer::now(),
    ));
}

/// Reports a domain that the configuration names and EL2 left out.
pub fn refused(name: &str, reason: impl fmt::Display) {
    console::log(format_args!("domain {name} left out: {reason}"));
    let reason = alloc::format!("{reason}");
    let (name, reason) = (Quoted(name), Quoted(&reason));
    console::log(format_args!("report {{\"kind\":\"refused\",\"name\":{name},\"reason\":{reason}}}"));
}

/// Reports the machine, when all its domains are gone: what of the pool is not free then is lost.
pub fn machine(pcpus: usize, memory_bytes: u64, entered: u64, first_guest: u64) {
    let (pool, free) = memory::pool_bytes();
    console::log(format_args!(
        "report {{\"kind\":\"machine\",\"pcpus\":{pcpus},\"memory_bytes\":{memory_bytes},\"image_bytes\":{},\
         \"hypervisor_bytes\":{},\"hz\":{},\"entered\":{entered},\"first_guest\":{},\
         \"pool_bytes\":{pool},\"free_bytes\":{free}}}",
        image::file_size(),
        image::region().len() - heap::free(),
        timer::frequency(),
        Tick(first_guest),
    ));
}
