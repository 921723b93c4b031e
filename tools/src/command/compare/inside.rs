//! Requests from inside the machine: a guest asks, by a clock that is the machine's own.

use std::collections::HashMap;
use std::time::Duration;

use miette::miette;

use super::latencies::Latencies;
use crate::command::create;
use crate::command::measure::{DONE, Outside};
use crate::failure::{Failure, Result};
use crate::running::Client;
use crate::workspace;

/// Who asks.
const CONFIGURATION: &str = "dtb/compare-client.dts";
/// What it prints of some latencies.
const MARK: &str = "latencies: ";
/// How long it may be silent.
const PATIENCE: Duration = Duration::from_secs(60);

/// Has everybody who serves asked from inside the machine, one after the other, and says by their names how long answers took.
///
/// # Errors
///
/// It cannot be created, or one of them does not answer.
pub fn ask(outside: &Outside<'_>, client: &Client) -> Result<HashMap<String, Latencies>> {
    let mut times: HashMap<String, Vec<u64>> = HashMap::new();
    for (name, tree) in create::trees(client, &workspace::root().join(CONFIGURATION))? {
        client.create(&tree)?;
        client.unpause(&name)?;
        loop {
            let line = outside.lines.recv_timeout(PATIENCE);
            // The tool did not know of this guest when it began to listen: its name is part of what it says.
            let text = line.map_err(|_| Failure::unable(miette!("{name} does not come to its end")))?.text;
            let Some(text) = text.strip_prefix(&format!("{name}: ")) else { continue };
            outside.step.detail(text);
            if text == DONE {
                break;
            }
            if let Some((server, some)) = read(text) {
                times.entry(server.into()).or_default().extend(some);
            }
        }
    }
    Ok(times.into_iter().map(|(name, times)| (name, Latencies::new(times))).collect())
}

/// A line `latencies: SERVER NANOSECONDS NANOSECONDS …`.
fn read(line: &str) -> Option<(&str, Vec<u64>)> {
    let (server, some) = line.strip_prefix(MARK)?.split_once(' ')?;
    let some: Result<_, _> = some.split_whitespace().map(str::parse).collect();
    Some((server, some.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_latencies_is_read_and_others_are_not() {
        assert_eq!(read("latencies: linux 12 7 "), Some(("linux", vec![12, 7])));
        assert_eq!(read("latencies: linux 12 x"), None);
        assert_eq!(read("ready"), None);
    }
}
