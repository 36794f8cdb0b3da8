//! Whatever ends a run: what was found is printed and in every report, the exit code says so, and nothing temporary is left.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

const VERIFY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../verify");

/// Signals that people, shells and job systems end a run with.
const SIGNALS: [(i32, &str); 3] =
    [(libc::SIGINT, "SIGINT"), (libc::SIGTERM, "SIGTERM"), (libc::SIGHUP, "SIGHUP")];

/// A check of one quick kernel that finds nothing.
const QUICK: [&str; 8] = ["check", "--op", "unpack", "--kernel", "scalar", "--cases", "40", "--no-speed"];

/// Folders of a test: for reports, for temporary files, and for what the test itself needs.
struct Place {
    reports: TempDir,
    temporary: TempDir,
    own: TempDir,
}

impl Place {
    fn new() -> Self {
        let [reports, temporary, own] =
            std::array::from_fn(|_| tempfile::tempdir().expect("a folder can be made"));
        Self { reports, temporary, own }
    }

    fn report(&self, name: &str) -> PathBuf {
        self.reports.path().join(name)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qk256"));
        command.args(words).env("TMPDIR", self.temporary.path()).stdin(Stdio::null());
        command
    }

    /// A check that goes on for ten minutes, with both reports, and what it writes in files.
    fn long_check(&self, words: &[&str]) -> Run<'_> {
        let mut command = self.command(&["check", "--for", "10m"]);
        command.arg("--json").arg(self.report("r.json")).arg("--junit").arg(self.report("r.xml")).args(words);
        self.start(command)
    }

    fn start(&self, mut command: Command) -> Run<'_> {
        let file = |name: &str| File::create(self.own.path().join(name)).expect("a scratch file can be made");
        command.stdout(file("out")).stderr(file("err"));
        let heed_signals = || {
            // Who runs tests in the background of a script ignores SIGINT, and processes inherit that.
            for (signal, _) in SIGNALS {
                // SAFETY: the default action of a signal has no preconditions.
                unsafe { libc::signal(signal, libc::SIG_DFL) };
            }
            Ok(())
        };
        // SAFETY: between fork and exec the closure makes system calls alone.
        unsafe { command.pre_exec(heed_signals) };
        Run { child: command.spawn().expect("the command starts"), place: self }
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.own.path().join(name)).expect("the output was kept")
    }

    /// A library whose gemv is wrong.
    fn wrong_library(&self) -> String {
        let source = format!("{VERIFY}/guests/rust/src/lib.rs");
        self.library(&source, &["--cfg", "feature=\"bug\""])
    }

    fn library(&self, source: &str, options: &[&str]) -> String {
        let library = self.own.path().join("kernel.so");
        let mut command = Command::new("rustc");
        command.args(["-O", "--edition", "2024", "--crate-type", "cdylib"]).args(options).arg(source);
        let status = command.arg("-o").arg(&library).status().expect("rustc is where cargo is");
        assert!(status.success(), "{command:?}");
        text(&library).to_owned()
    }

    /// Nothing temporary is left, neither of a worker nor beside a report.
    fn is_clean(&self, reports: &[&str]) {
        assert_eq!(names(self.temporary.path()), Vec::<String>::new(), "temporary files are left");
        assert_eq!(names(self.reports.path()), reports, "in the folder of the reports");
    }

    fn json(&self) -> Value {
        json(&self.report("r.json"))
    }
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("the report was written")).expect("it is JSON")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// A command under way.
struct Run<'p> {
    child: Child,
    place: &'p Place,
}

