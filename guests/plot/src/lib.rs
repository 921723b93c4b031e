//! Charts as SVG pictures (SVG 1.1), drawn from the query of an address: `values=3,5,8.25&title=Rain&kind=bars`.
//!
//! Numbers are thousandths, so that nothing here needs floating point. All of a query is hostile: what it may ask for is bounded, and what
//! it says is escaped where it is shown.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod number;
mod svg;

#[cfg(test)]
mod tests;

use alloc::string::String;
use alloc::vec::Vec;

use thiserror::Error;

pub use number::Number;

/// Most values of a chart, and most characters of its title.
const MAX_VALUES: usize = 256;
const MAX_TITLE: usize = 100;

/// How values are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// By a line through them.
    #[default]
    Line,
    /// By bars from zero.
    Bars,
}

/// Why there is no chart.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Mistake {
    /// There are no values.
    #[error("say what to draw: values=3,5,8.25")]
    NoValues,
    /// One of the values is no number.
    #[error(
        "a value is a number between -1000000000 and 1000000000, with a point and at most three digits behind it: 8.25"
    )]
    NoNumber,
    /// There are too many.
    #[error("there can be 256 values")]
    TooMany,
    /// It is too long.
    #[error("a title can have 100 characters")]
    LongTitle,
    /// There is no such kind.
    #[error("a kind is line or bars")]
    NoKind,
}

/// What is to be drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chart {
    title: String,
    kind: Kind,
    values: Vec<Number>,
}

impl Chart {
    /// What a query asks for. Of names that are said twice the last counts, and others mean nothing.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn from_query(query: &str) -> Result<Self, Mistake> {
        let mut chart = Self { title: String::new(), kind: Kind::default(), values: Vec::new() };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "values" => chart.values = values(&value)?,
                "title" if value.chars().count() > MAX_TITLE => return Err(Mistake::LongTitle),
                "title" => chart.title = value.into_owned(),
                "kind" => chart.kind = kind(&value)?,
                _ => {}
            }
        }
        if chart.values.is_empty() { Err(Mistake::NoValues) } else { Ok(chart) }
    }
}

fn values(text: &str) -> Result<Vec<Number>, Mistake> {
    let mut values = Vec::new();
    for text in text.split(',').filter(|text| !text.trim().is_empty()) {
        if values.len() == MAX_VALUES {
            return Err(Mistake::TooMany);
        }
        values.push(Number::parse(text.trim()).ok_or(Mistake::NoNumber)?);
    }
    Ok(values)
}

fn kind(text: &str) -> Result<Kind, Mistake> {
    match text {
        "line" => Ok(Kind::Line),
        "bars" => Ok(Kind::Bars),
        _ => Err(Mistake::NoKind),
    }
}
