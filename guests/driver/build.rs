//! Asks for a larger stack than the library's: batches of copies are listed there, and devices' queues made.

fn main() {
    println!("cargo:rustc-link-arg-bins=--defsym=stack_size=32768");
}
