//! Where reports are written: through links, to descriptors, to standard output.

use std::fs::{self};
use std::os::unix::fs::symlink;

use serde_json::Value;

use super::place::{Place, QUICK, ended, json, text};

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
