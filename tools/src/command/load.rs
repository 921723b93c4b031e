//! `load`: asks a web server for a page again and again, and says how long that takes.

use std::collections::BTreeMap;
use std::time::Duration;

use miette::miette;
use serde::Serialize;

use super::{say, say_json};
use crate::cli::LoadArgs;
use crate::failure::{Failure, Result, Status};
use crate::load::{Load, Outcome};
use crate::progress::Step;
use crate::report::figures::grouped;

/// What is told of the latencies, in thousandths of all answers.
pub(super) const PERCENTILES: [(&str, usize); 4] = [("50 %", 500), ("90 %", 900), ("99 %", 990), ("longest", 1000)];

/// What came of a load, as JSON.
#[derive(Serialize)]
pub(super) struct Figures {
    answered: usize,
    failed: u64,
    bytes: u64,
    seconds: f64,
    answers_per_second: f64,
    latency_us: BTreeMap<&'static str, Option<u64>>,
}

/// Asks, and shows what came of it.
///
/// # Errors
///
/// The address is none, or nothing was answered.
pub fn load(arguments: &LoadArgs) -> Result<Status> {
    let LoadArgs { url, requests, clients, keep_alive, json } = arguments;
    if !url.starts_with("http://") {
        let help = "write it as http://127.0.0.1:8080/";
        return Err(Failure::misused(vec![miette!(help = help, "`{url}` is not an address of a web server")]));
    }
    let clients = usize::try_from(*clients).unwrap_or(1);
    let load = Load { urls: vec![url.clone()], requests: *requests, clients, keep_alive: *keep_alive };
    let step = Step::begin(format!("asking {url} {} times", grouped(*requests)));
    let outcome = load.run(|done| step.detail(&format!("{done} answered")));
    drop(step);
    if outcome.latencies.is_empty() {
        let why = outcome.trouble.unwrap_or_default();
        return Err(Failure::unable(miette!(help = "see that it runs: cargo run -- list", "{url}: {why}")));
    }
    if *json {
        say_json(&Figures::of(&outcome))
    } else {
        say(text(&outcome))
    }
    Ok(if outcome.failed == 0 { Status::Clean } else { Status::Crashed })
}

impl Figures {
    /// Those of `outcome`.
    pub(super) fn of(outcome: &Outcome) -> Self {
        let microseconds = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Self {
            answered: outcome.latencies.len(),
            failed: outcome.failed,
            bytes: outcome.bytes,
            seconds: outcome.elapsed.as_secs_f64(),
            answers_per_second: outcome.rate(),
            latency_us: PERCENTILES.map(|(name, rank)| (name, outcome.percentile(rank).map(microseconds))).into(),
        }
    }
}

fn text(outcome: &Outcome) -> String {
    let mut text = format!(
        "{} answers of {} bytes in {:.2} s: {:.0} per second\n",
        grouped(outcome.latencies.len() as u64),
        grouped(outcome.bytes),
        outcome.elapsed.as_secs_f64(),
        outcome.rate()
    );
    for (name, rank) in PERCENTILES {
        let latency = outcome.percentile(rank).unwrap_or_default();
        text += &format!("  {name:<8} {:>10.3} ms\n", latency.as_secs_f64() * 1000.0);
    }
    if let Some(trouble) = &outcome.trouble {
        text += &format!("{} requests had no answer; the first: {trouble}\n", grouped(outcome.failed));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told() {
        let outcome = Outcome {
            latencies: vec![Duration::from_micros(1500)],
            failed: 2,
            trouble: Some("refused".into()),
            bytes: 5,
            elapsed: Duration::from_secs(1),
        };
        let text = text(&outcome);
        assert!(text.starts_with("1 answers of 5 bytes in 1.00 s: 1 per second\n"), "{text}");
        assert!(
            text.contains("1.500 ms") && text.ends_with("2 requests had no answer; the first: refused\n"),
            "{text}"
        );
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let url = String::from("127.0.0.1:8080");
        let arguments = LoadArgs { url, requests: 1, clients: 1, keep_alive: false, json: false };
        assert!(load(&arguments).is_err());
    }
}
