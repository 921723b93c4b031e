//! `compare`: the same job done in several ways, and what each takes for it.

mod charts;
mod inside;
mod latencies;
mod serving;
mod tables;
mod watch;
mod ways;

use miette::miette;
use serde::Serialize;

use super::measure;
use crate::boot::machine::Machine;
use crate::cli::{Hypervisor, ReportArgs};
use crate::console::Heard;
use crate::failure::{Failure, Result, Status};
use crate::report::DomainReport;
use crate::report::figures::{Clock, FIGURES, Unit, grouped, ratio, written};
use crate::report::json::{self, Document};
use crate::report::page::{self, Row, Section};
use crate::report::table;
use serving::{Served, Serving};

/// The configuration with those who serve.
const CONFIGURATION: &str = "dtb/compare.dts";
/// With whom the others are compared.
const REFERENCE: &str = "unikernel";

const WAYS: &str = "The same web page is served in three ways on one machine with one CPU: by Linux that is always there, by a unikernel that is \
    always there, and by clones of that unikernel, each launched for one request and gone when it has answered.";
const NOTE: &str = "Each is a domain with one vCPU; of the clones it is their template. Times are instructions: \
    the clock advances by one with each. Whoever is not first waits for the CPU between being built and the first \
    instruction. Memory is what the hypervisor's own tables say.";
const SERVING: &str = "Each is asked for the page as often, in turns, by eight clients on the host that each wait for their answer, over a \
    connection of its own each time. Instructions are exact: what the hypervisor does for a domain counts as the \
    domain's. A guest that is created for it then asks the same, one request at a time: the machine's clock, which counts \
    instructions as nanoseconds, is the same on every host. Latencies and answers per second by the host's clock depend on it and on the \
    emulator: only the ratios between the columns mean anything.";
const MACHINES: &str = "The same load once more, while the control domain is asked again and again what there is. A template has the memory that \
    it was given; a clone has what it writes to, and shares the rest. The driver domain, through which all are reached, has 8 MiB besides. \
    Lives are by the machine's clock.";

/// Boots all, has each serve the same load, and shows what they cost.
///
/// # Errors
///
/// They cannot be booted, or one does not serve or come to its end.
pub fn compare(arguments: &ReportArgs) -> Result<Status> {
    let title = "booting and asking Linux, a unikernel and clones, counting instructions (a minute)";
    let machine = Machine { idles: true, ..Machine::for_measuring() };
    let (heard, serving) = measure::work(CONFIGURATION, &machine, title, serving::serve_all)?;
    let columns = names(&serving.serving);
    let domains = columns.iter().map(|name| domain(&heard, name)).collect::<Result<Vec<_>>>()?;
    let reference = columns.iter().position(|name| name == REFERENCE).unwrap_or(0);
    let text = |title: &str, rows: &[Row]| format!("{title}\n{}\n", table::of_rows(&columns, rows, reference));
    println!("{}", text("Serving", &tables::serving(&serving.serving)));
    println!("{}", text("Machines and memory", &tables::machines(&serving.serving)));
    println!("{}", text("From creation to end", &whole(&domains)).trim_end());
    if let Some(file) = &arguments.json {
        json::write(
            file,
            &Comparison { run: Document::of_run(&machine, Hypervisor::Mote, &heard), serving: &serving },
        )?;
    }
    if let Some(file) = &arguments.html {
        let sections = of_serving(&serving, reference).into_iter().chain(sections(&domains));
        let sections: Vec<_> = sections.map(|section| with_ratios(section, reference)).collect();
        page::write(file, "Mote: one job, three ways", &sections)?;
    }
    Ok(if heard.has_crash() { Status::Crashed } else { Status::Clean })
}

/// All figures, as JSON.
#[derive(Serialize)]
struct Comparison<'a> {
    #[serde(flatten)]
    run: Document<'a>,
    #[serde(flatten)]
    serving: &'a Serving,
}

fn names(served: &[Served]) -> Vec<String> {
    served.iter().map(|it| it.name.clone()).collect()
}

fn domain<'a>(heard: &'a Heard, name: &str) -> Result<&'a DomainReport> {
    heard.domains().find(|domain| domain.name == name).ok_or_else(|| {
        Failure::unable(miette!(
            help = format!("see what it says: cargo run -- run {CONFIGURATION} --icount --cpus 1"),
            "the guest {name} did not come to its end"
        ))
    })
}

