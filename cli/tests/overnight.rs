//! A night of fuzzing, in seconds: what is wrong is found, and nothing that was found is lost.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use qk256_skip::{has_programs, skip};

/// The wrong kernel that is planted: the last of 63 columns of 64 is lost in the last of two rows of three.
const PLANTED: &str = "last-dropped-when-63-of-64-in-a-third-row";

/// A run of the builtin engine on a directory.
fn overnight(dir: &Path, words: &[&str]) -> Command {
    overnight_with("builtin", dir, words)
}

fn overnight_with(engine: &str, dir: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qk256"));
    command.args([
        "overnight",
        "--engine",
        engine,
        "--targets",
        "gemv",
        "--jobs",
        "2",
        "--plant",
        PLANTED,
        "--dir",
    ]);
    command.arg(dir).args(words).stdout(Stdio::piped()).stderr(Stdio::piped());
    // libFuzzer's programs are built from the repository.
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    command
}

/// A run of the builtin engine on a library.
fn overnight_on(library: &Path, dir: &Path, words: &[&str]) -> Command {
    overnight_with_on("builtin", library, dir, words)
}

fn overnight_with_on(engine: &str, library: &Path, dir: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qk256"));
    command.args(["overnight", "--engine", engine, "--jobs", "1", "--slice", "300ms", "--lib"]).arg(library);
    command.arg("--dir").arg(dir).args(words).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A plugin of `verify/plugins`.
fn plugin(folder: &Path, source: &str, options: &[&str]) -> PathBuf {
    let verify = concat!(env!("CARGO_MANIFEST_DIR"), "/../verify");
    let library = folder.join(source).with_extension("so");
    let mut compile = Command::new("cc");
    compile.args(["-O2", "-std=c11", "-fPIC", "-shared"]).args(options).arg(format!("-I{verify}/include"));
    compile.arg(format!("{verify}/plugins/{source}")).arg("-o").arg(&library);
    ended(compile, 0);
    library
}

fn ended(mut command: Command, code: i32) -> String {
    let output: Output = command.output().expect("the command starts");
    let printed =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert_eq!(output.status.code(), Some(code), "{command:?}\n{printed}");
    printed
}

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder can be made")
}

/// The names of the files below a folder, whole ones.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    entries.map(name).filter(|name| !name.starts_with('.')).collect()
}

/// Every input and every finding that a directory has.
fn kept(dir: &Path) -> BTreeSet<String> {
    let inputs = ["artifacts/gemv", "artifacts.done/gemv"].map(|place| names(&dir.join(place)));
    let [waiting, done] = inputs;
    waiting.into_iter().chain(done).chain(names(&dir.join("findings"))).collect()
}

fn cases(dir: &Path) -> Vec<PathBuf> {
    let findings = dir.join("findings");
    names(&findings)
        .into_iter()
        .filter(|name| name.ends_with(".case"))
        .map(|name| findings.join(name))
        .collect()
}

/// The cases of a directory, whose report names the planted bug and one of which shows it as small as can be.
fn cases_of_the_planted_bug(dir: &Path, printed: &str) -> Vec<PathBuf> {
    let report = fs::read_to_string(dir.join("report.md")).expect("there is a report");
    assert!(report.contains(PLANTED) && report.contains("| gemv |"), "{report}\n{printed}");
    assert!(shows_the_planted_bug(dir), "{:?}\n{printed}", cases(dir));
    cases(dir)
}

/// Whether there is a case that shows the planted bug as small as can be.
fn shows_the_planted_bug(dir: &Path) -> bool {
    cases(dir).iter().any(|path| {
        let text = fs::read_to_string(path).expect("a case can be read");
        text.contains("\ngemv rows=2 cols=63 dist=")
    })
}

