//! Links the hypervisor as a position-independent image by the platform's linker script.

fn main() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../platform/image.ld");
    println!("cargo:rerun-if-changed={script}");
    for argument in ["-pie", "--no-dynamic-linker", "-znotext", "--pack-dyn-relocs=relr", "-znorelro"] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
    println!("cargo:rustc-link-arg-bins=-T{script}");
}
