//! `qk256 new-plugin`: what it writes builds and passes.

use std::path::PathBuf;
use std::process::Command;

use super::faults::{check, compiler, has, qk256, rustc, scratch, shown, succeed, text};

#[test]
fn a_new_plugin_can_be_built_and_passes() {
    let folder = scratch();
    for (language, builder, words, library) in [
        ("c", "make", &["-s", "CFLAGS=-O2 -Wall -Wextra -Werror"][..], "libkernel.so"),
        ("cpp", "make", &["-s", "CXXFLAGS=-O2 -Wall -Wextra -Werror"], "libkernel.so"),
        (
            "rust",
            env!("CARGO"),
            &["build", "--release", "--offline", "--quiet"],
            "\"${CARGO_TARGET_DIR:-target}/release/libkernel.so\"",
        ),
    ] {
        let plugin = folder.path().join("plugins").join(language);
        let output = qk256(&["new-plugin", "--lang", language, text(&plugin)]);
        assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
        let readme = std::fs::read_to_string(plugin.join("README.md")).expect("there is a README");
        assert!(readme.contains(&format!("qk256 check --lib {library}\n")), "{readme}");
        let compiler = if language == "cpp" { "c++" } else { "cc" };
        if language != "rust" && !(has(compiler) && has(builder)) {
            continue;
        }
        let target = folder.path().join("a target");
        succeed(Command::new(builder).args(words).current_dir(&plugin).env("CARGO_TARGET_DIR", &target));
        let mut path = Command::new("sh");
        path.args(["-c", &format!("realpath {library}")])
            .current_dir(&plugin)
            .env("CARGO_TARGET_DIR", &target);
        let path = path.output().expect("sh starts");
        assert!(path.status.success(), "the README names what was built: {}", shown(&path));
        let library = PathBuf::from(String::from_utf8_lossy(&path.stdout).trim_end());
        let (report, printed) = check(&library, &[], 0);
        assert_eq!(report["verdict"], "pass", "{language}: {printed}");
        assert_eq!(report["kernels"][0]["kernel"], "my_kernel", "{language}: {printed}");
    }
}

#[test]
fn a_new_plugin_of_any_format_and_operation_passes() {
    let folder = scratch();
    let pairs = [
        ("c", "qk256", "dequantize"),
        ("c", "q2_0", "gemm"),
        ("c", "q1_0", "dot"),
        ("c", "q4_0", "dot"),
        ("c", "tq2_0", "unpack"),
        ("c", "tq1_0", "gemv"),
        ("c", "q2_k", "dot"),
        ("c", "i2_s", "dot"),
        ("c", "iq2_bn", "gemm"),
        ("cpp", "q2_k", "dequantize"),
        ("cpp", "i2_s_neon", "gemv"),
        ("cpp", "tq1_0", "dot"),
        ("rust", "qk256", "gemv"),
        ("rust", "q4_0", "gemm"),
        ("rust", "q2_k", "dot"),
        ("rust", "iq2_bn", "dequantize"),
        ("rust", "tq1_0", "unpack"),
    ];
    for (language, format, operation) in pairs {
        let name = format!("{language}_{format}_{operation}");
        let plugin = folder.path().join(&name);
        let words = ["new-plugin", "--lang", language, "--format", format, "--operation", operation];
        let output = qk256(&[&words[..], &[text(&plugin)]].concat());
        assert_eq!(output.status.code(), Some(0), "{name}: {}", shown(&output));
        let library = plugin.join("libkernel.so");
        let mut command = match language {
            "c" => compiler("cc", &["-std=c11"], &plugin.join("kernel.c")),
            "cpp" => compiler("c++", &["-std=c++17"], &plugin.join("kernel.cpp")),
            _ => rustc(&plugin.join("src/lib.rs")),
        };
        if language != "rust" && !has(if language == "c" { "cc" } else { "c++" }) {
            continue;
        }
        succeed(command.arg("-o").arg(&library));
        let (report, printed) = check(&library, &[], 0);
        assert_eq!(report["verdict"], "pass", "{name}: {printed}");
        let kernel = &report["kernels"][0];
        let met = (&kernel["kernel"], &kernel["operation"], &kernel["format"]);
        assert_eq!(met, (&"my_kernel".into(), &operation.into(), &format.into()), "{printed}");
        assert_eq!(kernel["skipped"], false, "{name}: {printed}");
    }
}

#[test]
fn a_new_plugin_overwrites_nothing() {
    let folder = scratch();
    let (empty, full, file) =
        (folder.path().join("empty"), folder.path().join("full"), folder.path().join("full/file"));
    for folder in [&empty, &full] {
        std::fs::create_dir(folder).expect("a scratch folder can be made");
    }
    std::fs::write(&file, "mine").expect("a scratch file can be written");
    assert_eq!(qk256(&["new-plugin", text(&empty)]).status.code(), Some(0), "an empty folder will do");
    assert!(empty.join("kernel.c").exists(), "C is what there is without --lang");
    let beneath = file.join("plugin");
    for (words, part) in [
        (&["new-plugin", text(&full)][..], "is not empty"),
        (&["new-plugin", text(&empty)], "is not empty"),
        (&["new-plugin", text(&file)], "Not a directory"),
        (&["new-plugin", text(&beneath)], "Not a directory"),
        (&["new-plugin"], "required"),
        (&["new-plugin", "--lang", "cobol", text(&full)], "cobol"),
    ] {
        let output = qk256(words);
        let printed = shown(&output);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {printed}");
        assert!(
            printed.contains(part) && !printed.contains("panicked"),
            "{words:?} must say `{part}`: {printed}"
        );
    }
    assert_eq!(std::fs::read_dir(&full).expect("the folder is there").count(), 1);
    assert_eq!(std::fs::read_to_string(&file).expect("the file is there"), "mine");
}
