//! Whatever can go wrong on the way from a source file to a trained network.

use thiserror::Error;

use crate::data::error::DataError;
use crate::diagnostic::Diagnostic;
use crate::session::SessionError;
use crate::source::Span;

/// An error of the front end. None of them leaves anything half-written.
#[derive(Debug, Error)]
pub enum Error {
    /// The program is wrong; the spans refer to the package's sources.
    #[error("{}", summary(.0))]
    Program(Vec<Diagnostic>),
    /// A data file is wrong.
    #[error("{error}")]
    Data {
        /// What is wrong, where in the file, and the remedy.
        error: DataError,
        /// The clause that names the data, if one does.
        span: Option<Span>,
    },
    /// A program cannot be compiled or given what it needs.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// What was asked for does not fit the program: names that are missing and the like.
    #[error("{message}")]
    Request {
        /// What is wrong.
        message: String,
        /// What to do.
        remedy: String,
    },
}

impl Error {
    /// A data error that no clause of a program is to blame for.
    pub fn data(error: DataError) -> Error {
        Error::Data { error, span: None }
    }

    /// A request that does not fit.
    pub fn request(message: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::Request { message: message.into(), remedy: remedy.into() }
    }

    /// The error as diagnostics, to be shown with the package's sources.
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        match self {
            Error::Program(diagnostics) => diagnostics.clone(),
            Error::Data { error, span } => {
                let mut diagnostic = Diagnostic::error("data", error.to_string());
                if let Some(span) = span {
                    diagnostic = diagnostic.primary(*span, "these data are asked for here");
                }
                vec![diagnostic.help(error.remedy())]
            }
            Error::Session(error) => vec![Diagnostic::error("run", error.to_string())],
            Error::Request { message, remedy } => {
                vec![Diagnostic::error("request", message.clone()).help(remedy.clone())]
            }
        }
    }
}

impl From<Vec<Diagnostic>> for Error {
    fn from(diagnostics: Vec<Diagnostic>) -> Error {
        Error::Program(diagnostics)
    }
}

fn summary(diagnostics: &[Diagnostic]) -> String {
    let messages: Vec<&str> = diagnostics.iter().map(|d| d.message.as_str()).collect();
    messages.join("; ")
}
