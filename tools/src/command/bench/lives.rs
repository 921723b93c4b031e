//! What the control domain and the driver domain need: for themselves, and for domains that come and go.

use std::fs;

use super::Values;
use crate::boot::machine::Machine;
use crate::build;
use crate::command::create;
use crate::command::measure::{self, Outside};
use crate::failure::{Failure, Result};
use crate::running::Client;
use crate::workspace;

/// The machine, and what is created on it.
const MACHINE: &str = "dtb/bench-lives.dts";
const CREATED: &str = "dtb/bench-life.dts";
/// For whom the machine stays on.
const RESIDENT: &str = "resident";
/// The domain that has xenstore and an interface.
const WEB: &str = "web";
/// Times that each is created, of which the median counts.
const TURNS: usize = 5;

/// What was done to a domain, and what the control domain needed for it.
const OPERATIONS: [&str; 3] = ["create", "start", "destroy"];
/// Times and nanoseconds of each, which are instructions.
type Work = [(u64, u64); 3];

/// All figures.
///
/// # Errors
///
/// The machine cannot be booted, or does not do what it is asked for.
pub fn measure() -> Result<Values> {
    let machine = Machine { idles: true, ..Machine::for_measuring() };
    let title = "domains that come and go (half a minute)";
    let (_, mut values) = measure::work(MACHINE, &machine, title, come_and_go)?;
    let size = |guest: &str| Ok(fs::metadata(build::guest(guest)?.image).map_or(0, |file| file.len()));
    let size = |guest: &str| size(guest).map_err(Failure::unable);
    values.insert("control_driver_image".into(), size("control")? + size("driver")?);
    values.insert("http_image".into(), size("http")?);
    Ok(values)
}

fn come_and_go(outside: &Outside<'_>) -> Result<Values> {
    let client = Client::new(outside.state)?;
    outside.until("the control domain answers", || Ok(client.machine().is_ok()))?;
    let mut values = Values::new();
    let metrics = client.metrics()?;
    values.extend(nanoseconds(&metrics, "mote_control_ready_seconds").map(|ns| ("control_ready".to_owned(), ns)));
    let memory = client.domains()?.domains.iter().filter(|it| it.name != RESIDENT).map(|it| it.memory_kib).sum::<u64>();
    values.insert("control_driver_memory".into(), memory << 10);
    for (name, tree) in create::trees(&client, &workspace::root().join(CREATED))? {
        let mut lives = Vec::new();
        for turn in 1..=TURNS {
            let before = work(&client)?;
            client.create(&tree)?;
            client.unpause(&name)?;
            let mut ready = 0;
            if name == WEB {
                let is_ready = || Ok(client.domain(&name)?.ready_ns > 0);
                outside.until(&format!("{name} listens, turn {turn}"), is_ready)?;
                ready = client.domain(&name)?.ready_ns;
                client.destroy(&name)?;
            }
            let is_gone = || Ok(work(&client)?[2].0 > before[2].0);
            outside.until(&format!("{name} is gone, turn {turn}"), is_gone)?;
            let after = work(&client)?;
            let [create, start, destroy] = [0, 1, 2].map(|index| after[index].1 - before[index].1);
            lives.push([create + start, destroy, ready]);
        }
        for (index, what) in ["created", "destroyed", "connected"].into_iter().enumerate() {
            let median = median(lives.iter().map(|life| life[index]).collect());
            values.extend(median.map(|ticks| (format!("{name}_{what}"), ticks)));
        }
    }
    client.destroy(RESIDENT)?;
    Ok(values)
}

/// What the control domain has done up to now.
fn work(client: &Client) -> Result<Work> {
    let metrics = client.metrics()?;
    Ok(OPERATIONS.map(|operation| {
        let of = |metric: &str| format!("{metric}{{operation=\"{operation}\"}}");
        let times = value(&metrics, &of("mote_operations_total")).and_then(|times| times.parse().ok());
        (times.unwrap_or(0), nanoseconds(&metrics, &of("mote_operation_seconds_total")).unwrap_or(0))
    }))
}

fn value<'a>(metrics: &'a str, name: &str) -> Option<&'a str> {
    metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
}

/// Seconds with nine digits behind the point.
fn nanoseconds(metrics: &str, name: &str) -> Option<u64> {
    let (seconds, rest) = value(metrics, name)?.split_once('.')?;
    Some(seconds.parse::<u64>().ok()? * 1_000_000_000 + rest.parse::<u64>().ok()?)
}

fn median(mut values: Vec<u64>) -> Option<u64> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_read_to_the_nanosecond() {
        let metrics = "# TYPE x gauge\nx 12.000000345\nx{a=\"b\"} 0.000000007\n";
        assert_eq!(nanoseconds(metrics, "x"), Some(12_000_000_345));
        assert_eq!(nanoseconds(metrics, "x{a=\"b\"}"), Some(7));
        assert_eq!(nanoseconds(metrics, "y"), None);
    }
}
