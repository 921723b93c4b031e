//! What was found out, as curves.

use super::latencies::Latencies;
use super::serving::{Served, Serving};
use super::ways::{Sample, Way};
use crate::report::chart::{Axis, Band, Chart, Series, Shape};

const INSIDE: &str = "One client inside the machine, one request after the other, by the machine's clock, which counts instructions: \
    a microsecond is a thousand of them.";
const OUTSIDE: &str = "Eight clients on the host, by its clock. The machine is emulated: only the ratios between the three mean anything.";
const TIME: &str = "machine's clock, s";

/// How long answers take.
pub(super) fn latencies(served: &[Served], reference: usize) -> Vec<Chart> {
    let unit = served.get(reference).and_then(|it| it.outside.percentile(500)).unwrap_or(1).max(1) as f64;
    let median = served.get(reference).map_or("", |it| it.name.as_str());
    let outside = format!("times {median}'s median");
    let sources = [
        ("by the machine's clock", INSIDE, "latency, us", 1000.0, (|it| &it.inside) as fn(&Served) -> &Latencies),
        ("by the host's clock", OUTSIDE, outside.as_str(), unit, |it| &it.outside),
    ];
    let charts = sources.into_iter().flat_map(|(what, note, label, unit, of)| {
        let series = |shape, points: &dyn Fn(&Latencies) -> Vec<(f64, f64)>| series(served, shape, |it| points(of(it)));
        let share = |times: &Latencies| times.shares().map(|(ns, share)| (ns as f64 / unit, share)).collect();
        let counts = |times: &Latencies| {
            let both = |part: &super::latencies::Part| {
                [(part.from_ns / unit, part.count as f64), (part.below_ns / unit, part.count as f64)]
            };
            times.histogram().iter().flat_map(both).collect()
        };
        let chart = |title: String, y: &str, series| Chart {
            title,
            note: note.into(),
            x: Axis::logarithmic(label),
            y: Axis::linear(y),
            bands: Vec::new(),
            series,
        };
        [
            chart(format!("Answers that took no longer, {what}"), "per cent of all", series(Shape::Line, &share)),
            chart(format!("Answers that took so long, {what}"), "answers", series(Shape::Area, &counts)),
        ]
    });
    charts.collect()
}

/// Machines and memory as they came and went.
pub(super) fn life(serving: &Serving) -> Vec<Chart> {
    let Serving { serving: served, turns, samples } = serving;
    let begin = samples.first().map_or(0.0, Sample::seconds);
    let at = |ns: u64| ns as f64 / 1e9 - begin;
    let colour = |name: &str| served.iter().position(|it| it.name == name).unwrap_or(0);
    let bands =
        turns.iter().map(|turn| Band { from: at(turn.from_ns), to: at(turn.to_ns), colour: colour(&turn.name) });
    let bands: Vec<_> = bands.collect();
    let over_time = |name: &str, value: &dyn Fn(&Way) -> f64| -> Vec<(f64, f64)> {
        let point = |sample: &Sample| Some((at(sample.time_ns), value(sample.way(name)?)));
        samples.iter().filter_map(point).collect()
    };
    let of_all = |value: fn(&Way) -> f64| series(served, Shape::Line, |it| over_time(&it.name, &value));
    let chart = |title: &str, note: &str, y: Axis, series| Chart {
        title: title.into(),
        note: note.into(),
        x: Axis::linear(TIME),
        y,
        bands: bands.clone(),
        series,
    };
    let free = samples.first().map_or(0, |sample| sample.free_kib) as f64;
    let taken = samples.iter().map(|sample| (at(sample.time_ns), free - sample.free_kib as f64)).collect();
    let taken = Series { name: "all".into(), colour: served.len(), shape: Shape::Area, points: taken };
    let launchers = || served.iter().filter(|it| it.last.clones.is_some());
    let since = |name: &str, value: fn(&Way) -> u64| {
        let first = samples.first().and_then(|sample| sample.way(name)).map_or(0, value);
        over_time(name, &|way| value(way).saturating_sub(first) as f64)
    };
    let counts = launchers().flat_map(|it| {
        let one = |what: &str, colour, value| Series {
            name: format!("{} {what}", it.name),
            colour,
            shape: Shape::Line,
            points: since(&it.name, value),
        };
        [one("launched", colour(&it.name), |way| way.launched), one("vanished", served.len(), |way| way.vanished)]
    });
    let lives = launchers().map(|it| Series {
        name: it.name.clone(),
        colour: colour(&it.name),
        shape: Shape::Dots,
        points: lives(samples, &it.name).into_iter().map(|(ns, life)| (at(ns), life)).collect(),
    });
    vec![
        chart(
            "Machines that are there",
            "Shaded: whose turn it is.",
            Axis::linear("machines"),
            of_all(|way| way.live as f64),
        ),
        chart("Machines that came and went", "Since the first look.", Axis::linear("machines"), counts.collect()),
        chart(
            "Life of a machine",
            "Each dot: those that ended since the look before, in the mean.",
            Axis::linear("us"),
            lives.collect(),
        ),
        chart(
            "Memory taken by all guests since the first look",
            "What the machine has less to give.",
            Axis::linear("KiB"),
            vec![taken],
        ),
        chart(
            "Memory of each",
            "What each was given, and the hypervisor's own for it. Clones that are there count as much as those that ended had in the mean.",
            Axis::logarithmic("KiB"),
            of_all(|way| way.held_bytes() as f64 / 1024.0),
        ),
        chart(
            "Time on the CPU",
            "Of each, with its clones that ended.",
            Axis::linear("ms"),
            series(served, Shape::Line, |it| {
                let first = samples.first().and_then(|sample| sample.way(&it.name)).map_or(0, |way| way.cpu_ns);
                over_time(&it.name, &|way| way.cpu_ns.saturating_sub(first) as f64 / 1e6)
            }),
        ),
    ]
}

