//! Gives every guest the library's linker script.
//!
//! A build script can hand no linker arguments to the packages that depend on its own, but libraries
//! to link it can, and to the linker a script is an input like any other.

fn main() {
    println!("cargo:rustc-link-search=native={}", env!("CARGO_MANIFEST_DIR"));
    println!("cargo:rustc-link-lib=dylib:+verbatim=image.ld");
    println!("cargo:rerun-if-changed=image.ld");
}
