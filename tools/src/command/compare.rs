//! `compare`: a unikernel and Linux doing the same job, and what each takes for it.

mod serving;

use miette::miette;
use serde::Serialize;

use super::measure;
use crate::boot::machine::Machine;
use crate::cli::{Hypervisor, ReportArgs};
use crate::console::Heard;
use crate::failure::{Failure, Result, Status};
use crate::report::DomainReport;
use crate::report::figures::{Clock, FIGURES, Unit, written};
use crate::report::json::{self, Document};
use crate::report::page::{self, Row, Section};
use crate::report::table;
use serving::Served;

/// The configuration with the two guests, and their names in it.
const CONFIGURATION: &str = "dtb/compare.dts";
const LINUX: &str = "linux";
const UNIKERNEL: &str = "unikernel";

const NOTE: &str = "Two guests of one machine are web servers, each on one vCPU. Times are instructions: \
    the clock advances by one with each. Whoever is not first waits for the CPU between being built and the first \
    instruction. Memory is what the hypervisor's own tables say.";
const SERVING: &str = "Both are asked for the same page as often, one after the other, by one client on the host that waits for \
    each answer. What they execute for an answer is counted; latencies and answers per second are the host's, so they \
    depend on it and on the emulator.";

/// Boots both, has both serve the same load, and shows what they cost.
///
/// # Errors
///
/// They cannot be booted, or one does not serve or come to its end.
pub fn compare(arguments: &ReportArgs) -> Result<Status> {
    let title = "booting and asking Linux and a unikernel, counting instructions (a minute)";
    let machine = Machine { idles: true, ..Machine::for_measuring() };
    let (heard, served) = measure::work(CONFIGURATION, &machine, title, serving::serve_all)?;
    let (linux, unikernel) = (domain(&heard, LINUX)?, domain(&heard, UNIKERNEL)?);
    let rows = serving::rows(&served);
    println!("{}\n\nServing\n{}", table::of_comparison(linux, unikernel), table::of_rows(&names(&served), &rows));
    if let Some(file) = &arguments.json {
        json::write(file, &Comparison { run: Document::of_run(&machine, Hypervisor::Mote, &heard), serving: &served })?;
    }
    if let Some(file) = &arguments.html {
        let serving = Section { title: "Serving".into(), note: SERVING.into(), columns: names(&served), rows };
        let sections: Vec<_> = [serving].into_iter().chain(sections(&[linux, unikernel])).collect();
        page::write(file, "Mote: a unikernel beside Linux", &sections)?;
    }
    Ok(if heard.has_crash() { Status::Crashed } else { Status::Clean })
}

/// All figures, as JSON.
#[derive(Serialize)]
struct Comparison<'a> {
    #[serde(flatten)]
    run: Document<'a>,
    serving: &'a [Served],
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

fn sections(domains: &[&DomainReport]) -> [Section; 3] {
    [Unit::Bytes, Unit::Ticks, Unit::Count].map(|unit| {
        let title = match unit {
            Unit::Bytes => "Bytes",
            Unit::Ticks => "Instructions",
            Unit::Count => "Exits to the hypervisor",
        };
        let mut rows = rows(domains, unit);
        if unit == Unit::Count {
            rows.extend(exits(domains));
        }
        let columns = domains.iter().map(|domain| domain.name.clone()).collect();
        Section { title: title.into(), note: NOTE.into(), columns, rows }
    })
}

fn rows(domains: &[&DomainReport], unit: Unit) -> Vec<Row> {
    let figures = FIGURES.into_iter().filter(|figure| figure.unit == unit);
    let row = |figure: crate::report::figures::Figure| {
        let cell =
            |domain: &&DomainReport| figure.of(domain).map(|value| (value, written(value, unit, Clock::Instructions)));
        Row { title: figure.title.into(), cells: domains.iter().map(cell).collect() }
    };
    figures.map(row).collect()
}

fn exits(domains: &[&DomainReport]) -> Vec<Row> {
    let counts: Vec<_> = domains.iter().map(|domain| domain.exits.by_reason()).collect();
    let names = counts.first().map(|counts| counts.map(|(name, _)| name));
    let row = |(index, name): (usize, &str)| {
        let cell = |counts: &[(&str, u64); 9]| counts.get(index).map(|(_, count)| (*count, count.to_string()));
        Row { title: name.replace('_', " "), cells: counts.iter().map(cell).collect() }
    };
    names.into_iter().flatten().enumerate().map(row).collect()
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
        assert!(domain(&Heard::default(), LINUX).is_err());
    }
}
