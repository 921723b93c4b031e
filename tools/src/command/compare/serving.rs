//! Guests that serve the same page under the same load.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use miette::miette;
use mote_api::model::Action;
use serde::{Serialize, Serializer};

use crate::command::load::{Figures, PERCENTILES};
use crate::failure::{Failure, Result};
use crate::load::{Load, Outcome};
use crate::progress::Step;
use crate::report::figures::grouped;
use crate::report::page::Row;
use crate::running::{Client, Service, State};

/// Requests to each guest. Each has its own connection: BusyBox's web server keeps none.
const REQUESTS: u64 = 1000;
/// Requests before these, which find everything cold.
const WARM_UP: u64 = 20;
/// How often is tried whether a guest serves yet.
const LOOK: Duration = Duration::from_millis(100);
/// The domain that passes the guests' frames on.
const DRIVER: &str = "driver";

/// What serving took.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Served {
    /// Who served.
    pub name: String,
    #[serde(serialize_with = "figures")]
    outcome: Outcome,
    // Ticks on a CPU of the guest, and of the driver domain meanwhile.
    guest: u64,
    driver: u64,
}

/// Has each guest that publishes a port serve its page, one guest after the other, and then asks all of them to shut down.
///
/// # Errors
///
/// One of them does not serve, or the machine ends.
pub(super) fn serve_all(state: &State, step: &Step, is_over: &AtomicBool) -> Result<Vec<Served>> {
    let client = Client::new(state)?;
    let loads: Vec<_> = state.services.iter().map(|service| (service, load(service))).collect();
    for (service, load) in &loads {
        step.detail(&format!("waiting for {}", service.domain));
        while !load.is_answered() {
            if is_over.load(Ordering::Relaxed) {
                return Err(Failure::unable(miette!("{} never served a page", service.domain)));
            }
            thread::sleep(LOOK);
        }
    }
    let served = loads.iter().map(|(service, load)| serve(&client, service, load, step)).collect::<Result<_>>()?;
    for (service, _) in &loads {
        client.shut_down(&service.domain, Action::Poweroff)?;
    }
    Ok(served)
}

/// The load on a guest.
fn load(service: &Service) -> Load {
    let url = format!("http://127.0.0.1:{}/", service.host);
    Load { url, requests: REQUESTS, clients: 1, keep_alive: false }
}

fn serve(client: &Client, service: &Service, load: &Load, step: &Step) -> Result<Served> {
    let name = &service.domain;
    let _warm = Load { requests: WARM_UP, ..load.clone() }.run(|_| ());
    let on_cpu = |name: &str| client.domain(name).map(|domain| domain.cpu_ns);
    let before = (on_cpu(name)?, on_cpu(DRIVER)?);
    let outcome = load.run(|done| step.detail(&format!("{name}: {done} of {REQUESTS} pages")));
    if outcome.failed > 0 {
        let trouble = outcome.trouble.unwrap_or_default();
        return Err(Failure::unable(miette!("{name} left {} requests without an answer: {trouble}", outcome.failed)));
    }
    let (guest, driver) = (on_cpu(name)?.saturating_sub(before.0), on_cpu(DRIVER)?.saturating_sub(before.1));
    Ok(Served { name: name.clone(), outcome, guest, driver })
}

fn figures<S: Serializer>(outcome: &Outcome, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    Figures::of(outcome).serialize(serializer)
}

/// The figures, one column for each guest.
pub(super) fn rows(served: &[Served]) -> Vec<Row> {
    let row = |title: &str, value: &dyn Fn(&Served) -> u64, words: &dyn Fn(u64) -> String| Row {
        title: title.into(),
        cells: served.iter().map(|it| Some((value(it), words(value(it))))).collect(),
    };
    let per_answer = |ticks: u64| ticks / REQUESTS;
    let mut rows = vec![
        row("instructions of the guest per answer", &|it| per_answer(it.guest), &grouped),
        row("instructions of the driver domain per answer", &|it| per_answer(it.driver), &grouped),
        row("bytes per answer", &|it| it.outcome.bytes / REQUESTS, &grouped),
        row("answers per second", &|it| it.outcome.rate() as u64, &grouped),
    ];
    rows.extend(PERCENTILES.map(|(name, rank)| {
        let latency = |it: &Served| it.outcome.percentile(rank).unwrap_or_default().as_micros() as u64;
        row(&format!("latency, {name}"), &latency, &|us| format!("{:.2} ms", us as f64 / 1000.0))
    }));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_per_answer() {
        let latencies = vec![Duration::from_millis(2); 1000];
        let outcome = Outcome { latencies, bytes: 5000, elapsed: Duration::from_secs(2), ..Outcome::default() };
        let served = [Served { name: "web".into(), outcome, guest: 7_000_000, driver: 3_000_000 }];
        let cells = rows(&served).into_iter().map(|row| row.cells[0].clone().expect("a figure").1);
        assert_eq!(cells.collect::<Vec<_>>()[..5], ["7,000", "3,000", "5", "500", "2.00 ms"]);
    }
}