/// Lets a run of at least an hour go on until something is so, then ends it by SIGTERM, which no test runs ignoring. It must end with exit code 1.
fn interrupted_at(is_so: impl Fn() -> bool, mut command: Command) {
    let mut run = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the command starts");
    until("what the run is to find", || {
        let status = run.try_wait().expect("it can be waited for");
        assert!(status.is_none(), "{command:?} ends by itself: {status:?}");
        is_so()
    });
    // SAFETY: kill has no preconditions; the process has not been waited for, so that its number is its own.
    unsafe { libc::kill(run.id() as libc::pid_t, libc::SIGTERM) };
    let status = run.wait().expect("it can be waited for");
    assert_eq!(status.code(), Some(1), "{command:?}: {status}");
}

#[test]
fn a_rare_bug_is_found_made_small_and_becomes_a_regression() {
    let folder = scratch();
    let dir = folder.path().join("night");
    interrupted_at(|| shows_the_planted_bug(&dir), overnight(&dir, &["--for", "1h", "--slice", "2s"]));
    // What takes longest is measured in a run that comes to its end.
    let printed = ended(overnight(&dir, &["--for", "1s", "--slice", "1s"]), 1);
    let cases = cases_of_the_planted_bug(&dir, &printed);
    let report = fs::read(dir.join("report.json")).expect("there is a report");
    let report: serde_json::Value = serde_json::from_slice(&report).expect("it is JSON");
    let slowest = &report["state"]["targets"]["gemv"]["slowest"][0];
    assert!(slowest["milliseconds"].as_f64() > Some(0.0), "{report}");
    assert!(slowest["case"].as_str().is_some_and(|case| case.starts_with("gemv rows=")), "{report}");
    let regressions = folder.path().join("regressions");
    fs::create_dir(&regressions).expect("a scratch folder can be made");
    let mut adopt = Command::new(env!("CARGO_BIN_EXE_qk256"));
    adopt.arg("adopt").arg(&cases[0]).args(["Lost the last column.", "--to"]).arg(&regressions);
    ended(adopt, 0);
    let name = cases[0].file_name().expect("a file has a name");
    let adopted = fs::read_to_string(regressions.join(name)).expect("it was moved");
    assert!(adopted.starts_with("# Lost the last column.\ngemv rows=") && !cases[0].exists(), "{adopted}");
}

#[test]
fn a_bug_of_a_library_is_found_made_small_and_shown_again_by_its_command() {
    if !has_programs(&["cc"]) {
        return;
    }
    let folder = scratch();
    let (library, dir) = (plugin(folder.path(), "plain.c", &["-DQK256_BUG"]), folder.path().join("night"));
    let shows = |words: &str| {
        let text = |path: &PathBuf| fs::read_to_string(path).expect("a case can be read");
        cases(&dir).iter().map(text).any(|text| text.contains(words))
    };
    // As small as can be.
    interrupted_at(|| shows("\ngemv rows=1 cols=7 "), overnight_on(&library, &dir, &["--for", "1h"]));
    // What was found is reported by every run on the folder.
    let printed = ended(overnight_on(&library, &dir, &["--for", "1s", "--targets", "unpack"]), 1);
    let report = fs::read_to_string(dir.join("report.md")).expect("there is a report");
    let about = format!("These are the kernels of {}.", library.display());
    assert!(report.contains(&about) && !report.contains("case_text"), "{report}");
    let again: Vec<&str> = printed.lines().filter_map(|line| line.strip_prefix("  again:   ")).collect();
    assert_eq!(again.len(), cases(&dir).len(), "{printed}");
    for replay in again {
        assert!(replay.contains(&format!(" replay --lib {} ", library.display())), "{replay}");
        let mut shell = Command::new("sh");
        shell.args(["-c", replay]);
        assert!(ended(shell, 1).contains("finding: plain gemv violates "), "{replay}");
    }
}

