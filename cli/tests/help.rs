//! The help: every option is explained, every subcommand shows an example, and no line is too long.

use assert_cmd::Command;

/// Columns of a terminal that help fits in.
const MAX_WIDTH: usize = 100;

fn help(words: &[&str]) -> String {
    let mut command = Command::cargo_bin("qk256").expect("the program is built");
    let output = command.args(words).env_remove("COLUMNS").output().expect("the command starts");
    assert!(output.status.success(), "{words:?}");
    String::from_utf8(output.stdout).expect("help is UTF-8")
}

/// The subcommands that the help lists.
fn subcommands() -> Vec<String> {
    let all = help(&["--help"]);
    let (_, commands) = all.split_once("Commands:\n").expect("there are subcommands");
    let (commands, _) = commands.split_once("\n\n").expect("options follow");
    let named =
        commands.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next().map(str::to_owned));
    named.filter(|name| !name.is_empty() && name != "help").collect()
}

#[test]
fn no_line_of_help_is_longer_than_a_hundred_columns() {
    let names = subcommands();
    assert!(names.len() > 9, "{names:?}");
    let pages = names.iter().flat_map(|name| [vec![name.as_str(), "--help"], vec![name.as_str(), "-h"]]);
    for page in pages.chain([vec!["--help"], vec!["-h"]]) {
        let text = help(&page);
        let long: Vec<&str> = text.lines().filter(|line| line.chars().count() > MAX_WIDTH).collect();
        assert!(long.is_empty(), "{page:?}: {long:?}");
    }
}

#[test]
fn every_subcommand_shows_examples_of_itself_and_its_exit_codes() {
    for name in subcommands() {
        let text = help(&[&name, "--help"]);
        let (_, examples) = text.split_once("Examples:\n").unwrap_or_else(|| panic!("{name} has no example"));
        let (examples, codes) =
            examples.split_once("\n\nExit codes:\n").unwrap_or_else(|| panic!("{name} has no exit codes"));
        assert!(examples.contains(&format!("qk256 {name}")), "{name}: {examples}");
        for code in ["  0 ", "  2 ", "  128+N "] {
            assert!(codes.lines().any(|line| line.starts_with(code)), "{name}: {code}: {codes}");
        }
    }
}
