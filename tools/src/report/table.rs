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
    exits(&mut table, domains);
    row(&mut table, "ended by", domains.iter().map(|d| d.state.name().to_owned()).collect());
    finish(&table)
}

/// A table of figures. Beside each column but that of number `reference` stands how many times its figure is that one's.
#[must_use]
pub fn of_rows(columns: &[String], rows: &[Row], reference: usize) -> String {
    let with_ratio = |(column, words): (usize, String), ratio: String| {
        [Some(words), (column != reference).then_some(ratio)].into_iter().flatten()
    };
    let header = columns.iter().cloned().enumerate().flat_map(|column| with_ratio(column, "ratio".into()));
    let mut table = begin(header.collect());
    for Row { title, cells } in rows {
        let to = cells.get(reference).cloned().flatten().map(|(value, _)| value);
        let cell = |(column, cell): (usize, &Option<(u64, String)>)| {
            let times = cell.as_ref().zip(to).map_or_else(nothing, |((value, _), to)| ratio(*value, to));
            with_ratio((column, cell.as_ref().map_or_else(nothing, |(_, words)| words.clone())), times)
        };
        row(&mut table, title, cells.iter().enumerate().flat_map(cell).collect());
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

/// A row for each reason for which some guest has exited.
fn exits(table: &mut Table, domains: &[&DomainReport]) {
    let names = domains.first().map(|domain| domain.exits.by_reason().map(|(name, _)| name));
    for (index, name) in names.into_iter().flatten().enumerate() {
        let counts: Vec<u64> = domains.iter().map(|domain| domain.exits.by_reason()[index].1).collect();
        if counts.iter().any(|count| *count > 0) {
            let cells = counts.iter().map(|count| grouped(*count));
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
        let columns = ["linux", "unikernel", "clones"].map(String::from);
        let cell = |value: u64| Some((value, format!("{value} B")));
        let rows = [
            Row { title: "image".into(), cells: vec![cell(900), cell(9), cell(18)] },
            Row { title: "life".into(), cells: vec![None, None, cell(5)] },
        ];
        let text = of_rows(&columns, &rows, 1);
        let words: Vec<Vec<_>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[0], ["linux", "ratio", "unikernel", "clones", "ratio"]);
        assert_eq!(words[1], ["image", "900", "B", "100x", "9", "B", "18", "B", "2.00x"]);
        assert_eq!(words[2], ["life", "-", "-", "-", "5", "B", "-"]);
    }
}
