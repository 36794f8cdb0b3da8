//! What plugins require, the CPU features that they need, and formats of their own.

use serde_json::Value;

use super::faults::{
    VERIFY, c, check, check_by, compiler, has, properties, qk256, rustc, scratch, shown, shows_again,
    succeed, text,
};

#[test]
fn kernels_that_require_something_are_held_to_it_and_the_report_shows_it() {
    if !has("cc") {
        return;
    }
    let folder = scratch();
    let (report, printed) = check_by("300", &c(&folder, "formats.c", &[]), &[], 0);
    assert_eq!(report["verdict"], "pass", "{printed}");
    let kernels = report["kernels"].as_array().expect("kernels is a list");
    let met = |kernel: &Value| {
        ["kernel", "operation", "format", "activations", "requirements"].map(|field| kernel[field].clone())
    };
    let met: Vec<_> = kernels.iter().map(met).collect();
    let expected = [
        ["tiles", "gemm", "q4_0", "f32", "cols:32,rows:4,max_batch:4"],
        ["signs", "dot", "q4_0", "q8_0", "max_cols:4096,alignment:2,min:-127"],
        ["ternary", "gemv", "tq2_0", "f32", "max_code:2,finite"],
    ];
    assert_eq!(met, expected.map(|row| row.map(Value::from)), "{printed}");
    let prepares = kernels.iter().map(|kernel| kernel["prepares"] == true);
    assert!(prepares.eq([true, false, false]), "{printed}");
    assert!(
        printed.contains("signs dot q4_0 q8_0: requires max_cols:4096,alignment:2,min:-127"),
        "{printed}"
    );
    let library = c(&folder, "formats.c", &["-DQK256_BUG"]);
    let (report, printed) = check(&library, &["--format", "q4_0", "--op", "gemm"], 1);
    assert_eq!(properties(&report), ["memory"], "{printed}");
    assert!(printed.contains("writes byte 0 of `prepared`, which it may only read"), "{printed}");
    shows_again(&report["findings"][0]);
    assert_eq!(report["kernels"].as_array().map(Vec::len), Some(1), "--format chooses: {printed}");
}

#[test]
fn a_kernel_without_its_cpu_features_is_not_called() {
    if !has("cc") {
        return;
    }
    let folder = scratch();
    // No CPU has both.
    let source = std::fs::read_to_string(format!("{VERIFY}/plugins/plain.c")).expect("the example is there");
    let source = source.replace(
        "    QK256_KERNEL(\"plain\", \"gemv\"",
        "    QK256_KERNEL(\"foreign\", \"gemv\", \"qk256\", \"f32\", \"avx2 neon\", 0, unpack),\n    QK256_KERNEL(\"plain\", \"gemv\"",
    );
    let file = folder.path().join("foreign.c");
    std::fs::write(&file, source).expect("a scratch file can be written");
    let library = folder.path().join("foreign.so");
    succeed(compiler("cc", &["-std=c11"], &file).arg("-o").arg(&library));
    let (report, printed) = check(&library, &[], 0);
    assert_eq!(report["verdict"], "pass", "{printed}");
    assert!(
        printed.contains("1 kernel skipped: this CPU lacks ") && printed.contains("skipped: no "),
        "{printed}"
    );
    let kernels = report["kernels"].as_array().expect("kernels is a list");
    let foreign = kernels.iter().find(|kernel| kernel["kernel"] == "foreign").expect("it is reported");
    assert_eq!((&foreign["skipped"], &foreign["cases"]), (&true.into(), &0.into()), "{foreign}");
    assert!(
        foreign["why_skipped"].as_str().is_some_and(|why| why.starts_with("this CPU lacks ")),
        "{foreign}"
    );
    let listed = qk256(&["list", "--lib", text(&library), "--kernel", "foreign"]);
    assert!(shown(&listed).contains("lacks "), "{}", shown(&listed));
    let replay = qk256(&["replay", "--lib", text(&library), "gemv", "rows=1", "cols=9"]);
    let printed = shown(&replay);
    assert_eq!(replay.status.code(), Some(0), "{printed}");
    assert!(
        printed.contains("skip     foreign gemv: this CPU lacks ") && printed.contains("pass     plain gemv"),
        "{printed}"
    );
}

