//! Every input of the corpus, once more, without a fuzzer: seeds through their target, regressions through every kernel.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use qk256_proptests::{corpus, kernels, weights_file};
use qk256_verify::case::parse_file;
use qk256_verify::fuzz::{Bench, Target};
use qk256_verify::{Harness, Weights};

#[test]
fn every_seed_of_every_target_passes() {
    // The targets call the same; here it reports the kernels that they skip.
    kernels();
    let (mut bench, mut complaints) = (Bench::own(), Vec::new());
    for target in Target::ALL {
        for path in files(&corpus().join(target.name()), &mut complaints) {
            let data = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| bench.run(target, &data))) {
                let message =
                    payload.downcast_ref::<String>().map_or("a panic without a message", String::as_str);
                complaints.push(format!("{}:\n{message}", path.display()));
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n\n"));
}

#[test]
fn every_regression_passes_on_every_kernel() {
    let weights = Weights::open(&weights_file()).unwrap_or_else(|error| panic!("{error}"));
    let mut harness = Harness::new(Some(weights));
    let mut complaints = Vec::new();
    for path in files(&corpus().join("regressions"), &mut complaints) {
        if let Err(complaint) = regression(&mut harness, &path) {
            complaints.push(format!("{}:\n{complaint}", path.display()));
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n\n"));
}

fn regression(harness: &mut Harness, path: &Path) -> Result<(), String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    if path.extension().is_none_or(|extension| extension != "case") || !text.starts_with('#') {
        return Err("a regression is a .case file that starts with a comment on its bug".to_owned());
    }
    let case = parse_file(&text).map_err(|error| error.to_string())?;
    let mut findings = Vec::new();
    for kernel in kernels().iter().filter(|kernel| kernel.domain() == case.domain()) {
        let found = harness.findings(kernel.as_ref(), &case).map_err(|error| error.to_string())?;
        findings.extend(found.iter().map(ToString::to_string));
    }
    if findings.is_empty() { Ok(()) } else { Err(findings.join("\n")) }
}

#[test]
fn targets_are_the_programs_of_the_fuzz_package() {
    let mut complaints = Vec::new();
    let programs = files(&corpus().join("../fuzz/fuzz_targets"), &mut complaints);
    let mut programs: Vec<_> = programs.iter().filter_map(|path| path.file_stem()?.to_str()).collect();
    let mut targets = Target::ALL.map(Target::name);
    programs.sort_unstable();
    targets.sort_unstable();
    assert_eq!(programs, targets, "{complaints:?}");
}

/// The files of a directory, sorted. Its absence is a complaint, and so is its emptiness.
fn files(directory: &Path, complaints: &mut Vec<String>) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.is_file()).collect();
    files.sort();
    if files.is_empty() {
        complaints.push(format!("{}: there is nothing to replay", directory.display()));
    }
    files
}