#[test]
fn a_right_library_has_no_findings_and_only_its_own_targets() {
    if !has_programs(&["cc"]) {
        return;
    }
    let folder = scratch();
    let (library, dir) = (plugin(folder.path(), "plain.c", &[]), folder.path().join("night"));
    let printed = ended(overnight_on(&library, &dir, &["--for", "5s"]), 0);
    let report = fs::read(dir.join("report.json")).expect("there is a report");
    let report: serde_json::Value = serde_json::from_slice(&report).expect("it is JSON");
    let targets = report["state"]["targets"].as_object().expect("targets by name");
    let names: Vec<&String> = targets.keys().collect();
    assert_eq!(names, ["arguments", "dequantize", "gemv", "gemv_scaled", "unpack"], "{printed}");
    let mut other = Command::new(env!("CARGO_BIN_EXE_qk256"));
    other.args(["overnight", "--for", "1s", "--dir"]).arg(&dir);
    let printed = ended(other, 2);
    assert!(printed.contains(&format!("is about the kernels of {}: give", library.display())), "{printed}");
}

#[test]
fn a_kernel_that_crashes_is_found_by_its_crash() {
    if has_programs(&["cc"]) {
        findings_of_a_fault("ABORT", "faults-gemv-crash-");
    }
}

#[test]
fn a_kernel_that_fails_only_after_other_calls_is_one_finding() {
    if has_programs(&["cc"]) {
        let found = findings_of_a_fault("AFTER_WIDE", "gemv-not-again.");
        assert_eq!(found, 1);
    }
}

/// Fuzzes a kernel of `faults.c` until it is found and a little longer: how many findings there are, whose names begin as they must.
fn findings_of_a_fault(fault: &str, name: &str) -> usize {
    let folder = scratch();
    let library = plugin(folder.path(), "faults.c", &[&format!("-DFAULT_{fault}")]);
    let dir = folder.path().join("night");
    let night = |time| overnight_on(&library, &dir, &["--targets", "gemv", "--for", time]);
    interrupted_at(|| !cases(&dir).is_empty(), night("1h"));
    ended(night("1s"), 1);
    let found = names(&dir.join("findings"));
    let cases = found.iter().filter(|found| found.ends_with(".case"));
    assert!(cases.clone().all(|case| case.starts_with(name)), "{fault}: {found:?}");
    cases.count()
}

#[test]
fn what_is_no_library_of_a_target_is_refused_before_anything_is_written() {
    let folder = scratch();
    let (missing, dir) = (folder.path().join("missing.so"), folder.path().join("night"));
    let printed = ended(overnight_on(&missing, &dir, &[]), 2);
    assert!(printed.contains("cannot read ") && printed.contains("missing.so"), "{printed}");
    let printed = ended(overnight_on(Path::new("/dev/null"), &dir, &[]), 2);
    assert!(printed.starts_with("qk256: cannot load /dev/null: "), "{printed}");
    if has_programs(&["cc"]) {
        let library = plugin(folder.path(), "plain.c", &[]);
        let printed = ended(overnight_on(&library, &dir, &["--targets", "gemv,dot"]), 2);
        let line = "the libraries have no kernel for the fuzz target `dot`; they have kernels for unpack,";
        assert!(printed.contains(line), "{printed}");
    }
    assert!(!dir.exists(), "{} was made", dir.display());
}

#[test]
#[ignore = "builds the fuzz targets twice, which takes minutes, and needs cargo-fuzz"]
fn libfuzzer_finds_the_bug_of_a_library_and_leaves_the_corpus_alone() {
    if !has_programs(&["cc"]) {
        return;
    }
    let repository = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let corpus = || ["gemv", "regressions"].map(|name| names(&repository.join("corpus").join(name)));
    let (folder, before) = (scratch(), corpus());
    let (library, dir) = (plugin(folder.path(), "plain.c", &["-DQK256_BUG"]), folder.path().join("night"));
    let night = |time| {
        let mut night = overnight_with_on("libfuzzer", &library, &dir, &["--targets", "gemv", "--for", time]);
        // libFuzzer's programs are built from the repository.
        night.current_dir(repository);
        night
    };
    interrupted_at(|| !cases(&dir).is_empty(), night("1h"));
    ended(night("20s"), 1);
    assert_eq!(corpus(), before);
}

