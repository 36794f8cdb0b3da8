//! Notes the compiler's version: figures are only comparable where it is the same.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let rustc = std::env::var_os("RUSTC").expect("cargo names the compiler");
    let printed =
        Command::new(rustc).arg("--version").output().expect("the compiler that builds this can be started");
    println!("cargo::rustc-env=QK256_RUSTC={}", String::from_utf8_lossy(&printed.stdout).trim());
}
