//! One mistake in a configuration: where, what, and what to do.

use miette::{LabeledSpan, MietteDiagnostic, NamedSource, Report};

use super::positions::{Positions, Span};

/// Where a mistake is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the node at this path, as a whole.
    Node(String),
    /// In a property of the node at this path.
    Property(String, String),
    /// In this stretch of text, which is not a tree yet.
    Text(Span),
    /// Nowhere in particular.
    File,
}

/// A mistake in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where it is.
    pub place: Place,
    /// What is wrong, one sentence without a full stop.
    pub what: String,
    /// What to do about it.
    pub help: String,
}

impl Mistake {
    /// `what` is wrong with the node at `path`.
    pub fn in_node(path: &str, what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { place: Place::Node(path.into()), what: what.into(), help: help.into() }
    }

    /// `what` is wrong with `property` of the node at `path`.
    pub fn in_property(path: &str, property: &str, what: impl Into<String>, help: impl Into<String>) -> Self {
        let place = Place::Property(path.into(), property.into());
        Self { place, what: what.into(), help: help.into() }
    }

    /// The mistake as a message that shows the text it is in.
    pub fn into_report(self, positions: &Positions) -> Report {
        let (node, span) = match &self.place {
            Place::Node(node) => (node.as_str(), positions.node(node)),
            Place::Property(node, property) => {
                (node.as_str(), positions.property(node, property).or(positions.node(node)))
            }
            Place::Text(span) => ("", Some(span)),
            Place::File => ("", None),
        };
        let message = match node {
            "" => self.what,
            node => format!("{node}: {}", self.what),
        };
        let mut diagnostic = MietteDiagnostic::new(message);
        if !self.help.is_empty() {
            diagnostic = diagnostic.with_help(self.help);
        }
        let shown = span.and_then(|span| Some((span, positions.text(&span.file)?)));
        match shown {
            Some((span, (name, text))) => {
                let label = LabeledSpan::underline(span.within(text));
                Report::new(diagnostic.with_label(label)).with_source_code(NamedSource::new(name, text.to_owned()))
            }
            None => Report::new(diagnostic),
        }
    }
}