/// How many microseconds those lived that ended between two looks, in the mean, and when the second was.
fn lives(samples: &[Sample], name: &str) -> Vec<(u64, f64)> {
    let ended = |way: &Way| way.vanished.saturating_add(way.crashed);
    let life = |(before, after): (&Sample, &Sample)| {
        let (earlier, later) = (before.way(name)?, after.way(name)?);
        let count = ended(later).checked_sub(ended(earlier)).filter(|count| *count > 0)?;
        let ns = later.life_ns_total.saturating_sub(earlier.life_ns_total);
        Some((after.time_ns, ns as f64 / 1000.0 / count as f64))
    };
    samples.iter().zip(samples.iter().skip(1)).filter_map(life).collect()
}

fn series(served: &[Served], shape: Shape, points: impl Fn(&Served) -> Vec<(f64, f64)>) -> Vec<Series> {
    let one = |(colour, it): (usize, &Served)| Series { name: it.name.clone(), colour, shape, points: points(it) };
    served.iter().enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tables::tests::served;
    use super::*;

    fn sample(time_ns: u64, vanished: u64, life_ns_total: u64) -> Sample {
        let clones = Some(mote_api::model::Machines::default());
        let way = |name: &str| Way { name: name.into(), vanished, life_ns_total, clones, live: 1, ..Way::default() };
        Sample { time_ns, ways: vec![way("web"), way("clones")], ..Sample::default() }
    }

    #[test]
    fn lives_are_of_those_that_ended_meanwhile() {
        let samples = [sample(1, 0, 0), sample(2, 2, 8000), sample(3, 2, 8000), sample(4, 3, 9000)];
        assert_eq!(lives(&samples, "clones"), [(2, 4.0), (4, 1.0)]);
        assert_eq!(lives(&samples, "nobody"), []);
    }

    #[test]
    fn everything_that_was_seen_can_be_drawn() {
        let (mut web, clones) = (served("web"), served("clones"));
        web.last.clones = Some(Default::default());
        let samples = vec![sample(1_000_000, 0, 0), sample(2_000_000, 5, 5000), sample(3_000_000, 9, 9000)];
        let serving = Serving { serving: vec![web, clones], turns: Vec::new(), samples };
        for chart in latencies(&serving.serving, 0).into_iter().chain(life(&serving)) {
            assert!(chart.svg().is_some() || chart.title == "Memory of each", "{}", chart.title);
        }
    }
}