impl Run<'_> {
    fn id(&self) -> i32 {
        self.child.id() as i32
    }

    fn signal(&self, signal: i32) {
        // SAFETY: kill has no preconditions; the process is ours and was not waited for.
        assert_eq!(unsafe { libc::kill(self.id(), signal) }, 0, "the process is there");
    }

    /// Waits until the command handles SIGTERM, as it does before it begins to work.
    fn until_it_listens(&self) {
        let status = format!("/proc/{}/status", self.id());
        until("signals are handled", || {
            let status = fs::read_to_string(&status).unwrap_or_default();
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
            let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
            caught >> (libc::SIGTERM - 1) & 1 == 1
        });
    }

    fn until_it_prints(&self, words: &str) {
        until(words, || self.place.read("err").contains(words));
    }

    /// How it ended, within a minute.
    fn end(mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                return status;
            }
            if start.elapsed() > Duration::from_secs(60) {
                self.child.kill().expect("it is there");
                panic!("it does not end: {}", self.place.read("err"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn must_end(self, code: i32) {
        let place = self.place;
        let status = self.end();
        assert_eq!(status.code(), Some(code), "{status}: {}\n{}", place.read("out"), place.read("err"));
    }
}

/// Waits until something is so, for two minutes at most.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(120), "not in two minutes: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What a command writes that ends by itself with `code`.
fn ended(mut command: Command, code: i32) -> (String, String) {
    let output = command.output().expect("the command starts");
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert_eq!(output.status.code(), Some(code), "{command:?}: {}\n{out}\n{err}", output.status);
    (out, err)
}

/// The reports of a check of a wrong library that `signal` ended.
fn has_its_finding(place: &Place, signal: Option<&str>) {
    let (report, table, printed) = (place.json(), place.read("out"), place.read("err"));
    let finding = &report["findings"][0];
    assert_eq!((&report["verdict"], &finding["operation"]), (&"finding".into(), &"gemv".into()), "{report}");
    assert_eq!(report["ended_by"], signal.map_or(Value::Null, Value::from), "{report}");
    let (found, whole) = (finding["seconds"].as_f64(), report["seconds"].as_f64());
    assert!(found > Some(0.0) && found <= whole, "{found:?} of {whole:?} seconds");
    assert!(table.contains("WRONG in ") && printed.contains("\nfinding: "), "{table}\n{printed}");
    let junit = fs::read_to_string(place.report("r.xml")).expect("the JUnit report was written");
    assert!(junit.contains("<failure"), "{junit}");
    assert_eq!(junit.contains("<error"), signal.is_some(), "{junit}");
    place.is_clean(&["r.json", "r.xml"]);
}

#[test]
fn a_signal_ends_a_check_of_a_library_with_all_that_was_found() {
    for (signal, name) in SIGNALS {
        let place = Place::new();
        let run = place.long_check(&["--lib", &place.wrong_library(), "--op", "gemv"]);
        run.until_it_prints("found after ");
        run.signal(signal);
        run.must_end(1);
        has_its_finding(&place, Some(name));
        assert!(place.read("err").contains(&format!("{name} ended the run after ")), "{}", place.read("err"));
    }
}

#[test]
fn a_signal_ends_a_check_of_our_kernels_with_what_was_done_and_its_own_exit_code() {
    for (signal, name) in SIGNALS {
        let place = Place::new();
        let run = place.long_check(&["--op", "unpack"]);
        run.until_it_listens();
        run.signal(signal);
        run.must_end(128 + signal);
        let report = place.json();
        assert_eq!((&report["verdict"], &report["ended_by"]), (&"invalid".into(), &name.into()), "{report}");
        assert!(report["why_invalid"].as_str().is_some_and(|why| why.contains(name)), "{report}");
        assert!(place.read("out").contains("unpack"), "there is a table: {}", place.read("out"));
        let junit = fs::read_to_string(place.report("r.xml")).expect("the JUnit report was written");
        assert!(junit.contains("<error"), "a run that was cut short is no pass: {junit}");
        place.is_clean(&["r.json", "r.xml"]);
    }
}

#[test]
fn timeout_which_signals_the_process_and_its_group_loses_nothing() {
    let place = Place::new();
    let library = place.wrong_library();
    let mut command = Command::new("timeout");
    command.args([
        "--preserve-status",
        "20",
        env!("CARGO_BIN_EXE_qk256"),
        "check",
        "--for",
        "10m",
        "--op",
        "gemv",
    ]);
    command.args(["--lib", &library]).env("TMPDIR", place.temporary.path());
    command.arg("--json").arg(place.report("r.json")).arg("--junit").arg(place.report("r.xml"));
    place.start(command).must_end(1);
    has_its_finding(&place, Some("SIGTERM"));
}

#[test]
fn a_worker_that_is_killed_takes_no_finding_with_it() {
    let place = Place::new();
    let run = place.long_check(&["--lib", &place.wrong_library(), "--op", "gemv", "--jobs", "1"]);
    run.until_it_prints("found after ");
    let children = || {
        let tasks = fs::read_dir(format!("/proc/{}/task", run.id())).into_iter().flatten().flatten();
        let of_task =
            |task: fs::DirEntry| fs::read_to_string(task.path().join("children")).unwrap_or_default();
        tasks
            .map(of_task)
            .collect::<String>()
            .split_whitespace()
            .filter_map(|id| id.parse().ok())
            .collect::<Vec<i32>>()
    };
    until("there is a worker", || !children().is_empty());
    for worker in children() {
        // SAFETY: kill has no preconditions; the worker is a child of the command that this test has started.
        unsafe { libc::kill(worker, libc::SIGKILL) };
    }
    until("there is another worker", || !children().is_empty());
    run.signal(libc::SIGTERM);
    run.must_end(1);
    has_its_finding(&place, Some("SIGTERM"));
}

#[test]
fn a_second_signal_ends_at_once() {
    let place = Place::new();
    let pipe = place.report("pipe");
    assert!(
        Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success()),
        "there is mkfifo"
    );
    let mut command = place.command(&QUICK);
    // Opening it waits for a reader, who never comes.
    command.arg("--json").arg(&pipe);
    let mut run = place.start(command);
    run.until_it_listens();
    run.signal(libc::SIGINT);
    std::thread::sleep(Duration::from_secs(1));
    assert!(
        run.child.try_wait().expect("it can be waited for").is_none(),
        "one signal does not cut it short"
    );
    run.signal(libc::SIGTERM);
    run.must_end(128 + libc::SIGTERM);
    assert_eq!(names(place.temporary.path()), Vec::<String>::new());
}

#[test]
fn a_signal_that_was_ignored_stays_ignored() {
    let place = Place::new();
    let mut command = Command::new("nohup");
    command.arg(env!("CARGO_BIN_EXE_qk256")).args(QUICK).arg("--json").arg(place.report("pipe"));
    assert!(Command::new("mkfifo").arg(place.report("pipe")).status().is_ok_and(|status| status.success()));
    let run = place.start(command);
    run.until_it_listens();
    run.signal(libc::SIGHUP);
    run.signal(libc::SIGHUP);
    let mut report = String::new();
    File::open(place.report("pipe"))
        .and_then(|mut pipe| pipe.read_to_string(&mut report))
        .expect("it can be read");
    run.must_end(0);
    assert!(report.contains(r#""verdict": "pass""#), "{report}");
}

#[test]
fn fail_fast_ends_at_the_first_finding() {
    for option in ["--fail-fast", "--stop-on-finding"] {
        let place = Place::new();
        // A second worker may be at a case of its own that fails: what it finds until it is stopped is reported too.
        let one_worker = ["--jobs", "1", "--seed", "1"];
        let words = ["--op", "gemv", option].into_iter().chain(one_worker);
        let library = place.wrong_library();
        place.long_check(&Vec::from_iter(["--lib", &library].into_iter().chain(words))).must_end(1);
        has_its_finding(&place, None);
        assert_eq!(place.json()["findings"].as_array().map(Vec::len), Some(1));
    }
}

#[test]
fn a_closed_pipe_costs_no_report() {
    let place = Place::new();
    let library = place.wrong_library();
    let mut command =
        place.command(&["check", "--lib", &library, "--op", "gemv", "--cases", "150", "--no-speed"]);
    command.arg("--json").arg(place.report("r.json"));
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts");
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
    assert_eq!(place.json()["verdict"], "finding");
    place.is_clean(&["r.json"]);
    // Without a finding, the exit code is that of a program that dies of SIGPIPE.
    let mut child = place.command(&QUICK).stdout(Stdio::piped()).spawn().expect("the command starts");
    drop(child.stdout.take());
    assert_eq!(child.wait().expect("it ends").code(), Some(128 + libc::SIGPIPE));
}

#[test]
fn a_full_disk_costs_no_other_report_and_is_named() {
    let place = Place::new();
    let library = place.wrong_library();
    let mut command =
        place.command(&["check", "--lib", &library, "--op", "gemv", "--cases", "150", "--no-speed"]);
    command.args(["--json", "/dev/full"]).arg("--junit").arg(place.report("r.xml"));
    let (table, printed) = ended(command, 1);
    assert!(printed.contains("cannot write /dev/full: No space left on device"), "{printed}");
    assert!(table.contains("WRONG in "), "{table}");
    place.is_clean(&["r.xml"]);
    let mut list = place.command(&["list"]);
    let full = File::options().write(true).open("/dev/full").expect("it is a device of Linux");
    let output = list.stdout(full).output().expect("the command starts");
    let printed = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{printed}");
    assert!(printed.contains("cannot write to standard output: No space left on device"), "{printed}");
}

#[test]
fn a_limit_on_the_size_of_files_is_named() {
    let place = Place::new();
    let mut shell = Command::new("sh");
    let command = "ulimit -f 0; exec \"$0\" \"$@\"";
    shell
        .args(["-c", command, env!("CARGO_BIN_EXE_qk256")])
        .args(QUICK)
        .arg("--json")
        .arg(place.report("r.json"));
    let (_, printed) = ended(shell, 2);
    assert!(printed.contains("r.json: File too large"), "{printed}");
    place.is_clean(&[]);
}

#[test]
fn a_signal_ends_a_selftest_with_what_was_done() {
    let place = Place::new();
    let mut command = place.command(&["selftest", "--seed", "1", "--json"]);
    command.arg(place.report("s.json"));
    let run = place.start(command);
    run.until_it_listens();
    run.signal(libc::SIGTERM);
    run.must_end(128 + libc::SIGTERM);
    let report = json(&place.report("s.json"));
    assert_eq!((&report["verdict"], &report["ended_by"]), (&"invalid".into(), &"SIGTERM".into()), "{report}");
    place.is_clean(&["s.json"]);
}

#[test]
fn a_signal_ends_a_gate_with_what_was_measured() {
    let place = Place::new();
    let rows = place.own.path().join("rows.toml");
    let row = "[[rows]]\noperation = \"dequantize\"\nsizes = [\"256\"]\nkernel = \"scalar\"\nover = { scalar = 0.01 }\nwhy = \"a test\"\n";
    let against = "[against]\nat_least = 0.2\nkernels = [\"scalar\"]\nsizes = [\"unpack 1024\"]\n";
    fs::write(&rows, format!("{row}{against}")).expect("a scratch file can be written");
    let mut command = place.command(&["gate", "--processes", "100000", "--rows", text(&rows)]);
    command.arg("--json").arg(place.report("r.json")).arg("--junit").arg(place.report("r.xml"));
    let run = place.start(command);
    run.until_it_listens();
    run.signal(libc::SIGINT);
    run.must_end(128 + libc::SIGINT);
    let report = place.json();
    assert_eq!((&report["verdict"], &report["ended_by"]), (&"inconclusive".into(), &"SIGINT".into()));
    assert_eq!(report["rows"][0]["verdict"], "inconclusive", "{report}");
    let junit = fs::read_to_string(place.report("r.xml")).expect("the JUnit report was written");
    assert!(junit.contains("<error"), "a run that was cut short is no pass: {junit}");
    assert!(place.read("out").contains("dequantize 256"), "there is a table: {}", place.read("out"));
    assert!(place.read("err").contains("SIGINT ended the gate after "), "{}", place.read("err"));
    place.is_clean(&["r.json", "r.xml"]);
}

#[test]
fn a_signal_ends_a_night_with_its_report() {
    let place = Place::new();
    let mut command =
        place.command(&["overnight", "--engine", "builtin", "--for", "10m", "--targets", "gemv", "--dir"]);
    let dir = place.report("night");
    command.arg(&dir);
    let run = place.start(command);
    run.until_it_listens();
    until("it works", || dir.join("corpus/gemv/seen-0").exists());
    run.signal(libc::SIGTERM);
    run.must_end(128 + libc::SIGTERM);
    assert!(dir.join("report.md").exists() && dir.join("report.json").exists());
    place.is_clean(&["night"]);
}

#[test]
fn a_signal_ends_a_replay_and_a_minimize_of_a_kernel_that_does_not_return() {
    let place = Place::new();
    let source = place.own.path().join("loops.rs");
    fs::write(
        &source,
        "#[unsafe(no_mangle)] pub extern \"C\" fn qk256_abi_version() -> u32 { 1 }
         #[unsafe(no_mangle)] pub extern \"C\" fn qk256_unpack() -> i32 { loop { std::hint::spin_loop() } }",
    )
    .expect("a scratch file can be written");
    let library = place.library(text(&source), &[]);
    for command in ["replay", "minimize"] {
        let run =
            place.start(place.command(&[command, "--lib", &library, "--timeout", "10m", "unpack", "len=9"]));
        run.until_it_listens();
        run.signal(libc::SIGTERM);
        run.must_end(128 + libc::SIGTERM);
        place.is_clean(&[]);
    }
}

#[test]
fn links_are_written_through() {
    let place = Place::new();
    for (link, target) in [("to-old", "old.json"), ("to-none", "none.json")] {
        let target = place.own.path().join(target);
        if link == "to-old" {
            fs::write(&target, "old").expect("a scratch file can be written");
        }
        symlink(&target, place.report(link)).expect("a link can be made");
        let mut command = place.command(&QUICK);
        command.arg("--json").arg(place.report(link));
        ended(command, 0);
        assert_eq!(json(&target)["verdict"], "pass");
        assert!(place.report(link).is_symlink(), "{link} is still a link");
    }
    place.is_clean(&["to-none", "to-old"]);
}

#[test]
fn a_link_to_a_descriptor_is_written_to_and_not_replaced() {
    let place = Place::new();
    let link = place.report("stdout");
    symlink("/proc/self/fd/1", &link).expect("a link can be made");
    let mut command = place.command(&QUICK);
    command.arg("--json").arg(&link);
    // Standard output as a plain file: a rename would put the report in its place.
    let file = place.own.path().join("out");
    let run = place.start(command);
    run.must_end(0);
    assert!(link.is_symlink(), "the link is still there");
    assert_eq!(json(&file)["verdict"], "pass", "the report, and nothing else, is what standard output has");
    assert!(place.read("err").contains("no findings"), "the table is on standard error");
    place.is_clean(&["stdout"]);
}

#[test]
fn a_dash_is_standard_output_and_the_table_goes_to_standard_error() {
    let place = Place::new();
    let mut command = place.command(&QUICK);
    command.args(["--json", "-"]).current_dir(place.reports.path());
    let (out, err) = ended(command, 0);
    let report: Value = serde_json::from_str(&out).expect("standard output is JSON alone");
    assert_eq!(report["verdict"], "pass");
    assert!(err.contains("no findings"), "{err}");
    place.is_clean(&[]);
    let (out, err) = ended(place.command(&["reveal", "scalar", "--cols", "8", "--svg", "-"]), 0);
    assert!(
        out.starts_with("<svg") && out.trim_end().ends_with("</svg>") && err.contains("one sum"),
        "{out}{err}"
    );
}

#[test]
fn two_outputs_to_one_place_are_refused() {
    let place = Place::new();
    let folder = text(place.reports.path()).to_owned();
    symlink("d", place.report("link")).expect("a link can be made");
    let gate = ["gate", "--only", "nothing"];
    for (words, options) in [
        (&QUICK[..], ["--json", "d", "--junit", "d"]),
        (&QUICK[..], ["--json", "d", "--junit", "./d"]),
        (&QUICK[..], ["--json", "link", "--junit", "d"]),
        (&QUICK[..], ["--json", "-", "--junit", "-"]),
        (&gate[..], ["--json", "d", "--metrics", "d"]),
        (&gate[..], ["--junit", "d", "--code-quality", "link"]),
        (&gate[..], ["--json", "d", "--markdown", "./d"]),
        (&gate[..], ["--markdown", "d", "--record", "link"]),
        (&["reveal", "scalar"][..], ["--dot", "d", "--svg", "d"]),
    ] {
        let mut command = place.command(words);
        command.args(options).current_dir(&folder);
        let (_, printed) = ended(command, 2);
        let [one, _, other, _] = options;
        assert!(printed.contains(&format!("{one} and {other} both write to")), "{options:?}: {printed}");
    }
    let mut command = place.command(&QUICK);
    command.args(["--json", "/dev/null", "--junit", "/dev/null"]);
    ended(command, 0);
}

#[test]
fn a_missing_folder_is_named_with_the_remedy() {
    let place = Place::new();
    let path = place.report("no/r.json");
    let mut command = place.command(&QUICK);
    command.arg("--json").arg(&path);
    let (_, printed) = ended(command, 2);
    let folder = place.report("no");
    let must = format!("cannot write {}: there is no folder {}; make it", path.display(), folder.display());
    assert!(printed.contains(&must), "{printed}");
}
