//! Guests' costs side by side, as text.

use comfy_table::{CellAlignment, Table};

use super::DomainReport;
use super::figures::{Clock, FIGURES, Figure, Unit, grouped, ratio, written};
use super::page::Row;

/// A table with a column for each guest; times are instructions if `icount`.
#[must_use]
pub fn of_guests(domains: &[&DomainReport], icount: bool) -> String {
    let header = domains.iter().map(|domain| domain.name.clone()).collect();
    let mut table = begin(header);
    for figure in FIGURES {
        let cells = domains.iter().map(|domain| {
            let value = figure.of(domain);
            value.map_or_else(nothing, |value| written(value, figure.unit, Clock::of(domain, icount)))
        });
        row(&mut table, &title(figure, icount), cells.collect());
    }
    exits(&mut table, domains, |_| Vec::new());
    row(&mut table, "ended by", domains.iter().map(|d| d.state.name().to_owned()).collect());
    finish(&table)
}

/// A table of two guests that did the same job with the clock counting instructions, and how many times the first
/// takes what the second takes.
#[must_use]
pub fn of_comparison(large: &DomainReport, small: &DomainReport) -> String {
    let header = vec![large.name.clone(), small.name.clone(), "ratio".to_owned()];
    let mut table = begin(header);
    for figure in FIGURES {
        let (a, b) = (figure.of(large), figure.of(small));
        let cell =
            |value: Option<u64>| value.map_or_else(nothing, |value| written(value, figure.unit, Clock::Instructions));
        let last = a.zip(b).map_or_else(nothing, |(a, b)| ratio(a, b));
        row(&mut table, &title(figure, true), vec![cell(a), cell(b), last]);
    }
    exits(&mut table, &[large, small], |counts| match *counts {
        [a, b] => vec![ratio(a, b)],
        _ => vec![nothing()],
    });
    finish(&table)
}

/// A table of figures, and how many times the first of two columns has what the second has.
#[must_use]
pub fn of_rows(columns: &[String], rows: &[Row]) -> String {
    let mut table = begin(columns.iter().cloned().chain(["ratio".into()]).collect());
    for Row { title, cells } in rows {
        let last = match cells[..] {
            [Some((a, _)), Some((b, _))] => ratio(a, b),
            _ => nothing(),
        };
        let words = cells.iter().map(|cell| cell.as_ref().map_or_else(nothing, |(_, words)| words.clone()));
        row(&mut table, title, words.chain([last]).collect());
    }
    finish(&table)
}

/// A figure's title with its unit, if the figures are not written with theirs.
fn title(figure: Figure, icount: bool) -> String {
    match figure.unit {
        Unit::Ticks if icount => format!("{}, instructions", figure.title),
        Unit::Ticks | Unit::Bytes | Unit::Count => figure.title.into(),
    }
}

/// A row for each reason for which some guest has exited, with what `more` makes of the counts.
fn exits(table: &mut Table, domains: &[&DomainReport], more: impl Fn(&[u64]) -> Vec<String>) {
    let names = domains.first().map(|domain| domain.exits.by_reason().map(|(name, _)| name));
    for (index, name) in names.into_iter().flatten().enumerate() {
        let counts: Vec<u64> = domains.iter().map(|domain| domain.exits.by_reason()[index].1).collect();
        if counts.iter().any(|count| *count > 0) {
            let cells = counts.iter().map(|count| grouped(*count)).chain(more(&counts));
            row(table, &format!("  {}", name.replace('_', " ")), cells.collect());
        }
    }
}

fn nothing() -> String {
    "-".into()
}

/// A table whose first column has titles and whose others have these.
pub(crate) fn begin(header: Vec<String>) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header([String::new()].into_iter().chain(header));
    table
}

pub(crate) fn row(table: &mut Table, title: &str, cells: Vec<String>) {
    table.add_row([title.to_owned()].into_iter().chain(cells));
}

pub(crate) fn finish(table: &Table) -> String {
    let mut table = table.clone();
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Report;
    use crate::report::tests::HELLO;

    fn hello() -> DomainReport {
        match serde_json::from_str(HELLO) {
            Ok(Report::Domain(hello)) => *hello,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_guest_has_a_column_and_every_figure_a_row() {
        let (hello, mut other) = (hello(), hello());
        other.name = "linux".into();
        other.ready = None;
        let text = of_guests(&[&other, &hello], false);
        assert!(text.lines().next().is_some_and(|line| line.contains("linux") && line.contains("hello")));
        for figure in FIGURES {
            assert!(text.contains(figure.title), "{text}");
        }
        assert!(text.contains("mmio") && !text.contains("hypercall"), "{text}");
    }

    #[test]
    fn a_comparison_says_how_many_times() {
        let (hello, mut large) = (hello(), hello());
        large.image_bytes *= 100;
        let text = of_comparison(&large, &hello);
        let image = text.lines().find(|line| line.trim_start().starts_with("image")).expect("a row");
        assert!(image.ends_with("100x"), "{image}");
    }
}
