//! Why a request is refused.

use alloc::string::String;

use mote_webserver::Response;

use crate::json;
use crate::model;

/// A refusal with its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    status: u16,
    allow: &'static str,
    said: model::Problem,
}

/// Why the toolstack does not do what it is asked for. Each has a sentence that says what is wrong, and one that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such thing.
    Unknown(String, String),
    /// It is not possible as things are now.
    Conflict(String, String),
    /// It is larger than there is room for.
    TooLarge(String, String),
    /// It can never be.
    Impossible(String, String),
    /// It should have been possible and was not.
    Failed(String, String),
}

impl Problem {
    /// With `status`, because of `error`; `hint` is what to do.
    pub fn new(status: u16, error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { status, allow: "", said: model::Problem { error: error.into(), hint: hint.into() } }
    }

    /// The path is there, but only with methods of `allow`.
    pub fn method(allow: &'static str) -> Self {
        Self { allow, ..Self::new(405, "there is no such method here", alloc::format!("methods here: {allow}")) }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let (status, error, hint) = match refusal {
            Refusal::Unknown(error, hint) => (404, error, hint),
            Refusal::Conflict(error, hint) => (409, error, hint),
            Refusal::TooLarge(error, hint) => (413, error, hint),
            Refusal::Impossible(error, hint) => (422, error, hint),
            Refusal::Failed(error, hint) => (500, error, hint),
        };
        Self::new(status, error, hint)
    }
}

impl From<Problem> for Response {
    fn from(problem: Problem) -> Self {
        let response = json::response(problem.status, &problem.said);
        match problem.status {
            401 => response.with("WWW-Authenticate", "Bearer"),
            405 => response.with("Allow", problem.allow),
            _ => response,
        }
    }
}
