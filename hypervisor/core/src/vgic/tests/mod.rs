use super::Vmcr;

mod cpu_interface;
mod delivery;
mod hardware;
mod machine;
mod model;
mod random;
mod registers;