fn of_serving(serving: &Serving, reference: usize) -> [Section; 2] {
    let served = &serving.serving;
    let section = |title: &str, note: String, rows, charts| Section {
        title: title.into(),
        note,
        columns: names(served),
        rows,
        charts,
    };
    let charts = charts::latencies(served, reference);
    [
        section("Serving", format!("{WAYS} {SERVING}"), tables::serving(served), charts),
        section("Machines and memory", MACHINES.into(), tables::machines(served), charts::life(serving)),
    ]
}

fn sections(domains: &[&DomainReport]) -> [Section; 3] {
    [Unit::Bytes, Unit::Ticks, Unit::Count].map(|unit| {
        let title = match unit {
            Unit::Bytes => "Bytes",
            Unit::Ticks => "Instructions",
            Unit::Count => "Exits to the hypervisor",
        };
        let mut rows = rows(domains, unit, "");
        if unit == Unit::Count {
            rows.extend(exits(domains));
        }
        let columns = domains.iter().map(|domain| domain.name.clone()).collect();
        Section { title: title.into(), note: NOTE.into(), columns, rows, charts: Vec::new() }
    })
}

/// Every figure of the domains themselves.
fn whole(domains: &[&DomainReport]) -> Vec<Row> {
    let units = [(Unit::Bytes, ""), (Unit::Ticks, ", instructions"), (Unit::Count, "")];
    let mut whole: Vec<_> = units.into_iter().flat_map(|(unit, suffix)| rows(domains, unit, suffix)).collect();
    whole.extend(exits(domains).into_iter().filter(|row| row.cells.iter().flatten().any(|(count, _)| *count > 0)));
    whole
}

/// The figures in `unit`, with `suffix` behind the title of each.
fn rows(domains: &[&DomainReport], unit: Unit, suffix: &str) -> Vec<Row> {
    let figures = FIGURES.into_iter().filter(|figure| figure.unit == unit);
    let row = |figure: crate::report::figures::Figure| {
        let cell =
            |domain: &&DomainReport| figure.of(domain).map(|value| (value, written(value, unit, Clock::Instructions)));
        Row { title: format!("{}{suffix}", figure.title), cells: domains.iter().map(cell).collect() }
    };
    figures.map(row).collect()
}

fn exits(domains: &[&DomainReport]) -> Vec<Row> {
    let counts: Vec<_> = domains.iter().map(|domain| domain.exits.by_reason()).collect();
    let names = counts.first().map(|counts| counts.map(|(name, _)| name));
    let row = |(index, name): (usize, &str)| {
        let cell = |counts: &[(&str, u64); 9]| counts.get(index).map(|(_, count)| (*count, grouped(*count)));
        Row { title: format!("exits by {}", name.replace('_', " ")), cells: counts.iter().map(cell).collect() }
    };
    names.into_iter().flatten().enumerate().map(row).collect()
}

/// Writes behind each figure how many times that of the column `reference` it is.
fn with_ratios(mut section: Section, reference: usize) -> Section {
    for row in &mut section.rows {
        let Some(&Some((to, _))) = row.cells.get(reference) else { continue };
        let others = row.cells.iter_mut().enumerate().filter(|(column, _)| *column != reference);
        for (value, words) in others.filter_map(|(_, cell)| cell.as_mut()) {
            if to > 0 {
                *words += &format!(" ({})", ratio(*value, to));
            }
        }
    }
    section
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Report;
    use crate::report::tests::domain as report;

    #[test]
    fn the_page_has_every_figure() {
        let Report::Domain(hello) = report("shutdown") else { panic!("no domain") };
        let page = page::page("t", &sections(&[&hello, &hello]));
        for figure in FIGURES {
            assert!(page.contains(figure.title), "{}", figure.title);
        }
        for (name, _) in hello.exits.by_reason() {
            assert!(page.contains(&name.replace('_', " ")), "{name}");
        }
    }

    #[test]
    fn a_guest_that_did_not_end_is_missed() {
        assert!(domain(&Heard::default(), REFERENCE).is_err());
    }

    #[test]
    fn ratios_are_to_the_one_column() {
        let cells = vec![Some((300, "300".into())), Some((100, "100".into())), None];
        let rows = vec![Row { title: "t".into(), cells }];
        let section = Section { title: "t".into(), note: "n".into(), columns: Vec::new(), rows, charts: Vec::new() };
        let section = with_ratios(section, 1);
        let words: Vec<_> = section.rows[0].cells.iter().flatten().map(|(_, words)| words.as_str()).collect();
        assert_eq!(words, ["300 (3.00x)", "100"]);
    }
}