#[test]
#[ignore = "builds the fuzz targets twice, which takes minutes, and needs cargo-fuzz"]
fn libfuzzer_finds_the_rare_bug_too() {
    let folder = scratch();
    let dir = folder.path().join("night");
    let night = |time| overnight_with("libfuzzer", &dir, &["--for", time, "--slice", "20s"]);
    interrupted_at(|| shows_the_planted_bug(&dir), night("1h"));
    cases_of_the_planted_bug(&dir, &ended(night("20s"), 1));
}

#[test]
fn twenty_kills_at_any_moment_lose_nothing() {
    twenty_kills("builtin", "400ms", 50..850);
}

#[test]
#[ignore = "builds the fuzz targets twice, which takes minutes, and needs cargo-fuzz"]
fn twenty_kills_lose_nothing_of_libfuzzer_either() {
    twenty_kills("libfuzzer", "8s", 2_000..14_000);
}

/// Kills runs after a number of milliseconds, then lets one find something, if none has, and another one end.
fn twenty_kills(engine: &str, slice: &str, moments: Range<u64>) {
    let folder = scratch();
    let dir = folder.path().join("night");
    let mut known = BTreeSet::new();
    let mut draw = 1_u64;
    for kill in 0..20 {
        let mut run = overnight_with(engine, &dir, &["--for", "1h", "--slice", slice]);
        // Nobody reads what it says.
        let mut run = run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the command starts");
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let span = moments.end - moments.start;
        std::thread::sleep(Duration::from_millis(moments.start + (draw >> 33) % span));
        run.kill().expect("it runs for an hour");
        run.wait().expect("it was killed");
        let now = kept(&dir);
        assert!(now.is_superset(&known), "kill {kill} lost {:?}", known.difference(&now));
        known = now;
        if let Ok(bytes) = fs::read(dir.join("state.json")) {
            serde_json::from_slice::<serde_json::Value>(&bytes).expect("the state is whole at any moment");
        }
    }
    if cases(&dir).is_empty() {
        let night = overnight_with(engine, &dir, &["--for", "1h", "--slice", slice]);
        interrupted_at(|| !cases(&dir).is_empty(), night);
    }
    ended(overnight_with(engine, &dir, &["--for", slice, "--slice", slice]), 1);
    let now = kept(&dir);
    assert!(now.is_superset(&known), "the last run lost {:?}", known.difference(&now));
    assert!(names(&dir.join("artifacts/gemv")).is_empty(), "every input was looked at");
    for case in cases(&dir) {
        let mut replay = Command::new(env!("CARGO_BIN_EXE_qk256"));
        ended(
            {
                replay.arg("replay").arg(&case);
                replay
            },
            0,
        );
    }
}

#[test]
fn a_directory_has_one_run_at_a_time() {
    let folder = scratch();
    let dir = folder.path().join("night");
    let mut first = overnight(&dir, &["--for", "1h", "--slice", "1s"]).spawn().expect("the command starts");
    until("the first has its directory", || dir.join("findings").exists());
    let printed = ended(overnight(&dir, &["--for", "1s"]), 2);
    first.kill().expect("it runs for an hour");
    first.wait().expect("it was killed");
    assert!(printed.contains("another run works in"), "{printed}");
    let mut wrong = Command::new(env!("CARGO_BIN_EXE_qk256"));
    wrong.args(["overnight", "--targets", "gemx", "--for", "1s", "--dir"]).arg(&dir);
    assert!(ended(wrong, 2).contains("there is no target `gemx`"));
}

/// How long to wait for what takes seconds on a quiet machine: no machine that gets anywhere is a hundred times as slow.
const PATIENCE: Duration = Duration::from_secs(600);

