//! Tries templates and clones. As the control domain (`mote,control`) it builds the first guest of the configuration, which is this program
//! as well, with `role=template`, and asks for clones of it; each does what its argument says.
//!
//! Arguments of the template are read by both: `ballast=` pages that the template fills before its snapshot, and `alive=`, how many clones
//! are to be there at once; with `crowd=` so many run at once, and nothing else is tried. Each try that came out well prints `cloner: NAME ok`, measurements `bench: KEY TICKS`; the first that did not
//! ends everything.

#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod control;
mod template;
mod tries;
mod work;

use mote_unikernel::Machine;

mote_unikernel::entry!(main);

fn main(machine: Machine) {
    match machine.argument("role") {
        Some(_) => template::run(&machine),
        None => control::run(&machine),
    }
}
