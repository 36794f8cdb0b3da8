//! Two libraries, measured in turn, each with its code at several places.

use std::fs;
use std::path::{Path, PathBuf};

use super::against::{self, Sides};
use super::placement;
use super::rows::Against;
use super::{Effort, GateError, Program, Report, Watch};
use qk256_verify::library::{Library, Source};

/// Where in a page the entry of each operation lies, in turn. Compilers align functions and loops to 16 bytes, and CPUs fetch and cache
/// instructions in pieces of 32 or 64: these are all the ways in which a loop can lie in such a piece.
const OFFSETS: [u64; 4] = [1024, 1040, 1056, 1072];

/// Measures the library `new` against `old`, kernels of these formats, as `--format` takes them; of all where there are none.
///
/// Each side is as fast as the fastest of its placements, so that a library does not fail for where the linker put its code. Where
/// the code cannot be moved, both are measured as they are, and the report says so.
///
/// # Errors
/// As of [`against::run`], or if there is no room for copies.
pub fn run(
    [new, old]: [&Library; 2],
    formats: &[String],
    demands: &Against,
    effort: Effort,
    watch: &mut Watch<'_>,
) -> Result<Report, GateError> {
    let folder = tempfile::tempdir().map_err(|error| no_room(Path::new("a temporary folder"), &error))?;
    let placed = |library: &Library, side: &str| placements(library, &folder.path().join(side));
    let why = match (placed(new, "new")?, placed(old, "old")?) {
        (Ok(new_copies), Ok(old_copies)) => {
            let programs = |copies: &[PathBuf], library: &Library| {
                let name = library.to_string();
                let of_copy = |copy: &PathBuf| {
                    Ok(Program {
                        name: name.clone(),
                        ..Program::of_library(&Library::plugin(copy), formats)?
                    })
                };
                copies.iter().map(of_copy).collect::<Result<Vec<_>, GateError>>()
            };
            let [new, old] = [programs(&new_copies, new)?, programs(&old_copies, old)?];
            match against::run(&new, &old, demands, Sides::Libraries, effort, watch) {
                // It may be the fault of the copies: the libraries as they are decide.
                Err(GateError::Wrong(_) | GateError::Ended { .. } | GateError::Refused { .. }) => {
                    "a copy of it does not work".to_owned()
                }
                done => return done,
            }
        }
        (Err(why), _) | (_, Err(why)) => why,
    };
    let [new, old] = [[Program::of_library(new, formats)?], [Program::of_library(old, formats)?]];
    let mut report = against::run(&new, &old, demands, Sides::Libraries, effort, watch)?;
    report.remarks.push(format!(
        "the code was measured where the linker put it, which may make a tenth of a difference: {why}"
    ));
    Ok(report)
}

/// Copies of a library with its code at each of [`OFFSETS`], in `folder`, or why there are none.
fn placements(library: &Library, folder: &Path) -> Result<Result<Vec<PathBuf>, String>, GateError> {
    if library.source != Source::Table {
        return Ok(Err(format!(
            "{library} is called by its own tables, which a copy elsewhere does not have"
        )));
    }
    let library = &library.path;
    let bytes = fs::read(library).map_err(|error| no_room(library, &error))?;
    // A library without a name of its own is called by its file: that must stay.
    let name = library.file_name().unwrap_or_default();
    let mut copies = Vec::new();
    for offset in OFFSETS {
        let copy = match placement::copy_at(&bytes, offset) {
            Ok(copy) => copy,
            Err(why) => return Ok(Err(format!("{}: {why}", library.display()))),
        };
        let folder = folder.join(offset.to_string());
        let path = folder.join(name);
        fs::create_dir_all(&folder)
            .and_then(|()| fs::write(&path, copy))
            .map_err(|error| no_room(&path, &error))?;
        copies.push(path);
    }
    Ok(Ok(copies))
}

fn no_room(path: &Path, error: &std::io::Error) -> GateError {
    GateError::Copy { path: path.display().to_string(), why: error.to_string() }
}
