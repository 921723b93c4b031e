//! Asks for a larger stack than the library's: trees are read and written by calls within calls.

fn main() {
    println!("cargo:rustc-link-arg-bins=--defsym=stack_size=65536");
    println!("cargo:rerun-if-changed=build.rs");
}