#[test]
fn a_format_of_a_file_is_given_by_its_option_and_named_in_the_command_of_a_finding() {
    if !has("cc") {
        return;
    }
    let folder = scratch();
    let file = folder.path().join("mine.toml");
    let description = "name = \"mine\"\nblock_len = 32\nblock_bytes = 18\nbits = 4\ncodes_at = 2\ngroup = 16\norder = \"lsb\"\n\
                       values = [-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7]\n\
                       scale = { in = \"block\", byte = 0, number = \"f16\" }\n";
    std::fs::write(&file, description).expect("a scratch file can be written");
    let plugin = folder.path().join("plugin");
    let words = ["new-plugin", "--format", text(&file), "--operation", "gemm", text(&plugin)];
    let output = qk256(&words);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    assert!(shown(&output).contains(&format!("--format {}", text(&file))), "{}", shown(&output));
    let library = plugin.join("libkernel.so");
    succeed(compiler("cc", &["-std=c11"], &plugin.join("kernel.c")).arg("-o").arg(&library));
    let unknown = qk256(&["check", "--no-speed", "--cases", "1", "--lib", text(&library)]);
    assert_eq!(unknown.status.code(), Some(2), "{}", shown(&unknown));
    assert!(
        shown(&unknown).contains("`format` is \"mine\"") && shown(&unknown).contains("--format FILE.toml")
    );
    let (report, printed) = check(&library, &["--format", text(&file)], 0);
    assert_eq!(
        (&report["verdict"], &report["kernels"][0]["format"]),
        (&"pass".into(), &"mine".into()),
        "{printed}"
    );
    let source = std::fs::read_to_string(plugin.join("kernel.c")).expect("the source is there");
    let wrong = source.replace("weights[c % BLOCK_LEN] * x[c]", "weights[c % BLOCK_LEN] * x[c / 2]");
    std::fs::write(plugin.join("kernel.c"), wrong).expect("the source can be written");
    succeed(compiler("cc", &["-std=c11"], &plugin.join("kernel.c")).arg("-o").arg(&library));
    let (report, printed) = check(&library, &["--format", text(&file)], 1);
    let finding = &report["findings"][0];
    let replay = finding["replay"].as_str().expect("a finding has its command");
    assert!(replay.contains(&format!(" --format {}", text(&file))), "{replay}: {printed}");
    shows_again(finding);
    let own = qk256(&["check", "--no-speed", "--seed", "1", "--cases", "60", "--format", text(&file)]);
    assert_eq!(own.status.code(), Some(0), "{}", shown(&own));
    assert!(shown(&own).contains("gemm mine") && !shown(&own).contains("avx2"), "{}", shown(&own));
}

#[test]
fn a_tensor_with_one_scale_is_checked_with_it() {
    if !has("cc") {
        return;
    }
    let folder = scratch();
    let file = folder.path().join("tensor.toml");
    let description = "name = \"ternary\"\nblock_len = 128\nblock_bytes = 32\nbits = 2\ncodes_at = 0\ngroup = 32\norder = \"msb\"\n\
                       values = [-1, 0, 1, 2]\nscale = \"tensor\"\n";
    std::fs::write(&file, description).expect("a scratch file can be written");
    for (language, operation) in
        [("c", "gemm"), ("c", "dequantize"), ("rust", "gemv"), ("rust", "dequantize")]
    {
        let plugin = folder.path().join(format!("{language}-{operation}"));
        let words = ["new-plugin", "--lang", language, "--format", text(&file), "--operation", operation];
        let output = qk256(&[&words[..], &[text(&plugin)]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
        let library = plugin.join("libkernel.so");
        let build = || {
            let mut command = match language {
                "rust" => rustc(&plugin.join("src/lib.rs")),
                _ => compiler("cc", &["-std=c11"], &plugin.join("kernel.c")),
            };
            succeed(command.arg("-o").arg(&library));
        };
        build();
        let (report, printed) = check(&library, &["--format", text(&file)], 0);
        assert_eq!(report["verdict"], "pass", "{language} {operation}: {printed}");
        if language == "rust" {
            continue;
        }
        let source = std::fs::read_to_string(plugin.join("kernel.c")).expect("the source is there");
        for (from, to, property) in [
            ("call->scales[0] :", "call->scales[b] :", "memory"),
            ("call->scales[0] :", "1.0f :", "negation"),
        ] {
            assert!(source.contains(from), "{from} is in the source");
            std::fs::write(plugin.join("kernel.c"), source.replace(from, to)).expect("it can be written");
            build();
            let (report, printed) = check(&library, &["--format", text(&file)], 1);
            let names = properties(&report);
            assert!(
                names.iter().any(|name| name.contains(property)),
                "{operation} {to}: {names:?} {printed}"
            );
        }
    }
}
