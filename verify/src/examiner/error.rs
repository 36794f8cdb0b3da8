//! Why kernels could not be examined.

use std::error::Error;

use crate::case::MaterializeError;
use crate::order::RevealError;

/// Why kernels could not be examined.
#[derive(Debug, thiserror::Error)]
pub enum ExamineError {
    /// The process was asked to end.
    #[error("ended on request")]
    Interrupted,
    /// A kernel ended the process that examined it, which has reported what was called.
    #[error("a kernel ended the process that examined it; what was called is reported above")]
    Crashed,
    /// Another reason.
    #[error(transparent)]
    Failed(Box<dyn Error + Send + Sync>),
}

impl From<MaterializeError> for ExamineError {
    fn from(error: MaterializeError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<RevealError> for ExamineError {
    fn from(error: RevealError) -> Self {
        Self::Failed(error.into())
    }
}
