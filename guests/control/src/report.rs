//! What is told of domains, as lines of JSON on the console: `report {…}`, one for each that ended or was left out. Integers only; times
//! are ticks of the physical counter, sizes are bytes.

use alloc::format;
use core::fmt::{self, Write};

use mote_builder::config::Definition;
use mote_unikernel::{println, time};
use xen_abi::mote::{EXIT_REASONS, Usage};
use xen_abi::sched::reason;

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

/// Exits by reason as JSON.
struct Exits([u64; EXIT_REASONS.len()]);

impl fmt::Display for Exits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, count)) in EXIT_REASONS.iter().zip(self.0).enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            write!(f, "{before}\"{name}\":{count}")?;
        }
        f.write_str("}")
    }
}

/// Reports a domain that ended with this code of [`reason`].
pub fn domain(id: u16, definition: &Definition, code: u32, usage: &Usage) {
    let state = match code {
        reason::POWEROFF => "shutdown",
        reason::REBOOT => "reboot",
        _ => "crashed",
    };
    let end = usage.reason.iter().position(|&byte| byte == 0).unwrap_or(usage.reason.len());
    let why = core::str::from_utf8(&usage.reason[..end]).unwrap_or("");
    let Definition { name, vcpus, memory, .. } = definition;
    let Usage { created, built, ended, cpu_ticks, touched, tables, structures, .. } = usage;
    println!(
        "report {{\"kind\":\"domain\",\"id\":{id},\"name\":{},\"state\":\"{state}\",\"reason\":{},\"vcpus\":{vcpus},\
         \"image_bytes\":{},\"memory_bytes\":{memory},\"touched_bytes\":{touched},\
         \"hypervisor_bytes\":{{\"tables\":{tables},\"structures\":{structures}}},\
         \"hz\":{},\"created\":{created},\"built\":{built},\"first_instruction\":{},\"ready\":{},\"ended\":{ended},\
         \"cpu_ticks\":{cpu_ticks},\"exits\":{}}}",
        Quoted(name),
        Quoted(why),
        definition.image_bytes(),
        time::frequency(),
        Tick(usage.first_instruction),
        Tick(usage.ready),
        Exits(usage.exits),
    );
}

/// Reports a domain that is to be there and is not.
pub fn refused(name: &str, reason: impl fmt::Display) {
    println!("domain {name} left out: {reason}");
    let reason = format!("{reason}");
    println!("report {{\"kind\":\"refused\",\"name\":{},\"reason\":{}}}", Quoted(name), Quoted(&reason));
}
