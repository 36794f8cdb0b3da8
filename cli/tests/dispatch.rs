//! The command on other CPUs than this one, by an emulator: no instruction that the CPU lacks, the right kernels chosen, and a
//! forced choice refused where it cannot be had.

use std::process::Command;

use qk256_skip::has_programs;
use serde_json::Value;

/// Of Debian's package qemu-user.
const EMULATOR: &str = "qemu-x86_64";

/// A CPU by the emulator's name for it, the features that it lacks of those that kernels need, and the kernels chosen on it.
struct Cpu {
    name: &'static str,
    lacks: &'static [&'static str],
    chosen: &'static str,
}

/// Without AVX2; with AVX2 and no FMA, as a virtual CPU can be; with both.
const CPUS: [Cpu; 3] = [
    Cpu { name: "Nehalem", lacks: &["avx2", "fma", "avxvnni"], chosen: "fast_scalar" },
    Cpu { name: "Haswell,-fma", lacks: &["fma", "avxvnni"], chosen: "fast_scalar" },
    Cpu { name: "Haswell", lacks: &["avxvnni"], chosen: "avx2" },
];

/// Whatever the emulator can do.
const ALL_THERE_IS: &str = "max";

/// Seeded cases of each operation: an emulator is slow.
const CASES: &str = "20";

/// Standard output and standard error of a run on `cpu` that must end with `code`.
fn run(cpu: &str, words: &[&str], code: i32) -> (String, String) {
    let program = assert_cmd::cargo::cargo_bin("qk256");
    let mut command = Command::new(EMULATOR);
    command.args(["-cpu", cpu]).arg(program).args(words);
    let output = command.output().expect("the emulator starts");
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    // Death by SIGILL has no code; a kernel that raised it leaves its last words.
    assert_eq!(output.status.code(), Some(code), "{cpu}: qk256 {words:?}: {}\n{out}\n{err}", output.status);
    assert!(!err.contains("SIGILL"), "{cpu}: qk256 {words:?}\n{err}");
    (out, err)
}

fn rows(cpu: &str) -> Vec<Value> {
    let (list, _) = run(cpu, &["list", "--json"], 0);
    serde_json::from_str(&list).expect("the list is a list in JSON")
}

/// The strings of a list.
fn words(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().map(|word| word.as_str().expect("a string")).collect()
}

#[test]
fn each_cpu_gets_the_fastest_kernels_that_it_can_run() {
    if !has_programs(&[EMULATOR]) {
        return;
    }
    for Cpu { name, lacks, chosen } in CPUS {
        for row in rows(name) {
            let needs = words(&row["required_features"]);
            let missing: Vec<_> = needs.into_iter().filter(|feature| lacks.contains(feature)).collect();
            assert_eq!(words(&row["missing_features"]), missing, "{name}: {row}");
            // Of quantise there is the scalar kernel alone.
            let best = if row["operation"] == "quantize" { "scalar" } else { chosen };
            assert_eq!(row["chosen"], row["kernel"] == best, "{name}: {row}");
        }
        let (table, _) = run(name, &["list"], 0);
        assert!(table.ends_with(&format!("chosen on this CPU: {chosen}\n")), "{name}: {table}");
    }
}

#[test]
fn every_kernel_that_a_cpu_can_run_passes_on_it_and_no_other_is_called() {
    if !has_programs(&[EMULATOR]) {
        return;
    }
    for name in CPUS.iter().map(|cpu| cpu.name).chain([ALL_THERE_IS]) {
        let mut check = vec!["check", "--no-speed", "--seed", "1", "--cases", CASES, "--json", "-"];
        // The reference kernels of the other formats are scalar: one CPU says what can be seen of them.
        let is_of_all = name == CPUS[0].name;
        if !is_of_all {
            check.extend(["--format", "qk256"]);
        }
        let (report, _) = run(name, &check, 0);
        let report: Value = serde_json::from_str(&report).expect("the report is JSON");
        let kernels = report["kernels"].as_array().expect("a list");
        for row in rows(name).into_iter().filter(|row| is_of_all || row["format"] == "qk256") {
            let is_same = |kernel: &&Value| FIELDS.iter().all(|&field| kernel[field] == row[field]);
            let kernel = kernels.iter().find(is_same);
            let kernel = kernel.unwrap_or_else(|| panic!("{name}: {row} is in the report"));
            let is_skipped = !words(&row["missing_features"]).is_empty();
            assert_eq!(kernel["skipped"], is_skipped, "{name}: {kernel}");
            assert_eq!(kernel["cases"] == 0, is_skipped, "{name}: {kernel}");
        }
    }
}

/// What says which kernel is meant.
const FIELDS: [&str; 4] = ["operation", "format", "activations", "kernel"];

#[test]
fn a_forced_kernel_or_a_required_feature_that_the_cpu_lacks_is_refused_in_a_clear_line() {
    if !has_programs(&[EMULATOR]) {
        return;
    }
    let check = ["check", "--no-speed", "--seed", "1", "--cases", "2"];
    for Cpu { name, lacks, chosen } in CPUS {
        let forced = [&check[..], &["--kernel", "avx2"]].concat();
        let required = [&check[..], &["--op", "gemv", "--require", "avx2"]].concat();
        if chosen == "avx2" {
            run(name, &forced, 0);
            run(name, &required, 0);
        } else {
            let (_, printed) = run(name, &forced, 1);
            assert!(printed.contains("this CPU can run none of the chosen kernels"), "{name}: {printed}");
            let (_, printed) = run(name, &required, 1);
            let lacked: Vec<_> =
                ["avx2", "fma"].into_iter().filter(|feature| lacks.contains(feature)).collect();
            let lacks = format!("this CPU lacks {}, and --require avx2 forbids that", lacked.join(", "));
            assert!(printed.contains(&lacks), "{name}: {printed}");
            let (_, printed) = run(name, &["replay", "--kernel", "avx2", "gemv", "rows=2", "cols=300"], 2);
            assert!(printed.contains("this CPU can run no kernel of this case"), "{name}: {printed}");
        }
        let vnni = [&check[..], &["--op", "gemv_fixed", "--require", "avxvnni"]].concat();
        let (_, printed) = run(name, &vnni, 1);
        assert!(printed.contains("avx_vnni gemv_fixed was skipped"), "{name}: {printed}");
    }
}
