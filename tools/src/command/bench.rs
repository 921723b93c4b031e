//! `bench`: what traps, starting and space cost, on Mote and on Xen, counted in the same way.

mod bare;
mod dom0;
mod dust;
mod figures;
mod host;
mod lives;
mod rivals;

use std::collections::HashMap;

use serde::Serialize;

use super::measure::{self, DONE};
use crate::boot::machine::Machine;
use crate::cli::{BenchArgs, Hypervisor};
use crate::console::Heard;
use crate::failure::{Result, Status};
use crate::report::json;
use crate::report::page::{self, Row, Section};
use crate::report::table;
use crate::session::Wish;
use crate::setup::Paths;
use figures::{Figure, Source, Verdict};

/// The configurations: a small guest that measures what traps cost, two that measure what Xen's ABI costs, and Linux.
const SMALL: &str = "dtb/bench.dts";
const PAIR: &str = "dtb/bench-pair.dts";
const LINUX: &str = "dtb/linux.dts";

/// Guests with networks and disks.
const DEVICES: [&str; 3] = ["dtb/bench-tcp.dts", "dtb/bench-http.dts", "dtb/bench-disk.dts"];

/// Boots of Linux of which the median counts.
const BOOTS: u32 = 5;

/// What the guest that measures prints before each figure.
const MARK: &str = "bench: ";

const NOTE: &str = "The same guest on the same emulated machine (one CPU, 2 GiB), with the clock counting instructions. \
    What a guest measures includes its own few instructions. Behind Xen's figure stands how many times Mote's it is.";

/// Everything that was measured.
#[derive(Debug, Default, Serialize)]
struct Document {
    figures: Vec<Figure>,
    /// Of clones, and what stands beside them.
    clones: Vec<Figure>,
    others: Vec<Other>,
}

/// A figure without a goal, with which others are to be compared.
#[derive(Debug, Serialize)]
struct Other {
    title: &'static str,
    key: &'static str,
    value: Option<u64>,
}

/// Measures, and shows the figures beside their goals.
///
/// # Errors
///
/// A machine cannot be booted or does not come to its end.
pub fn bench(arguments: &BenchArgs) -> Result<Status> {
    let (mut mote, mut xen, mut bare, mut rows) = (Values::new(), Values::new(), None, Vec::new());
    let all = !arguments.devices && !arguments.lives && !arguments.clones;
    let (clones, others) = if all || arguments.clones { of_clones()? } else { (Vec::new(), Vec::new()) };
    if all {
        mote.extend(on_mote()?);
        xen.extend(on_xen()?);
        bare = median_of_boots(bare::linux_to_init)?;
        rows.extend(figures::ROWS);
    }
    if all || arguments.devices {
        mote.extend(devices_on_mote()?);
        xen.extend(devices_on_xen()?);
        rows.extend(figures::DEVICES);
    }
    if all || arguments.lives {
        mote.extend(lives::measure()?);
        rows.extend(figures::LIVES);
    }
    let figures: Vec<Figure> = rows.iter().map(|row| row.figure(&mote, &xen, bare)).collect();
    for table in [&figures, &clones].into_iter().filter(|table| !table.is_empty()) {
        println!("{}", as_table(table));
    }
    if !others.is_empty() {
        println!("{}", as_list(&others));
    }
    finish(arguments, &Document { figures, clones, others })
}

/// Writes what is to be written.
fn finish(arguments: &BenchArgs, document: &Document) -> Result<Status> {
    if let Some(file) = &arguments.report.json {
        json::write(file, document)?;
    }
    if let Some(file) = &arguments.report.html {
        let all = [&document.figures, &document.clones].into_iter().filter(|figures| !figures.is_empty());
        let sections: Vec<_> = all.map(|figures| section(figures)).collect();
        page::write(file, "Mote beside Xen", &sections)?;
    }
    let is_missing = document.others.iter().any(|other| other.value.is_none());
    let all = document.figures.iter().chain(&document.clones);
    Ok(if is_missing { Status::Crashed } else { status(all, arguments.strict) })
}

