//! What ends the program early, and with which status.

use std::process::ExitCode;

/// Why the job was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// What was given cannot be used: nothing was done.
    #[error("{0}")]
    Unusable(String),
    /// The work had begun.
    #[error("{0}")]
    Failed(String),
}

impl Error {
    /// The input cannot be used, for `reason`.
    pub(crate) fn unusable(reason: impl std::fmt::Display) -> Self {
        Self::Unusable(reason.to_string())
    }

    /// The work failed, for `reason`.
    pub(crate) fn failed(reason: impl std::fmt::Display) -> Self {
        Self::Failed(reason.to_string())
    }

    /// The same, and what can be done about it, where the reason does not say so.
    pub(crate) fn with_hint(self, hint: &str) -> Self {
        match self {
            Self::Unusable(reason) => Self::Unusable(reason),
            Self::Failed(reason) => Self::Failed(format!("{reason} ({hint})")),
        }
    }

    /// The program's exit status.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Unusable(_) => ExitCode::from(2),
            Self::Failed(_) => ExitCode::FAILURE,
        }
    }
}