/// Waits until something is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "not in {} s: {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a test needs that has a disk of its own, gone with the process.
const NAMESPACE: [&str; 4] = ["unshare", "--user", "--map-root-user", "--mount"];

/// What shows a test that nobody else sees what it mounts.
const ALONE: &str = "QK256_TEST_ALONE";

#[test]
fn a_full_disk_is_reported_and_waited_for() {
    let in_a_namespace = |words: &[&str]| {
        let mut command = Command::new(NAMESPACE[0]);
        command.args(&NAMESPACE[1..]).args(words);
        command
    };
    let mount = in_a_namespace(&["mount", "-t", "tmpfs", "none", "/mnt"]).output();
    if !mount.is_ok_and(|output| output.status.success()) {
        return skip(&["a mount namespace"]);
    }
    let itself = std::env::current_exe().expect("a test knows its program");
    let itself = itself.to_str().expect("its name is text");
    let mut inside = in_a_namespace(&[itself, "--exact", "--ignored", "on_a_disk_that_fills_up"]);
    inside.env(ALONE, "1");
    let printed = ended(inside, 0);
    assert!(printed.contains("1 passed"), "{printed}");
}

#[test]
#[ignore = "mounts a disk: a_full_disk_is_reported_and_waited_for runs it where nobody else sees that"]
fn on_a_disk_that_fills_up() {
    if std::env::var_os(ALONE).is_none() {
        return skip(&["a mount namespace"]);
    }
    let (folder, outside) = (scratch(), scratch());
    let disk = folder.path();
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=24m", "none"]).arg(disk);
    ended(mount, 0);
    let (dir, ballast, words) = (disk.join("night"), disk.join("ballast"), outside.path().join("printed"));
    let has_said = |text: &str| fs::read_to_string(&words).expect("it was opened").matches(text).count() > 0;
    let fill = || {
        let mut file = File::create(&ballast).expect("there is room");
        while file.write_all(&[0; 4096]).is_ok() {}
        while file.write_all(&[0]).is_ok() {}
    };

    let mut run = overnight(&dir, &["--for", "1h", "--slice", "500ms"]);
    let mut run = run.stderr(File::create(&words).expect("there is room")).spawn().expect("it starts");
    until("a finding", || has_said("finding: ") && dir.join("state.json").exists());
    fill();
    until("the disk is full", || has_said("is full, and nothing that was found is lost: make room there"));
    let known = kept(&dir);
    std::thread::sleep(Duration::from_secs(1));
    assert!(run.try_wait().expect("it can be waited for").is_none(), "it waits for room");
    for case in cases(&dir) {
        let text = fs::read_to_string(&case).expect("a case can be read");
        assert!(text.ends_with('\n'), "half of {} was written: {text}", case.display());
    }
    let executions = || {
        let state = fs::read(dir.join("state.json")).expect("there is a state");
        let state: serde_json::Value = serde_json::from_slice(&state).expect("it is whole at any moment");
        state["targets"]["gemv"]["executions"].as_u64().unwrap_or(0)
    };
    let before = executions();
    fs::remove_file(&ballast).expect("it is there");
    until("it goes on", || has_said("there is room again") && executions() > before);
    run.kill().expect("it runs for an hour");
    run.wait().expect("it was killed");
    let now = kept(&dir);
    assert!(now.is_superset(&known), "the full disk cost {:?}", known.difference(&now));

    fill();
    let printed = ended(overnight(&dir, &["--for", "1s"]), 2);
    let shown = dir.display().to_string();
    assert!(printed.contains(&format!("the disk of {shown} is full")), "{printed}");
    assert!(printed.contains("make room there, and start this again"), "{printed}");
    fs::remove_file(&ballast).expect("it is there");
    ended(overnight(&dir, &["--for", "2s", "--slice", "1s"]), 1);
}