/// Clones and the requests that they answer, and what else there is.
fn of_clones() -> Result<(Vec<Figure>, Vec<Other>)> {
    let (mote, rivals) = (dust::on_mote()?, rivals::measure()?);
    let figures = dust::ROWS.iter().map(|row| row.figure(&mote, &Values::new(), None)).collect();
    let value = |key| mote.get(key).or_else(|| rivals.get(key)).copied();
    let others = dust::OTHERS.iter().map(|&(title, key)| Other { title, key, value: value(key) }).collect();
    Ok((figures, others))
}

/// What was measured, by key.
type Values = HashMap<String, u64>;

fn on_mote() -> Result<Values> {
    let (mut values, heard) = traps(Hypervisor::Mote)?;
    values.extend(space(&heard));
    let ready = median_of_boots(linux_to_init)?;
    values.extend(ready.map(|ready| (Source::LINUX.to_owned(), ready)));
    Ok(values)
}

/// What networks and disks cost. Those who serve others never end by themselves.
fn devices_on_mote() -> Result<Values> {
    let mut values = Values::new();
    for file in DEVICES {
        let title = format!("{file} on Mote");
        measure::boot(file, &Machine::for_measuring(), Hypervisor::Mote, &title, |line| {
            values.extend(read(&line.text));
            if line.text == DONE { Wish::Finish } else { Wish::GoOn }
        })?;
    }
    values.extend(host::on_mote()?);
    Ok(values)
}

fn devices_on_xen() -> Result<Values> {
    let mut values = Values::new();
    let title = "networks and disks on Xen (a minute)";
    dom0::run(&DEVICES, &Machine::for_measuring(), None, title, |line| values.extend(read(&line.text)))?;
    values.extend(host::on_xen()?);
    Ok(values)
}

fn linux_to_init(machine: &Machine) -> Result<Option<u64>> {
    let title = format!("Linux on Mote, boot {} of {BOOTS}", machine.seed);
    let heard = measure::boot(LINUX, machine, Hypervisor::Mote, &title, |_| Wish::GoOn)?;
    Ok(heard.domains().next().and_then(|domain| domain.ready))
}

/// The median of some boots with other random numbers: where a kernel puts itself and how it hashes makes a difference of
/// some per cent.
fn median_of_boots(boot: impl Fn(&Machine) -> Result<Option<u64>>) -> Result<Option<u64>> {
    let boots = (1..=BOOTS).map(|seed| boot(&Machine { seed, ..Machine::for_measuring() }));
    let mut ticks: Vec<Option<u64>> = boots.collect::<Result<_>>()?;
    ticks.sort_unstable();
    // One that is missing comes first, and makes the median worthless.
    Ok(if ticks.contains(&None) { None } else { ticks.get(ticks.len() / 2).copied().flatten() })
}

fn on_xen() -> Result<Values> {
    let (mut values, _) = traps(Hypervisor::Xen)?;
    let image = std::fs::metadata(Paths::of_workspace().xen());
    values.extend(image.ok().map(|file| (Source::IMAGE.to_owned(), file.len())));
    Ok(values)
}

/// What the measuring guests print.
fn traps(hypervisor: Hypervisor) -> Result<(Values, Heard)> {
    let one = Machine::for_measuring();
    let two = Machine { cpus: 2, ..one.clone() };
    let (mut values, _) = figures(PAIR, &one, hypervisor, "Xen's ABI")?;
    // On a second pCPU the other guest has one of its own: of all that is measured, that changes what goes between the two.
    let (on_two, _) = figures(PAIR, &two, hypervisor, "Xen's ABI, two pCPUs")?;
    let trip = on_two.get(Source::ONE_PCPU);
    values.extend(trip.map(|&ticks| (Source::TWO_PCPUS.to_owned(), ticks)));
    // What the small guest measures as well, counts as it does.
    let (alone, heard) = figures(SMALL, &one, hypervisor, "traps")?;
    values.extend(alone);
    Ok((values, heard))
}

/// What a configuration's guests print on a machine.
fn figures(file: &str, machine: &Machine, hypervisor: Hypervisor, what: &str) -> Result<(Values, Heard)> {
    let title = match hypervisor {
        Hypervisor::Mote => format!("{what} on Mote (some seconds)"),
        Hypervisor::Xen => format!("{what} on Xen (half a minute)"),
    };
    let mut values = Values::new();
    let heard = measure::boot(file, machine, hypervisor, &title, |line| {
        values.extend(read(&line.text));
        Wish::GoOn
    })?;
    Ok((values, heard))
}

