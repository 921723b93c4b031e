//! Where in the text each node and property stands.
//!
//! `dtc` knows: asked twice for annotations, it writes the tree back with the extent of every
//! node and property in a comment at the end of the line. This module reads those comments.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A line and a column, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// The line.
    pub line: usize,
    /// The column, in bytes.
    pub column: usize,
}

/// A stretch of text in a file. The end is exclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The file, as `dtc` names it.
    pub file: String,
    /// First character.
    pub start: Point,
    /// First character past the stretch.
    pub end: Point,
}

impl Span {
    /// The bytes of `text` that the span covers, at most to the end of its first line: a message
    /// that underlines a whole node hides what it says.
    pub fn within(&self, text: &str) -> Range<usize> {
        let start = offset(text, self.start);
        let line_end = text.get(start..).and_then(|rest| rest.find('\n')).map(|n| start + n);
        let end = offset(text, self.end).min(line_end.unwrap_or(text.len()));
        start..end.max(start)
    }
}

/// The byte in `text` at `point`, or the text's end.
fn offset(text: &str, point: Point) -> usize {
    let before: usize = text.split_inclusive('\n').take(point.line - 1).map(str::len).sum();
    let offset = (before + point.column - 1).min(text.len());
    // dtc counts bytes; a character of several bytes must not be cut.
    (0..=offset).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

/// The places of every node and property of a tree, and the texts they are in.
#[derive(Debug, Default)]
pub struct Positions {
    directory: PathBuf,
    nodes: HashMap<String, Span>,
    properties: HashMap<(String, String), Span>,
    texts: HashMap<String, (String, String)>,
}

impl Positions {
    /// Reads `annotated`, what `dtc -T -T -O dts` wrote when it was run in `directory`, which the
    /// file names in it are relative to.
    pub fn read(annotated: &str, directory: &Path) -> Self {
        let mut positions = Self { directory: directory.into(), ..Self::default() };
        let mut path: Vec<&str> = Vec::new();
        for line in annotated.lines() {
            let Some((statement, span)) = split_comment(line) else { continue };
            if let Some(name) = statement.strip_suffix('{') {
                let name = name.trim().rsplit(": ").next().unwrap_or_default();
                path.push(if name == "/" { "" } else { name });
                positions.add_text(&span.file);
                let span = positions.opening(span);
                positions.nodes.insert(joined(&path), span);
            } else if statement == "};" {
                path.pop();
            } else {
                let name = statement.split(['=', ';']).next().unwrap_or_default().trim();
                positions.add_text(&span.file);
                positions.properties.insert((joined(&path), name.into()), span);
            }
        }
        positions
    }

    /// Keeps the text of `file`, so that a message can show it.
    pub fn add_text(&mut self, file: &str) {
        if !self.texts.contains_key(file) {
            let path = self.directory.join(file.trim_start_matches("./"));
            let name = path.strip_prefix(".").unwrap_or(&path).display().to_string();
            // What cannot be read cannot be shown; the message then goes without.
            let text = std::fs::read(&path).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            self.texts.insert(file.into(), (name, text));
        }
    }

    /// The node's name before its opening brace, which is where `span` starts.
    fn opening(&self, span: Span) -> Span {
        let line = self.text(&span.file).and_then(|(_, t)| t.lines().nth(span.start.line - 1));
        let blank = line.map_or(0, |line| line.len() - line.trim_start().len());
        let start = Point { column: (blank + 1).min(span.start.column), ..span.start };
        let end = Point { column: span.start.column + 1, ..span.start };
        Span { file: span.file, start, end }
    }

    /// Where the node at `path` opens.
    pub fn node(&self, path: &str) -> Option<&Span> {
        self.nodes.get(path)
    }

    /// Where `property` of the node at `path` is set.
    pub fn property(&self, path: &str, property: &str) -> Option<&Span> {
        self.properties.get(&(path.into(), property.into()))
    }

    /// The name of `file` as the user knows it, and what it says.
    pub fn text(&self, file: &str) -> Option<(&str, &str)> {
        self.texts.get(file).map(|(name, text)| (name.as_str(), text.as_str()))
    }
}

/// The path of the node that `parts` lead to from the root, whose own part is empty.
fn joined(parts: &[&str]) -> String {
    match parts {
        [_] => "/".into(),
        _ => parts.join("/"),
    }
}

/// A line's statement and the place in the comment at its end.
fn split_comment(line: &str) -> Option<(&str, Span)> {
    let (statement, comment) = line.rsplit_once("/* ")?;
    // A node written in several places has several; the first is where it began.
    let first = comment.strip_suffix(" */")?.split(", ").next()?;
    Some((statement.trim(), parse_annotation(first)?))
}

/// Reads `file:line:column-line:column`.
fn parse_annotation(text: &str) -> Option<Span> {
    let (rest, end_column) = text.rsplit_once(':')?;
    let (rest, end_line) = rest.rsplit_once('-')?;
    let (rest, start_column) = rest.rsplit_once(':')?;
    let (file, start_line) = rest.rsplit_once(':')?;
    Some(Span { file: file.into(), start: point(start_line, start_column)?, end: point(end_line, end_column)? })
}

/// Reads what `dtc` puts before an error: `file:line.column-column` or
/// `file:line.column-line.column`.
pub fn parse_location(text: &str) -> Option<Span> {
    let (file, place) = text.rsplit_once(':')?;
    let (start, end) = place.split_once('-').unwrap_or((place, place));
    let (line, column) = start.split_once('.')?;
    let (end_line, end_column) = end.rsplit_once('.').unwrap_or((line, end));
    let end_column = end_column.rsplit('.').next()?;
    Some(Span { file: file.into(), start: point(line, column)?, end: point(end_line, end_column)? })
}

fn point(line: &str, column: &str) -> Option<Point> {
    let (line, column) = (line.parse().ok()?, column.parse().ok()?);
    (line >= 1 && column >= 1).then_some(Point { line, column })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(file: &str, start: (usize, usize), end: (usize, usize)) -> Span {
        let point = |(line, column)| Point { line, column };
        Span { file: file.into(), start: point(start), end: point(end) }
    }

    #[test]
    fn errors_are_located_on_one_line_and_across_lines() {
        assert_eq!(parse_location("a.dts:3.6-7"), Some(span("a.dts", (3, 6), (3, 7))));
        assert_eq!(parse_location("a:b.dts:3.6-4.2"), Some(span("a:b.dts", (3, 6), (4, 2))));
        assert_eq!(parse_location("FATAL ERROR"), None);
    }

    #[test]
    fn annotations_give_every_node_and_property_a_place() {
        let text = "\
/ { /* a.dts:2:3-5:97 */
\tchosen { /* a.dts:2:12-5:94 */
\t\tb = \"/* x */ {\", \"y\"; /* a.dts:3:1-3:9 */
\t\tlabel: linux@1 { /* a.dts:4:2-4:8, b.dts:1:1-2:2 */
\t\t\tvpl011; /* a.dts:4:3-4:5 */
\t\t}; /* a.dts:4:2-4:8 */
\t}; /* a.dts:2:12-5:94 */
}; /* a.dts:2:3-5:97 */
";
        let positions = Positions::read(text, Path::new("/nonexistent"));
        let at = |node, property| positions.property(node, property).map(|s| s.start.column);
        assert_eq!(at("/chosen", "b"), Some(1));
        assert_eq!(at("/chosen/linux@1", "vpl011"), Some(3));
        assert_eq!(positions.node("/chosen/linux@1").map(|s| s.start.line), Some(4));
        assert!(positions.node("/").is_some());
    }

    #[test]
    fn a_span_stays_on_its_first_line_and_within_the_text() {
        let text = "one\ntwo {\nthree\n";
        assert_eq!(span("", (2, 1), (3, 2)).within(text), 4..9);
        assert_eq!(span("", (9, 9), (9, 9)).within(text), text.len()..text.len());
        assert_eq!(span("", (1, 2), (1, 3)).within("é"), 0..2);
    }
}
