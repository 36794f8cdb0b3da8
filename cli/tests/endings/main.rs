//! Whatever ends a run: what was found is printed and in every report, the exit code says so, and nothing temporary is left.

mod outputs;
mod place;

use std::fs::{self, File};
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use place::{Place, QUICK, SIGNALS, VERIFY, ended, has_its_finding, json, names, text, until};

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
    let example =
        fs::read_to_string(format!("{VERIFY}/plugins/rust/src/lib.rs")).expect("the example is there");
    let unpack = "answer(unpack_all(packed, codes, call.cols))";
    assert!(example.contains(unpack), "the example unpacks");
    let looping = example.replace(unpack, "loop { std::hint::spin_loop() }");
    fs::write(&source, looping).expect("a scratch file can be written");
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
