//! The configuration: `gateway.toml` and `conf.d/*.toml`, read and checked.
//!
//! Always true: every mistake is reported at once with file, line and column; a [`Config`] exists
//! only when there is none. What belongs to a driver is not understood here.
//!
//! In reading order:
//! - [`types`]: what comes out;
//! - [`defaults`]: what holds when a key is left out (`sample.toml` is the documentation);
//! - `raw`: the files as they are, one tree with spans;
//! - `check`: from the tree to the types, section by section;
//! - [`problem`] and [`place`]: a mistake, and where it stands.

use std::path::Path;

pub use place::{Place, Sources};
pub use problem::{DriverProblem, Problem};
pub use types::Config;

mod check;
pub mod defaults;
mod place;
mod problem;
mod raw;
pub mod types;

#[cfg(test)]
mod tests;

/// What became of the files.
#[derive(Debug)]
pub struct Loaded {
    /// There only when no problem is worse than a warning.
    pub config: Option<Config>,
    /// In the order of their places.
    pub problems: Vec<Problem>,
    /// To show where a problem is, a driver's too.
    pub sources: Sources,
}

/// Reads and checks the configuration in `dir`.
pub fn load(dir: &Path) -> Loaded {
    let mut report = problem::Report::default();
    let files = raw::file::read_all(dir, &mut report);
    let tree = raw::tree::parse_all(&files, &mut report);
    let sources = Sources::new(dir, files, tree);
    let config = check::config(sources.tree(), dir, &mut report);
    let problems = report.into_problems(&sources);
    Loaded { config, problems, sources }
}

/// `did you mean "scale"?`, when one of the words is near enough to be meant.
pub fn did_you_mean<'w>(word: &str, known: impl IntoIterator<Item = &'w str>) -> Option<String> {
    raw::fields::did_you_mean(word, known)
}
