//! Kernels of a real build of ggml, straight out of its library: version 0.13.1 with AVX2, as the wheel of pywhispercpp carries it.
//!
//! pip downloads the wheel into the folder of the build. Where it cannot, the tests report a skip.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;

/// The wheel, which pip accepts only with these bytes.
const WHEEL: &str =
    "pywhispercpp==1.5.1 --hash=sha256:a70839d9a1f569e1e5424f27ed01a32133d658beae4cd1459eb39de1e0483bba\n";

/// What the tests are skipped for where it is missing.
const NEEDS: &str = "pywhispercpp";

/// The types of that build that weights have.
const TYPES: [&str; 24] = [
    "q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq2_xxs", "iq2_xs",
    "iq3_xxs", "iq1_s", "iq4_nl", "iq3_s", "iq2_s", "iq4_xs", "iq1_m", "tq1_0", "tq2_0", "mxfp4", "nvfp4",
    "q1_0",
];

/// Those whose AVX2 products move the sign of a weight to the activation (`vpsignb`), which turns -128 into itself, each with a case of one
/// block; of two where the code with AVX2 works on pairs.
const SIGN_TRICKS: [(&str, &str); 14] = [
    ("q4_0", "activations=q8_0 requires=alignment:2 rows=1 cols=32 dist=extreme seed=4"),
    ("q5_0", "activations=q8_0 requires=alignment:2 rows=1 cols=32 dist=extreme seed=4"),
    ("q8_0", "activations=q8_0 requires=alignment:2,weight_min:-127 rows=1 cols=32 dist=extreme seed=4"),
    ("q1_0", "activations=q8_0 requires=alignment:2 rows=1 cols=128 dist=unit seed=0"),
    ("iq4_nl", "activations=q8_0 requires=alignment:2 rows=1 cols=64 dist=unit seed=4"),
    ("mxfp4", "activations=q8_0 requires=alignment:2 rows=1 cols=64 dist=integer seed=4"),
    ("iq2_xxs", "activations=q8_k requires=alignment:4 rows=1 cols=256 dist=unit seed=3"),
    ("iq2_xs", "activations=q8_k requires=alignment:4 rows=1 cols=256 dist=unit seed=2"),
    ("iq2_s", "activations=q8_k requires=alignment:4 rows=1 cols=256 dist=unit seed=3"),
    ("iq3_xxs", "activations=q8_k requires=alignment:4 rows=1 cols=256 dist=unit seed=4"),
    ("iq3_s", "activations=q8_k requires=alignment:4 rows=1 cols=256 dist=unit seed=3"),
    ("iq1_s", "activations=q8_k requires=alignment:4 rows=1 cols=256 dist=unit seed=4"),
    ("iq1_m", "activations=q8_k requires=alignment:4 rows=1 cols=256 dist=unit seed=2"),
    ("iq4_xs", "activations=q8_k requires=alignment:4 rows=1 cols=256 dist=unit seed=2"),
];

/// The libggml-cpu of the wheel, with what it needs beside it. `None`, with a skip reported, where it cannot be had or run.
#[track_caller]
fn library() -> Option<PathBuf> {
    static LIBRARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    if !["avx2", "fma", "f16c", "bmi2"]
        .iter()
        .all(|feature| qk256_verify::features::is_detected(feature) == Ok(true))
    {
        qk256_skip::skip(&["avx2"]);
        return None;
    }
    let library = LIBRARY.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pywhispercpp-1.5.1");
        found(&folder).or_else(|| {
            download(&folder)?;
            found(&folder)
        })
    });
    if library.is_none() {
        qk256_skip::skip(&[NEEDS]);
    }
    library.clone()
}

fn found(folder: &Path) -> Option<PathBuf> {
    let files = fs::read_dir(folder.join("pywhispercpp.libs")).ok()?;
    let names = files.filter_map(|file| Some(file.ok()?.path()));
    names.filter(|path| name(path).starts_with("libggml-cpu")).min()
}

fn name(path: &Path) -> String {
    path.file_name().map(OsStr::to_string_lossy).unwrap_or_default().into_owned()
}

