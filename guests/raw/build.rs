//! Links the image flat, from address 0: it is position independent.

fn main() {
    println!("cargo:rustc-link-arg-bins=-T{}/raw.ld", env!("CARGO_MANIFEST_DIR"));
    println!("cargo:rerun-if-changed=raw.ld");
}
