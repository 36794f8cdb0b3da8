//! A night of fuzzing, in seconds: what is wrong is found, and nothing that was found is lost.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// The wrong kernel that is planted: the last of 63 columns of 64 is lost in the last of two rows of three.
const PLANTED: &str = "last-dropped-when-63-of-64-in-a-third-row";

/// A run of the builtin engine on a directory.
fn overnight(dir: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qk256"));
    command.args([
        "overnight",
        "--engine",
        "builtin",
        "--targets",
        "gemv",
        "--jobs",
        "2",
        "--plant",
        PLANTED,
        "--dir",
    ]);
    command.arg(dir).args(words).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn ended(mut command: Command, code: i32) -> String {
    let output: Output = command.output().expect("the command starts");
    let said =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert_eq!(output.status.code(), Some(code), "{command:?}\n{said}");
    said
}

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder can be made")
}

/// The names of the files below a folder, whole ones.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let name = |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
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

#[test]
fn a_rare_bug_is_found_made_small_and_becomes_a_regression() {
    let folder = scratch();
    let dir = folder.path().join("night");
    let said = ended(overnight(&dir, &["--for", "8s", "--slice", "2s"]), 1);
    let report = std::fs::read_to_string(dir.join("report.md")).expect("there is a report");
    assert!(report.contains(PLANTED) && report.contains("| gemv |"), "{report}\n{said}");
    let cases = cases(&dir);
    let small = cases.iter().filter(|path| {
        let text = std::fs::read_to_string(path).expect("a case can be read");
        text.contains("\ngemv rows=2 cols=63 regime=")
    });
    assert!(small.count() > 0, "{cases:?}\n{said}");
    let regressions = folder.path().join("regressions");
    std::fs::create_dir(&regressions).expect("a scratch folder can be made");
    let mut adopt = Command::new(env!("CARGO_BIN_EXE_qk256"));
    adopt.arg("adopt").arg(&cases[0]).args(["Lost the last column.", "--to"]).arg(&regressions);
    ended(adopt, 0);
    let name = cases[0].file_name().expect("a file has a name");
    let adopted = std::fs::read_to_string(regressions.join(name)).expect("it was moved");
    assert!(adopted.starts_with("# Lost the last column.\ngemv rows=") && !cases[0].exists(), "{adopted}");
}

#[test]
fn twenty_kills_at_any_moment_lose_nothing() {
    let folder = scratch();
    let dir = folder.path().join("night");
    let mut known = BTreeSet::new();
    let mut draw = 1_u64;
    for kill in 0..20 {
        let mut run =
            overnight(&dir, &["--for", "60s", "--slice", "400ms"]).spawn().expect("the command starts");
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_millis(50 + (draw >> 33) % 800));
        run.kill().expect("it runs for a minute");
        run.wait().expect("it was killed");
        let now = kept(&dir);
        assert!(now.is_superset(&known), "kill {kill} lost {:?}", known.difference(&now));
        known = now;
        if let Ok(bytes) = std::fs::read(dir.join("state.json")) {
            serde_json::from_slice::<serde_json::Value>(&bytes).expect("the state is whole at any moment");
        }
    }
    ended(overnight(&dir, &["--for", "3s", "--slice", "1s"]), 1);
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
    let mut first = overnight(&dir, &["--for", "60s", "--slice", "1s"]).spawn().expect("the command starts");
    while !dir.join("findings").exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let said = ended(overnight(&dir, &["--for", "1s"]), 2);
    first.kill().expect("it runs for a minute");
    first.wait().expect("it was killed");
    assert!(said.contains("another run works in"), "{said}");
    let mut wrong = Command::new(env!("CARGO_BIN_EXE_qk256"));
    wrong.args(["overnight", "--targets", "gemm", "--for", "1s", "--dir"]).arg(&dir);
    assert!(ended(wrong, 2).contains("there is no target `gemm`"));
}
