//! `bench`.

use miette::miette;

use crate::cli::BenchArgs;
use crate::failure::{Failure, Result, Status};

/// Not there yet.
///
/// # Errors
/// Always.
pub fn bench(_: &BenchArgs) -> Result<Status> {
    Err(Failure::unable(miette!("bench is not there yet")))
}