/// Puts the content of the wheel into a folder, all of it or nothing.
fn download(folder: &Path) -> Option<()> {
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).ok()?;
    let requirements = scratch.path().join("requirements.txt");
    fs::write(&requirements, WHEEL).ok()?;
    let system =
        ["--platform", "manylinux_2_28_x86_64", "--python-version", "3.11", "--implementation", "cp"];
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes"])
        .args(system);
    succeeds(pip.arg("--dest").arg(scratch.path()).arg("--requirement").arg(&requirements))?;
    let wheel = fs::read_dir(scratch.path()).ok()?.filter_map(|file| Some(file.ok()?.path()));
    let wheel = wheel.into_iter().find(|path| path.extension() == Some(OsStr::new("whl")))?;
    let content = scratch.path().join("content");
    succeeds(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(wheel).arg(&content))?;
    // Another process may have been faster.
    let _ = fs::rename(content, folder);
    Some(())
}

fn succeeds(command: &mut Command) -> Option<()> {
    command.output().is_ok_and(|output| output.status.success()).then_some(())
}

fn qk256(words: &[&str], library: &Path) -> Output {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("qk256"));
    command.args([words[0], "--ggml"]).arg(library).args(&words[1..]);
    command.output().expect("the command starts")
}

fn printed(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|stream| String::from_utf8_lossy(stream)).join("\n")
}

/// The JSON report of a check that ends with this exit code, and all that was printed.
fn check(library: &Path, words: &[&str], code: i32) -> (Value, String) {
    let words = [&["check", "--no-speed", "--seed", "1", "--json", "-"], words].concat();
    let output = qk256(&words, library);
    let printed = printed(&output);
    assert_eq!(output.status.code(), Some(code), "{printed}");
    (serde_json::from_slice(&output.stdout).expect("the report is JSON"), printed)
}

fn text(value: &Value) -> &str {
    value.as_str().expect("it is text")
}

fn list<'v>(report: &'v Value, name: &str) -> &'v [Value] {
    report[name].as_array().expect("it is a list")
}

#[test]
fn every_type_is_right_for_activations_from_minus_127_on() {
    let Some(library) = library() else { return };
    let (report, printed) =
        check(&library, &["--kernel", "ggml", "--op", "dequantize", "--op", "dot", "--cases", "24"], 0);
    assert_eq!(report["verdict"], "pass", "{printed}");
    for operation in ["dequantize", "dot"] {
        let own = list(&report, "kernels").iter().filter(|kernel| {
            kernel["operation"] == operation
                && kernel["kernel"] == "ggml"
                && kernel["cases"].as_u64() > Some(10)
        });
        let formats: BTreeSet<&str> = own.filter_map(|kernel| kernel["format"].as_str()).collect();
        assert_eq!(formats, BTreeSet::from(TYPES), "{operation}: {printed}");
    }
    for words in ["requires alignment:2,min:-127", "`--activation-min -128` tries", "own `to_float`"] {
        assert!(printed.contains(words), "{words}: {printed}");
    }
}

#[test]
fn quantisers_are_right_but_for_bytes_of_zero_blocks_that_they_leave_as_they_were() {
    let Some(library) = library() else { return };
    let (report, printed) = check(&library, &["--op", "quantize", "--cases", "200"], 1);
    let kernels = list(&report, "kernels");
    let of = |is_wrong: bool| {
        let kernels =
            kernels.iter().filter(move |kernel| (kernel["failed_cases"].as_u64() > Some(0)) == is_wrong);
        kernels.map(|kernel| (text(&kernel["kernel"]), text(&kernel["format"]))).collect::<BTreeSet<_>>()
    };
    let known = [("ggml", "iq4_nl"), ("ggml", "q8_k"), ("ggml_generic", "q8_k")];
    assert_eq!(of(true), BTreeSet::from(known), "{printed}");
    let right = of(false);
    for format in
        ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q8_1", "q2_k", "q6_k", "tq1_0", "tq2_0", "mxfp4", "q1_0"]
    {
        assert!(right.contains(&("ggml", format)), "{format}: {printed}");
    }
    // A block of zeros, and nothing else: its results differ from call to call.
    for format in ["q8_k requires=cols:256,alignment:4 len=256", "iq4_nl requires=cols:32,alignment:2 len=32"]
    {
        let case = format!("quantize format={format} dist=raw seed=4");
        let output = qk256(&["replay", "--kernel", "ggml", &case], &library);
        let printed = self::printed(&output);
        assert!(output.status.code() == Some(1) && printed.contains("`repeat`"), "{case}: {printed}");
    }
}

