//! Commands under way, and where their reports go.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

pub(crate) const VERIFY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../verify");

/// Signals that people, shells and job systems end a run with.
pub(crate) const SIGNALS: [(i32, &str); 3] =
    [(libc::SIGINT, "SIGINT"), (libc::SIGTERM, "SIGTERM"), (libc::SIGHUP, "SIGHUP")];

/// A check of one quick kernel that finds nothing.
pub(crate) const QUICK: [&str; 8] =
    ["check", "--op", "unpack", "--kernel", "scalar", "--cases", "40", "--no-speed"];

/// Folders of a test: for reports, for temporary files, and for what the test itself needs.
pub(crate) struct Place {
    pub(crate) reports: TempDir,
    pub(crate) temporary: TempDir,
    pub(crate) own: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let [reports, temporary, own] =
            std::array::from_fn(|_| tempfile::tempdir().expect("a folder can be made"));
        Self { reports, temporary, own }
    }

    pub(crate) fn report(&self, name: &str) -> PathBuf {
        self.reports.path().join(name)
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qk256"));
        command.args(words).env("TMPDIR", self.temporary.path()).stdin(Stdio::null());
        command
    }

    /// A check that goes on for ten minutes, with both reports, and what it writes in files.
    pub(crate) fn long_check(&self, words: &[&str]) -> Run<'_> {
        let mut command = self.command(&["check", "--for", "10m"]);
        command.arg("--json").arg(self.report("r.json")).arg("--junit").arg(self.report("r.xml")).args(words);
        self.start(command)
    }

    pub(crate) fn start(&self, mut command: Command) -> Run<'_> {
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

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.own.path().join(name)).expect("the output was kept")
    }

    /// A library whose gemv is wrong.
    pub(crate) fn wrong_library(&self) -> String {
        let source = format!("{VERIFY}/plugins/rust/src/lib.rs");
        self.library(&source, &["--cfg", "feature=\"bug\""])
    }

    pub(crate) fn library(&self, source: &str, options: &[&str]) -> String {
        let library = self.own.path().join("kernel.so");
        let mut command = Command::new("rustc");
        command.args(["-O", "--edition", "2024", "--crate-type", "cdylib"]).args(options).arg(source);
        let status = command.arg("-o").arg(&library).status().expect("rustc is where cargo is");
        assert!(status.success(), "{command:?}");
        text(&library).to_owned()
    }

    /// Nothing temporary is left, neither of a worker nor beside a report.
    pub(crate) fn is_clean(&self, reports: &[&str]) {
        assert_eq!(names(self.temporary.path()), Vec::<String>::new(), "temporary files are left");
        assert_eq!(names(self.reports.path()), reports, "in the folder of the reports");
    }

    pub(crate) fn json(&self) -> Value {
        json(&self.report("r.json"))
    }
}

pub(crate) fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("the report was written")).expect("it is JSON")
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// A command under way.
pub(crate) struct Run<'p> {
    pub(crate) child: Child,
    pub(crate) place: &'p Place,
}

impl Run<'_> {
    pub(crate) fn id(&self) -> i32 {
        self.child.id() as i32
    }

    pub(crate) fn signal(&self, signal: i32) {
        // SAFETY: kill has no preconditions; the process is ours and was not waited for.
        assert_eq!(unsafe { libc::kill(self.id(), signal) }, 0, "the process is there");
    }

    /// Waits until the command handles SIGTERM, as it does before it begins to work.
    pub(crate) fn until_it_listens(&self) {
        let status = format!("/proc/{}/status", self.id());
        until("signals are handled", || {
            let status = fs::read_to_string(&status).unwrap_or_default();
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
            let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
            caught >> (libc::SIGTERM - 1) & 1 == 1
        });
    }

    pub(crate) fn until_it_prints(&self, words: &str) {
        until(words, || self.place.read("err").contains(words));
    }

    /// How it ended, within a minute.
    pub(crate) fn end(mut self) -> ExitStatus {
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

    pub(crate) fn must_end(self, code: i32) {
        let place = self.place;
        let status = self.end();
        assert_eq!(status.code(), Some(code), "{status}: {}\n{}", place.read("out"), place.read("err"));
    }
}

/// Waits until something is so, for two minutes at most.
pub(crate) fn until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(120), "not in two minutes: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What a command writes that ends by itself with `code`.
pub(crate) fn ended(mut command: Command, code: i32) -> (String, String) {
    let output = command.output().expect("the command starts");
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert_eq!(output.status.code(), Some(code), "{command:?}: {}\n{out}\n{err}", output.status);
    (out, err)
}

/// The reports of a check of a wrong library that `signal` ended.
pub(crate) fn has_its_finding(place: &Place, signal: Option<&str>) {
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
