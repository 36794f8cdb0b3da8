//! `qk256 new-plugin`: a plugin to start from: a slow and right kernel in a new folder.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use qk256_verify::finding::shell_word;

use crate::Verdict;
use crate::output::stdout;
use crate::usage::{RUN, help_end};

/// The ABI, the same for every language.
const HEADER: &str = include_str!("../../verify/include/qk256_kernel.h");

/// The kernels to start from: the example plugins, which the tests check.
const PLAIN: &str = include_str!("../../verify/plugins/plain.c");
const RUST: &str = include_str!("../../verify/plugins/rust/src/lib.rs");

const CARGO: &str = include_str!("new_plugin/Cargo.toml.txt");
const MAKEFILE: &str = include_str!("new_plugin/Makefile.txt");
const README: &str = include_str!("new_plugin/README.md.txt");

/// Write a plugin to start from: a slow, right kernel with its build file and a README.
///
/// The plugin is a shared library with the functions of verify/include/qk256_kernel.h. `qk256 check --lib` checks it.
#[derive(clap::Args)]
#[command(after_help = help_end!(
    "qk256 new-plugin mine && make -C mine && qk256 check --lib mine/libkernel.so",
    "qk256 new-plugin --lang rust mine";
    "0" => "the files are written"
))]
pub(crate) struct Args {
    /// Language of the kernel
    #[arg(long, value_enum, value_name = "LANGUAGE", default_value = "c", help_heading = RUN)]
    lang: Language,

    /// Folder to write to. It must be new or empty
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// A language that there is something to start from in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Language {
    C,
    Cpp,
    Rust,
}

pub(crate) fn run(args: &Args) -> Result<Verdict> {
    claim(&args.folder)?;
    let program = std::env::current_exe().context("cannot find this program")?;
    let program = shell_word(&program.to_string_lossy());
    for (name, text) in files(args.lang, &program) {
        let path = args.folder.join(name);
        let cannot = || format!("cannot write {}", path.display());
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(cannot)?;
        }
        std::fs::write(&path, text).with_context(cannot)?;
    }
    let (folder, source, library) = (args.folder.display(), args.lang.source(), args.lang.library());
    writeln!(stdout(), "{folder}/{source} is a slow and right kernel to start from. Build it and check it:")?;
    let folder = shell_word(&args.folder.to_string_lossy());
    writeln!(stdout(), "  cd {folder} && {} && {program} check --lib {library}", args.lang.build())?;
    Ok(Verdict::Pass)
}

/// Makes the folder, or makes sure that nothing is in it.
fn claim(folder: &Path) -> Result<()> {
    let cannot = || format!("cannot make the folder {}", folder.display());
    match std::fs::read_dir(folder) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => bail!("{} is not empty; give a new or an empty folder", folder.display()),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {
            std::fs::create_dir_all(folder).with_context(cannot)
        }
        Err(error) => Err(error).with_context(cannot),
    }
}

/// What goes into the folder, by name. `program` is how a shell calls this program.
fn files(language: Language, program: &str) -> [(&'static str, String); 4] {
    let filled = |template: &str| {
        let words = [("SOURCE", language.source()), ("LIBRARY", language.library())];
        let build = [("BUILD", language.build()), ("COMPILE", language.compile()), ("QK256", program)];
        words
            .into_iter()
            .chain(build)
            .fold(template.to_owned(), |text, (word, value)| text.replace(&format!("@{word}@"), value))
    };
    let build = match language {
        Language::C | Language::Cpp => ("Makefile", filled(MAKEFILE)),
        Language::Rust => ("Cargo.toml", CARGO.to_owned()),
    };
    [
        (language.source(), kernel(language)),
        ("qk256_kernel.h", HEADER.to_owned()),
        build,
        ("README.md", filled(README)),
    ]
}

/// The example plugin without the bug that it can be built with.
fn kernel(language: Language) -> String {
    let (example, name, first, last) = match language {
        Language::C | Language::Cpp => (PLAIN, "\"plain\"", "#ifdef QK256_BUG", "#endif"),
        Language::Rust => (RUST, "\"rust_example\"", "#[cfg(feature = \"bug\")]", ";"),
    };
    let mut in_bug = false;
    let mut text = String::new();
    for line in example.lines() {
        let starts = line.trim_start().starts_with(first);
        if !in_bug && !starts {
            text += line;
            text += "\n";
        }
        in_bug = starts || in_bug && !line.ends_with(last);
    }
    text.replace(name, "\"my_kernel\"")
}

impl Language {
    const fn source(self) -> &'static str {
        match self {
            Self::C => "kernel.c",
            Self::Cpp => "kernel.cpp",
            Self::Rust => "src/lib.rs",
        }
    }

    /// What building gives.
    const fn library(self) -> &'static str {
        match self {
            Self::C | Self::Cpp => "libkernel.so",
            Self::Rust => "\"${CARGO_TARGET_DIR:-target}/release/libkernel.so\"",
        }
    }

    const fn build(self) -> &'static str {
        match self {
            Self::C | Self::Cpp => "make",
            Self::Rust => "cargo build --release",
        }
    }

    /// The compiler of the Makefile, which Rust does without.
    const fn compile(self) -> &'static str {
        match self {
            Self::C => "$(CC) -std=c11 $(CFLAGS)",
            Self::Cpp => "$(CXX) -std=c++17 $(CXXFLAGS)",
            Self::Rust => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_to_start_from_has_a_name_to_change_and_no_bug() {
        for (language, start, end) in [
            (Language::C, "/* A kernel in plain C", "return QK256_DONE;\n}\n"),
            (Language::Cpp, "/* A kernel in plain C", "return QK256_DONE;\n}\n"),
            (Language::Rust, "//! A kernel in Rust", "& 3\n}\n"),
        ] {
            let kernel = kernel(language);
            assert!(kernel.starts_with(start) && kernel.ends_with(end), "{language:?}: {kernel}");
            assert!(kernel.contains("\"my_kernel\""), "{language:?}: {kernel}");
            assert!(!kernel.to_lowercase().contains("bug"), "{language:?}: {kernel}");
            let (opened, closed) = (kernel.matches('{').count(), kernel.matches('}').count());
            assert_eq!(opened, closed, "{language:?}");
        }
    }

    #[test]
    fn no_word_of_a_template_is_left_over() {
        for &language in Language::value_variants() {
            for (name, text) in files(language, "/a/qk256") {
                // `$@` is a word of make.
                assert!(!text.is_empty() && !text.replace("$@", "").contains('@'), "{name}: {text}");
            }
        }
    }
}
