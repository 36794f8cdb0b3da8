//! How this program was started, for commands that can be pasted anywhere.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use qk256_verify::finding::shell_word;

/// The name of the program.
const NAME: &str = "qk256";

/// What a command of this program begins with, as a shell reads it: `cargo run --release --` if cargo started it, `qk256` if that is
/// what a shell finds, otherwise its path.
pub(crate) fn shown() -> String {
    let itself = std::env::current_exe().ok();
    let first = std::env::args_os().next().unwrap_or_default();
    let by_cargo = std::env::var_os("CARGO").is_some() && is_of_cargo(Path::new(&first));
    let path = std::env::var_os("PATH").unwrap_or_default();
    command(itself.as_deref(), by_cargo, &path)
}

/// Whether `cargo run` starts a program by such a path: from the folder of the workspace on. A test starts it by its whole path.
fn is_of_cargo(first: &Path) -> bool {
    first.is_relative() && first.components().count() > 1
}

fn command(itself: Option<&Path>, by_cargo: bool, path: &OsStr) -> String {
    let Some(itself) = itself else { return NAME.to_owned() };
    if by_cargo {
        let profile = if cfg!(debug_assertions) { "" } else { " --release" };
        return format!("cargo run{profile} --");
    }
    let is_found = found(path).is_some_and(|found| is_same(&found, itself));
    if is_found { NAME.to_owned() } else { shell_word(&itself.to_string_lossy()) }
}

/// The file that a shell runs by the name of this program.
fn found(path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(path).map(|folder| folder.join(NAME)).find(|file| is_executable(file))
}

#[cfg(unix)]
fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(file: &Path) -> bool {
    file.is_file()
}

fn is_same(a: &Path, b: &Path) -> bool {
    let whole = |path: &Path| path.canonicalize().ok();
    whole(a).is_some_and(|a| Some(a) == whole(b))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_shown_by_its_name_only_where_the_shell_finds_it() {
        let itself = std::env::current_exe().expect("the test has a path");
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let (own, other) = (folder.path().join("own"), folder.path().join("other"));
        for folder in [&own, &other] {
            std::fs::create_dir(folder).expect("a scratch folder can be made");
        }
        std::os::unix::fs::symlink(&itself, own.join(NAME)).expect("a link can be made");
        std::fs::copy("/bin/sh", other.join(NAME)).expect("a scratch file can be written");
        let path = |folders: &[&Path]| std::env::join_paths(folders).expect("scratch paths have no colon");
        let whole = itself.to_string_lossy().into_owned();
        assert_eq!(command(Some(&itself), false, &path(&[&own, &other])), NAME);
        assert_eq!(command(Some(&itself), false, &path(&[&other, &own])), whole, "another comes first");
        assert_eq!(command(Some(&itself), false, &path(&[])), whole);
        assert_eq!(command(Some(Path::new("/a b/qk256")), false, &path(&[])), "'/a b/qk256'");
        let by_cargo = command(Some(&itself), true, &path(&[&own]));
        assert!(["cargo run --release --", "cargo run --"].contains(&by_cargo.as_str()), "{by_cargo}");
        for (first, expected) in [("target/release/qk256", true), ("qk256", false), ("/opt/qk256", false)] {
            assert_eq!(is_of_cargo(Path::new(first)), expected, "{first}");
        }
    }
}
