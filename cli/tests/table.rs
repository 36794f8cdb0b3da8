//! How the table of `check` looks on a terminal and elsewhere.

use std::fs::File;
use std::io::Read;
use std::os::fd::{FromRawFd, OwnedFd};
use std::process::{Command, Stdio};

/// Few cases of few kernels; `fast_scalar_avx2` is the longest name of a kernel.
const CHECK: [&str; 6] = ["check", "--no-speed", "--cases=5", "--op=unpack", "--op=gemv_fixed", "--seed=1"];

/// A new pseudo-terminal with this many columns: the side of the screen, and that of the program.
fn terminal(columns: u16) -> (File, OwnedFd) {
    let (mut screen, mut program) = (-1, -1);
    let mut size = libc::winsize { ws_row: 50, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: both numbers and the size live as long as the call; no name and no settings are asked for.
    let result = unsafe {
        libc::openpty(&mut screen, &mut program, std::ptr::null_mut(), std::ptr::null(), &raw mut size)
    };
    assert_eq!(result, 0, "openpty: {}", std::io::Error::last_os_error());
    // SAFETY: the call has opened this descriptor for nobody else.
    let screen = unsafe { File::from_raw_fd(screen) };
    // SAFETY: as above.
    (screen, unsafe { OwnedFd::from_raw_fd(program) })
}

/// What `qk256 check` shows on a terminal.
fn shown(columns: u16, no_color: Option<&str>) -> String {
    let (mut screen, program) = terminal(columns);
    let mut command = Command::new(env!("CARGO_BIN_EXE_qk256"));
    command.args(CHECK).stdin(Stdio::null()).stdout(program).stderr(Stdio::null()).env_remove("NO_COLOR");
    command.envs(no_color.map(|value| ("NO_COLOR", value)));
    let mut child = command.spawn().expect("the command starts");
    // The terminal ends with an error once the program has closed its side.
    drop(command);
    let mut bytes = Vec::new();
    let _ = screen.read_to_end(&mut bytes);
    assert!(child.wait().expect("the command ends").success());
    String::from_utf8(bytes).expect("the table is UTF-8")
}

#[test]
fn verdicts_are_coloured_on_a_terminal_unless_no_color_is_set() {
    assert!(shown(120, None).contains('\x1b'));
    assert!(shown(120, Some("")).contains('\x1b'), "an empty NO_COLOR counts as not set");
    assert!(!shown(120, Some("1")).contains('\x1b'));
}

#[test]
fn a_narrow_terminal_folds_the_cells_of_the_table() {
    let text = shown(56, Some("1"));
    let table = text.split("cases, ").next().expect("there is a first part");
    for line in table.lines() {
        assert!(line.trim_end().chars().count() <= 56, "{line:?} in\n{text}");
    }
    assert!(!text.contains("fast_scalar_avx2"), "the name is folded:\n{text}");
}

#[test]
fn no_line_is_longer_than_a_hundred_columns_elsewhere() {
    let output = Command::new(env!("CARGO_BIN_EXE_qk256")).args(CHECK).output().expect("the command starts");
    let text = String::from_utf8(output.stdout).expect("the table is UTF-8");
    assert!(text.contains("fast_scalar_avx2") && !text.contains('\x1b'), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
}

#[test]
fn verbose_names_what_was_checked_of_each_kernel_and_where_it_was_least_accurate() {
    let words = "check --verbose --no-speed --cases=300 --op=gemv --op=gemv_fixed --kernel=scalar --seed=1";
    let output =
        Command::new(env!("CARGO_BIN_EXE_qk256")).args(words.split(' ')).output().expect("it starts");
    let text = String::from_utf8(output.stdout).expect("the table is UTF-8");
    for part in [
        "\nscalar gemv (features: -; scalar and 128-bit registers)\n  checked:      exact-regime, order,",
        "\n  order:        known; ",
        "\n  worst error:  ",
        " ulp) in this case:\n                gemv_fixed rows=",
        "\n600 cases, 2 kernels, seed 1: no findings\n",
    ] {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
}