#[test]
fn activations_of_minus_128_are_found_to_break_sign_tricks_and_nothing_else() {
    let Some(library) = library() else { return };
    let (report, printed) = check(&library, &["--op", "dot", "--activation-min", "-128", "--cases", "24"], 1);
    let wrong = list(&report, "kernels").iter().filter(|kernel| kernel["failed_cases"].as_u64() > Some(0));
    let wrong: BTreeSet<_> = wrong.map(|kernel| (text(&kernel["kernel"]), text(&kernel["format"]))).collect();
    assert_eq!(wrong, SIGN_TRICKS.iter().map(|&(format, _)| ("ggml", format)).collect(), "{printed}");
}

#[test]
fn one_block_shows_what_minus_128_breaks() {
    let Some(library) = library() else { return };
    for (format, rest) in SIGN_TRICKS {
        let replay = |kernel| {
            let case = format!("dot format={format} {rest}");
            qk256(&["replay", "--activation-min", "-128", "--kernel", kernel, &case], &library)
        };
        for (kernel, code) in [("ggml", 1), ("ggml_generic", 0)] {
            let output = replay(kernel);
            assert_eq!(output.status.code(), Some(code), "{kernel} {format}: {}", printed(&output));
        }
    }
}

#[test]
fn a_finding_is_shown_again_and_made_small_by_its_commands() {
    let Some(library) = library() else { return };
    let case = "dot format=q4_0 activations=q8_0 requires=alignment:2 rows=3 cols=320 dist=extreme seed=4";
    let options = ["--kernel", "ggml", "--activation-min", "-128"];
    let replay = qk256(&[&["replay"], &options[..], &[case]].concat(), &library);
    assert_eq!(replay.status.code(), Some(1), "{}", printed(&replay));
    let shown = printed(&replay);
    assert!(shown.contains("--activation-min -128 --kernel ggml dot format=q4_0"), "{shown}");
    let minimize = qk256(&[&["minimize"], &options[..], &[case]].concat(), &library);
    assert!(String::from_utf8_lossy(&minimize.stdout).contains("rows=1 "), "{}", printed(&minimize));
    // By default there is no such kernel: the requirements differ.
    let other = qk256(&["replay", "--kernel", "ggml", case], &library);
    assert_eq!(other.status.code(), Some(2), "{}", printed(&other));
    assert!(printed(&other).contains("min:-127"), "{}", printed(&other));
}

#[test]
fn weights_of_minus_128_are_tried_where_they_are_asked_for() {
    let Some(library) = library() else { return };
    let of = |words: &[&str]| {
        let (report, _) =
            check(&library, &[&["--type", "q8_0", "--op", "dot", "--cases", "60"], words].concat(), 0);
        text(&list(&report, "kernels")[0]["requirements"]).to_owned()
    };
    assert_eq!(of(&[]), "alignment:2,min:-127,weight_min:-127");
    assert_eq!(of(&["--weights-min", "-128"]), "alignment:2,min:-127");
}

#[test]
fn what_is_missing_or_no_ggml_is_named() {
    let Some(library) = library() else { return };
    let folder = library.parent().expect("it is in a folder");
    let alone = tempfile::tempdir().expect("a temporary folder can be made");
    let copy = alone.path().join(name(&library));
    fs::copy(&library, &copy).expect("the library can be copied");
    let files = fs::read_dir(folder).expect("the folder is there").filter_map(|file| Some(file.ok()?.path()));
    let other = files.into_iter().find(|path| name(path).starts_with("libgomp")).expect("libgomp is there");
    for (library, words, expected) in [
        (&copy, vec!["list"], "cannot open shared object file"),
        (&copy, vec!["list"], "put that library into the same folder"),
        (&other, vec!["list"], "exports no `ggml_get_type_traits`"),
        (&library, vec!["list", "--type", "q2_0"], "has no type `q2_0`"),
    ] {
        let output = qk256(&words, library);
        let printed = printed(&output);
        assert!(output.status.code() == Some(2) && printed.contains(expected), "{expected}: {printed}");
    }
}
