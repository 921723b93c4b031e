//! What is told of those who serve, one column for each.

use super::latencies::Latencies;
use super::serving::{REQUESTS, Served};
use crate::command::load::PERCENTILES;
use crate::report::figures::{Clock, Unit, grouped, written};
use crate::report::page::Row;

/// What answers take.
pub(super) fn serving(served: &[Served]) -> Vec<Row> {
    let row = |title: &str, value: &dyn Fn(&Served) -> u64| row(served, title, &|it| Some(value(it)), &grouped);
    let per_answer = |instructions: u64| instructions / REQUESTS;
    let mut rows = vec![
        row("instructions of who serves, per answer", &|it| per_answer(it.instructions.service)),
        row("instructions of the driver domain, per answer", &|it| per_answer(it.instructions.driver)),
        row("instructions of the control domain, per answer", &|it| per_answer(it.instructions.control)),
        row("instructions in all, per answer", &|it| {
            let all = it.instructions;
            per_answer(all.service + all.driver + all.control)
        }),
        row("bytes per answer", &|it| it.outcome.bytes / REQUESTS),
        row("answers per second, host's clock", &|it| it.outcome.rate() as u64),
    ];
    rows.extend(percentiles(served, "latency, machine's clock", |it| &it.inside));
    rows.extend(percentiles(served, "latency, host's clock", |it| &it.outside));
    rows
}

fn percentiles(served: &[Served], what: &str, of: impl Fn(&Served) -> &Latencies) -> Vec<Row> {
    let rows = PERCENTILES.map(|(name, rank)| {
        row(served, &format!("{what}, {name}"), &|it| of(it).percentile(rank), &|ns| time(ns / 1000))
    });
    rows.into()
}

/// Which machines there were, and what memory they took.
pub(super) fn machines(served: &[Served]) -> Vec<Row> {
    let count = |title: &str, value: &dyn Fn(&Served) -> u64| row(served, title, &|it| Some(value(it)), &grouped);
    let bytes = |title: &str, value: &dyn Fn(&Served) -> Option<u64>| row(served, title, value, &|bytes| memory(bytes));
    let life = |title: &str, value: fn(&mote_api::model::Machines) -> u64| {
        row(served, title, &|it| it.last.clones.as_ref().map(value), &time)
    };
    vec![
        count("machines launched", &|it| it.last.launched),
        count("machines at once, seen at most", &|it| it.most.live),
        count("machines that vanished", &|it| it.last.vanished),
        count("machines that failed", &|it| it.last.crashed),
        life("life of a machine, shortest", |clones| clones.life_us_min),
        life("life of a machine, mean", |clones| clones.life_us_mean),
        life("life of a machine, longest", |clones| clones.life_us_max),
        bytes("memory given, idle", &|it| Some(it.idle.given_bytes)),
        bytes("hypervisor's memory for it, idle", &|it| Some(it.idle.hypervisor_bytes)),
        bytes("memory with the hypervisor's, under load at most", &|it| {
            Some(it.idle.held_bytes() + it.most.taken_bytes)
        }),
        bytes("memory touched, idle", &|it| Some(it.idle.touched_bytes)),
        bytes("memory touched, under load, and of machines launched", &|it| {
            Some(it.most.touched_bytes + it.most.taken_bytes)
        }),
        bytes("a launched machine's own memory, mean", &|it| it.last.clones.map(|clones| clones.memory_kib_mean << 10)),
        bytes("a launched machine's own memory, at most", &|it| {
            it.last.clones.map(|clones| clones.memory_kib_max << 10)
        }),
    ]
}

fn row(served: &[Served], title: &str, value: &dyn Fn(&Served) -> Option<u64>, words: &dyn Fn(u64) -> String) -> Row {
    let cells = served.iter().map(|it| value(it).map(|value| (value, words(value)))).collect();
    Row { title: title.into(), cells }
}

fn memory(bytes: u64) -> String {
    written(bytes, Unit::Bytes, Clock::Instructions)
}

/// Microseconds for people.
fn time(us: u64) -> String {
    format!("{:.2} ms", us as f64 / 1000.0)
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::super::serving::{Instructions, Most};
    use super::super::ways::Way;
    use super::*;
    use crate::load::Outcome;

    pub(in crate::command::compare) fn served(name: &str) -> Served {
        let latencies = vec![Duration::from_millis(2); 1000];
        let outside = Latencies::of(&latencies);
        Served {
            name: name.into(),
            outcome: Outcome { latencies, bytes: 5000, elapsed: Duration::from_secs(2), ..Outcome::default() },
            outside,
            inside: Latencies::new((1..=1000).map(|number| number * 1000).collect()),
            instructions: Instructions { service: 7_000_000, driver: 3_000_000, control: 1_000_000 },
            idle: Way { given_bytes: 1 << 20, hypervisor_bytes: 1 << 10, ..Way::default() },
            last: Way { launched: 4, vanished: 4, ..Way::default() },
            most: Most { live: 3, touched_bytes: 4096, taken_bytes: 1 << 20 },
        }
    }

    fn cell(rows: &[Row], title: &str) -> String {
        let row = rows.iter().find(|row| row.title == title).unwrap_or_else(|| panic!("no {title}"));
        row.cells[0].clone().map_or("-".into(), |(_, words)| words)
    }

    #[test]
    fn figures_are_per_answer() {
        let rows = serving(&[served("web")]);
        for (title, words) in [
            ("instructions of who serves, per answer", "7,000"),
            ("instructions of the driver domain, per answer", "3,000"),
            ("instructions in all, per answer", "11,000"),
            ("bytes per answer", "5"),
            ("answers per second, host's clock", "500"),
            ("latency, machine's clock, 50 %", "0.50 ms"),
            ("latency, machine's clock, longest", "1.00 ms"),
            ("latency, host's clock, 90 %", "2.00 ms"),
        ] {
            assert_eq!(cell(&rows, title), words, "{title}");
        }
    }

    #[test]
    fn who_launches_nobody_has_no_lives() {
        let rows = machines(&[served("web")]);
        assert_eq!(cell(&rows, "machines launched"), "4");
        assert_eq!(cell(&rows, "memory with the hypervisor's, under load at most"), "2.0 MiB");
        assert_eq!(cell(&rows, "life of a machine, mean"), "-");
    }
}
