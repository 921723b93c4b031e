//! `setup`: everything that the other commands need.

use crate::failure::{Result, Status};
use crate::setup::{self, Need};

/// Gets what is missing, and lists what is where.
///
/// # Errors
///
/// Something cannot be had.
pub fn setup() -> Result<Status> {
    setup::ensure(&Need::ALL)?;
    println!("{}", setup::summary()?);
    Ok(Status::Clean)
}
