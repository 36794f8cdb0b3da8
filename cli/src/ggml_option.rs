//! Builds of ggml on a command line.

use std::path::{Path, PathBuf};

use clap::Args;
use qk256_verify::format;
use qk256_verify::library::{GgmlOptions, Library};

use crate::usage::KERNELS;

/// Options about the build of ggml that `--ggml` names.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct GgmlChoice {
    /// Only kernels of this type of the ggml library, such as q4_K. Can be repeated
    #[arg(long = "type", value_name = "TYPE", requires = "ggml", help_heading = KERNELS)]
    types: Vec<String>,

    /// Least quantised activation that kernels of the ggml library are sent: -127 or -128 [default: -127, the least that ggml's own
    /// quantisers write]
    #[arg(
        long,
        value_name = "NUMBER",
        requires = "ggml",
        value_parser = least,
        allow_negative_numbers = true,
        help_heading = KERNELS
    )]
    activation_min: Option<i8>,

    /// The same of weights of 8-bit types, which come from files: -127 or -128 [default: -127]
    #[arg(
        long,
        value_name = "NUMBER",
        requires = "ggml",
        value_parser = least,
        allow_negative_numbers = true,
        help_heading = KERNELS
    )]
    weights_min: Option<i8>,
}

impl GgmlChoice {
    /// What the options say of a build of ggml.
    pub(crate) fn library(&self, path: &Path) -> Library {
        let usual = GgmlOptions::USUAL;
        let options = GgmlOptions {
            types: self.types.clone(),
            activation_min: self.activation_min.unwrap_or(usual.activation_min),
            weight_min: self.weights_min.unwrap_or(usual.weight_min),
        };
        Library::ggml(path, options)
    }
}

/// What `--ggml` takes. From now on cases may name the formats of ggml.
///
/// # Errors
/// If a file has given one of the names to another format.
pub(crate) fn file(text: &str) -> Result<PathBuf, String> {
    format::know_ggml().map_err(|error| error.to_string())?;
    Ok(text.into())
}

/// The least 8-bit integer that comes.
fn least(text: &str) -> Result<i8, String> {
    match text {
        "-127" => Ok(-127),
        "-128" => Ok(-128),
        _ => Err("give -127 or -128".to_owned()),
    }
}
