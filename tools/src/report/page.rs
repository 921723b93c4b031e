//! Figures as one page that needs nothing but itself: bars and numbers, in the reader's own light or dark.

use std::path::Path;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::chart::{COLOURS, Chart};
use crate::failure::Result;
use crate::workspace;

/// A part of a page.
#[derive(Clone, Debug)]
pub struct Section {
    /// Its heading.
    pub title: String,
    /// What the reader must know to read the figures.
    pub note: String,
    /// Who is compared.
    pub columns: Vec<String>,
    /// The figures.
    pub rows: Vec<Row>,
    /// Curves, which come before these.
    pub charts: Vec<Chart>,
}

/// A figure of everybody who is compared.
#[derive(Clone, Debug)]
pub struct Row {
    /// What it counts.
    pub title: String,
    /// The figure of each column, as a number and in words; none where there is none.
    pub cells: Vec<Option<(u64, String)>>,
}

const STYLE: &str = "
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: .3rem .6rem; text-align: left; vertical-align: top; }
tbody tr { border-top: 1px solid color-mix(in srgb, currentColor 20%, transparent); }
td { font-variant-numeric: tabular-nums; }
.bar { height: .6rem; border-radius: .2rem; min-width: 2px; }
.c0 { background: #d9822b; } .c1 { background: #2b83d9; } .c2 { background: #3fa45b; } .c3 { background: #8a7fb5; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(27rem, 100%), 1fr)); gap: 1rem; }
figure { margin: 0; } figure svg { width: 100%; height: auto; } figcaption { font-size: .875rem; }
.key { display: inline-block; width: .8em; height: .8em; margin: 0 .3em 0 .8em; border-radius: .2em; }
";

/// Writes a page to `file`.
///
/// # Errors
///
/// The file cannot be written.
pub fn write(file: &Path, title: &str, sections: &[Section]) -> Result<()> {
    Ok(workspace::replace_file(file, page(title, sections).as_bytes())?)
}

/// The page.
#[must_use]
pub fn page(title: &str, sections: &[Section]) -> String {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (title) }
                p { "Bars are logarithmic: each step of the same length is the same factor." }
                @for section in sections { (part(section)) }
            }
        }
    };
    markup.into_string()
}

fn part(section: &Section) -> Markup {
    html! {
        h2 { (section.title) }
        p { (section.note) }
        div class="charts" { @for chart in &section.charts { (picture(chart)) } }
        @if !section.rows.is_empty() { (table(section)) }
    }
}

fn table(section: &Section) -> Markup {
    html! {
        table {
            thead { tr {
                th {}
                @for column in &section.columns { th scope="col" { (column) } }
            } }
            tbody { @for row in &section.rows { tr {
                th scope="row" { (row.title) }
                @for (index, cell) in row.cells.iter().enumerate() { (figure(row, index, cell.as_ref())) }
            } } }
        }
    }
}

fn picture(chart: &Chart) -> Markup {
    let Some(svg) = chart.svg() else { return html! {} };
    html! {
        figure {
            figcaption {
                strong { (chart.title) }
                @for series in &chart.series { span class={ "key c" (series.colour % COLOURS.len()) } {} (series.name) }
            }
            (PreEscaped(svg))
            figcaption { (chart.note) }
        }
    }
}

fn figure(row: &Row, index: usize, cell: Option<&(u64, String)>) -> Markup {
    let Some((value, words)) = cell else { return html! { td { "–" } } };
    let width = width(*value, row.cells.iter().flatten().map(|(value, _)| *value).max());
    html! {
        td {
            (words)
            div class={ "bar c" (index % COLOURS.len()) } style={ "width:" (width) "%" } {}
        }
    }
}

/// The length of a bar for `value` where the longest stands for `most`, in per cent.
fn width(value: u64, most: Option<u64>) -> u64 {
    let logarithm = |value: u64| (value.max(1) as f64 + 1.0).ln();
    (100.0 * logarithm(value) / logarithm(most.unwrap_or(value))).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::chart::tests::chart;

    #[test]
    fn colours_are_those_of_curves() {
        for (number, (red, green, blue)) in COLOURS.into_iter().enumerate() {
            assert!(STYLE.contains(&format!(".c{number} {{ background: #{red:02x}{green:02x}{blue:02x}; }}")));
        }
    }

    #[test]
    fn a_page_has_every_figure_and_needs_nothing_else() {
        let cells = vec![Some((10, "ten".into())), None, Some((1000, "a <thousand>".into()))];
        let rows = vec![Row { title: "size".into(), cells }];
        let columns = ["a", "b", "c"].map(String::from).into();
        let charts = vec![chart(vec![(1.0, 1.0), (2.0, 3.0)])];
        let section = Section { title: "t".into(), note: "n".into(), columns, rows, charts };
        let page = page("Title", &[section]);
        for text in ["Title", "ten", "a &lt;thousand&gt;", "–", "width:100%"] {
            assert!(page.contains(text), "{text} is not in {page}");
        }
        assert!(page.contains("<svg") && page.contains("key c1"), "{page}");
        assert!(!page.contains("http") && !page.contains("<script"), "{page}");
    }

    #[test]
    fn bars_grow_with_the_logarithm() {
        assert_eq!(width(1000, Some(1000)), 100);
        assert!((45..55).contains(&width(30, Some(1000))));
        assert!(width(0, Some(0)) <= 100);
    }
}
