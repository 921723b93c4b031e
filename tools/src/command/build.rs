//! `build`: the hypervisor and all guests.

use crate::build::{self, Program};
use crate::config::source::guests;
use crate::failure::{Result, Status};
use crate::setup::{self, Need, Target};

/// Builds everything, and lists it with its sizes.
///
/// # Errors
///
/// Something does not compile.
pub fn build() -> Result<Status> {
    setup::ensure(&[Need::Target(Target::Hypervisor), Need::Target(Target::Guest)])?;
    show("the hypervisor", &build::hypervisor()?);
    for name in guests() {
        show(&name, &build::guest(&name)?);
    }
    Ok(Status::Clean)
}

fn show(name: &str, program: &Program) {
    let size = std::fs::metadata(&program.image).map_or(0, |file| file.len());
    println!("{name}: {size} bytes, {}", program.image.display());
}
