//! Clones, and requests that machines are launched for: each beside what the same takes otherwise.

use std::io;

use crate::boot::machine::{Machine, Memory};
use crate::cli::Hypervisor;
use crate::command::measure::{self, PATIENCE, check_end};
use crate::failure::{Failure, Result};
use crate::progress::Step;
use crate::running::Client;
use crate::session::Wish;
use miette::miette;

use super::figures::{Goal, Measurement, row};
use super::{Values, read};

/// A control domain that makes clones, and a service with somebody who asks for it.
const CLONES: &str = "dtb/clones.dts";
const REQUESTS: &str = "dtb/bench-dust.dts";

/// What the service is called there, and what is printed before the first request to it and behind the last.
const SERVICE: &str = "summoned";
const BEGIN: &str = "bench: standing_request ";
const END: &str = "bench: summoned_request ";

/// Keys of what the control domain says.
const MEMORY: &str = "clone_own_bytes";
const LOST: &str = "summoned_lost_bytes";

/// What is measured.
pub const ROWS: [Measurement; 9] = [
    row("clone of a unikernel to its first instruction", "clone_first_instruction", Goal::AtMost(10_000)),
    row("clone that ends and is gone, instructions", "clone_end", Goal::AtMost(50_000)),
    row("destruction of a clone, instructions", "clone_destroy", Goal::AtMost(10_000)),
    row("hypervisor's memory for a clone, bytes", "clone_bytes", Goal::AtMost(16 << 10)),
    row("request to a clone launched for it, instructions", "summoned_latency", Goal::OfKey("standing_latency", 150)),
    row("the slowest of 1,000 such, nanoseconds", "summoned_latency_p999", Goal::AtMost(1_000_000)),
    row("such requests in a row, instructions each", "summoned_request", Goal::AtMost(500_000)),
    row("memory of such a clone, all that it has, bytes", MEMORY, Goal::AtMost(64 << 10)),
    row("memory that such requests leave behind, bytes", LOST, Goal::AtMost(0)),
];

/// What stands beside it: on Mote and on Linux.
pub const OTHERS: [(&str, &str); 5] = [
    ("the same request to who is always there, instructions", "standing_latency"),
    ("Linux: fork, exit, wait, instructions", "process_fork"),
    ("Linux: fork, exec, exit, wait, instructions", "process_exec"),
    ("KVM: virtual machine and vCPU made, to the first exit, instructions", "kvm_first_exit"),
    ("KVM: the same, and destroyed, instructions", "kvm_whole"),
];

/// Measures clones and requests.
///
/// # Errors
///
/// A machine cannot be booted or does not come to its end.
pub fn on_mote() -> Result<Values> {
    let mut values = Values::new();
    // So small that its memory is used up in passing.
    let machine = Machine { memory: Memory::from_mib(64), ..Machine::for_measuring() };
    measure::boot(CLONES, &machine, Hypervisor::Mote, "clones on Mote", |line| {
        values.extend(read(&line.text));
        Wish::GoOn
    })?;
    values.extend(requests()?);
    Ok(values)
}

/// Asks the control domain when all is measured. Its clock waits for it then: somebody outside is talked to.
fn requests() -> Result<Values> {
    let machine = Machine { idles: true, ..Machine::for_measuring() };
    let (config, boot) = measure::prepare(REQUESTS, &machine, Hypervisor::Mote)?;
    let client = Client::new(&boot.state(&config))?;
    let step = Step::begin(format!("{REQUESTS} on Mote"));
    let (mut values, mut free_before, mut memory) = (Values::new(), None, None);
    let console = boot.console(io::sink()).watched(|line| {
        step.detail(&line.text);
        values.extend(read(&line.text));
        if line.text.starts_with(BEGIN) {
            free_before = client.machine().ok().map(|machine| machine.free_kib);
        }
        if line.text.starts_with(END) {
            memory = memory_of(&client, free_before);
            return Wish::Finish;
        }
        Wish::GoOn
    });
    let (end, _) = boot.run(Some(PATIENCE), console)?;
    check_end(end)?;
    let (own, lost) = memory.ok_or_else(|| Failure::unable(miette!("the control domain did not say")))?;
    values.extend([(MEMORY.to_owned(), own << 10), (LOST.to_owned(), lost << 10)]);
    Ok(values)
}

/// KiB that each clone had at most, and that are missing from what was free before, once all clones have ended.
fn memory_of(client: &Client, free_before: Option<u64>) -> Option<(u64, u64)> {
    /// Looks until the last clone has ended and is counted.
    const LOOKS: usize = 100;
    let clones = || client.domain(SERVICE).ok()?.machines;
    let settled = (0..LOOKS).filter_map(|_| clones()).find(|clones| clones.live == 0 && clones.launched > 0)?;
    Some((settled.memory_kib_max, free_before?.saturating_sub(client.machine().ok()?.free_kib)))
}
