//! Why a package is refused.
//!
//! Always true: a message names the file and the cause, and a variant what can be done about it.

use std::io;
use std::path::{Path, PathBuf};

/// A package that is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The file system said no.
    #[error("{path}: {source}")]
    Io {
        /// What was to be read or written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The archive is cut off or damaged.
    #[error("{path}: damaged archive: {why}; copy or download it again")]
    Damaged {
        /// The archive.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The archive is made to harm whoever unpacks it, or by a tool that does such things.
    #[error("{path}: dangerous archive: {why}; do not use it, packages are made by `sagoo-edge driver pack`")]
    Dangerous {
        /// The archive.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// One of the files that describe it is wrong.
    #[error("{path}: {file}: {why}; its author has to pack it again")]
    Malformed {
        /// The archive or the folder.
        path: PathBuf,
        /// The file in it.
        file: String,
        /// What is wrong, with its place.
        why: String,
    },
    /// Nobody vouches for it.
    #[error("{path}: {why}; {remedy}")]
    Unsigned {
        /// The archive.
        path: PathBuf,
        /// What is missing.
        why: String,
        /// What can be done.
        remedy: String,
    },
    /// Its signature is by a trusted key, and wrong.
    #[error("{path}: {why}: it was changed after it was signed; do not use it, download it again")]
    Forged {
        /// The archive.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Its content is not what its manifest says.
    #[error("{path}: {file} {why}: it was changed after it was packed; do not use it, download it again")]
    Altered {
        /// The archive.
        path: PathBuf,
        /// The file in it.
        file: String,
        /// How it differs.
        why: String,
    },
    /// It is for another machine.
    #[error("{path}: {why}; take the package for {this}")]
    WrongMachine {
        /// The archive.
        path: PathBuf,
        /// What it is for.
        why: String,
        /// What this machine is called.
        this: String,
    },
    /// Its file name says something else than its content.
    #[error(
        "{path}: the file name does not fit its content; it is {should}, rename it if that is what you want"
    )]
    Misnamed {
        /// The archive.
        path: PathBuf,
        /// What it should be called.
        should: String,
    },
}

impl Refused {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    pub(crate) fn malformed(path: &Path, file: &str) -> impl FnOnce(String) -> Self {
        let (path, file) = (path.to_owned(), file.to_owned());
        move |why| Self::Malformed { path, file, why }
    }
}
