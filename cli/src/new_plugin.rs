//! `qk256 new-plugin`: a plugin to start from: a slow and right kernel in a new folder.

mod template;

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use qk256_verify::Operation;
use qk256_verify::finding::shell_word;

use crate::Verdict;
use crate::format_option::Chosen;
use crate::output::stdout;
use crate::usage::{RUN, help_end};
use template::Kernel;

/// The ABI, the same for every language.
const HEADER: &str = include_str!("../../verify/include/qk256_kernel.h");

const CARGO: &str = include_str!("new_plugin/Cargo.toml.txt");
const MAKEFILE: &str = include_str!("new_plugin/Makefile.txt");
const README: &str = include_str!("new_plugin/README.md.txt");

/// Write a plugin to start from: a slow, right kernel with its build file and a README.
///
/// The plugin is a shared library with the table of verify/include/qk256_kernel.h. `qk256 check --lib` checks it.
#[derive(clap::Args)]
#[command(after_help = help_end!(
    "qk256 new-plugin mine && make -C mine && qk256 check --lib mine/libkernel.so",
    "qk256 new-plugin --lang rust mine",
    "qk256 new-plugin --format q4_0 --operation dot mine";
    "0" => "the files are written"
))]
pub(crate) struct Args {
    /// Language of the kernel
    #[arg(long, value_enum, value_name = "LANGUAGE", default_value = "c", help_heading = RUN)]
    lang: Language,

    /// Format of its weights, such as q4_0 (`qk256 formats` lists them), or a TOML file that describes one
    #[arg(
        long,
        value_name = "NAME|FILE.toml",
        value_parser = Chosen::parse,
        default_value = "qk256",
        help_heading = RUN
    )]
    format: Chosen,

    /// Operation of the kernel: unpack, dequantize, gemv, gemm or dot
    #[arg(long, visible_alias = "op", value_name = "OPERATION", default_value = "gemv", help_heading = RUN)]
    operation: Operation,

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
    let kernel = Kernel::new(args.lang, args.format.format, args.operation)?;
    claim(&args.folder)?;
    let program = std::env::current_exe().context("cannot find this program")?;
    let program = shell_word(&program.to_string_lossy());
    let check = format!("{program} check --lib {}{}", args.lang.library(), args.format.option());
    for (name, text) in files(args.lang, &kernel, (&program, &check)) {
        let path = args.folder.join(name);
        let cannot = || format!("cannot write {}", path.display());
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(cannot)?;
        }
        std::fs::write(&path, text).with_context(cannot)?;
    }
    let (folder, source) = (args.folder.display(), args.lang.source());
    writeln!(stdout(), "{folder}/{source} is a slow and right kernel to start from. Build it and check it:")?;
    let folder = shell_word(&args.folder.to_string_lossy());
    writeln!(stdout(), "  cd {folder} && {} && {check}", args.lang.build())?;
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

/// What goes into the folder, by name. `program` is how a shell calls this program, and `check` how the plugin is checked.
fn files(language: Language, kernel: &Kernel, (program, check): (&str, &str)) -> [(&'static str, String); 4] {
    let filled = |template: &str| {
        let words = [("SOURCE", language.source()), ("LIBRARY", language.library()), ("CHECK", check)];
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
        (language.source(), kernel.text()),
        ("qk256_kernel.h", HEADER.to_owned()),
        build,
        ("README.md", filled(README)),
    ]
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
    use qk256_verify::format::QK256;

    use super::*;

    #[test]
    fn no_word_of_a_template_is_left_over() {
        for &language in Language::value_variants() {
            let kernel = Kernel::new(language, &QK256, Operation::Gemv).expect("there is a template");
            for (name, text) in files(language, &kernel, ("/a/qk256", "/a/qk256 check")) {
                // `$@` is a word of make.
                assert!(!text.is_empty() && !text.replace("$@", "").contains('@'), "{name}: {text}");
            }
        }
    }
}