/// A line `bench: key value`.
fn read(line: &str) -> Option<(String, u64)> {
    let (key, value) = line.strip_prefix(MARK)?.split_once(' ')?;
    Some((key.into(), value.parse().ok()?))
}

/// What Mote says of the space it takes.
fn space(heard: &Heard) -> Vec<(String, u64)> {
    let machine = heard
        .machine()
        .into_iter()
        .flat_map(|machine| [(Source::IMAGE, machine.image_bytes), (Source::MACHINE, machine.hypervisor_bytes)]);
    let domain = heard.domains().map(|domain| (Source::DOMAIN, domain.hypervisor_bytes.total()));
    machine.chain(domain).map(|(key, value)| (key.to_owned(), value)).collect()
}

fn as_table(figures: &[Figure]) -> String {
    let header = ["goal", "Mote", "", "Xen", "ratio", "no hypervisor"].map(String::from);
    let mut table = table::begin(header.into());
    for figure in figures {
        let [mote, xen, bare] = figure.cells();
        let verdict = figure.verdict().name().to_owned();
        let goal = figure.goal.map_or_else(String::new, |goal| format!("≤ {}", figures::written(goal)));
        table::row(&mut table, &figure.title, vec![goal, mote, verdict, xen, figure.ratio(), bare]);
    }
    table::finish(&table)
}

fn as_list(others: &[Other]) -> String {
    let mut table = table::begin(vec!["beside these".into()]);
    for Other { title, value, .. } in others {
        table::row(&mut table, title, vec![value.map_or_else(|| "-".into(), figures::written)]);
    }
    table::finish(&table)
}

fn section(figures: &[Figure]) -> Section {
    let row = |figure: &Figure| {
        let cell = |value: Option<u64>| value.map(|value| (value, figures::written(value)));
        let xen = figure.xen.map(|xen| (xen, format!("{} ({})", figures::written(xen), figure.ratio())));
        let [mote, bare, goal] = [figure.mote, figure.bare, figure.goal].map(cell);
        let cells = [mote, xen, bare, goal].into();
        Row { title: figure.title.clone(), cells }
    };
    Section {
        title: "Instructions and bytes".into(),
        note: NOTE.into(),
        columns: ["Mote", "Xen", "no hypervisor", "goal"].map(String::from).into(),
        rows: figures.iter().map(row).collect(),
        charts: Vec::new(),
    }
}

/// A figure that is missing is a failure; a goal that is missed only for whoever is `strict`.
fn status<'a>(figures: impl IntoIterator<Item = &'a Figure>, strict: bool) -> Status {
    let failed = figures.into_iter().any(|figure| match figure.verdict() {
        Verdict::Unknown => true,
        Verdict::Missed => strict,
        Verdict::Met => false,
    });
    if failed { Status::Crashed } else { Status::Clean }
}

#[cfg(test)]
mod tests {
    use super::*;
    use figures::ROWS;

    #[test]
    fn the_guest_s_lines_are_read_and_others_are_not() {
        assert_eq!(read("bench: gicd_typer 196"), Some(("gicd_typer".into(), 196)));
        assert_eq!(read("bench: done"), None);
        assert_eq!(read("init: ready 5"), None);
    }

    #[test]
    fn a_missing_figure_fails_and_a_missed_goal_only_the_strict() {
        let values = |of: u64| ROWS.iter().map(|row| (row.source.key().to_owned(), of)).collect();
        let judge = |mote: &Values, strict| {
            let figures: Vec<_> = ROWS.iter().map(|row| row.figure(mote, &values(9), Some(9))).collect();
            status(&figures, strict)
        };
        assert_eq!(judge(&values(1), true), Status::Clean);
        assert_eq!(judge(&values(u64::MAX), true), Status::Crashed);
        assert_eq!(judge(&values(u64::MAX), false), Status::Clean);
        assert_eq!(judge(&Values::new(), false), Status::Crashed);
    }
}
