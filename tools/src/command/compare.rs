//! `compare`.

use miette::miette;

use crate::cli::ReportArgs;
use crate::failure::{Failure, Result, Status};

/// Not there yet.
///
/// # Errors
/// Always.
pub fn compare(_: &ReportArgs) -> Result<Status> {
    Err(Failure::unable(miette!("compare is not there yet")))
}
