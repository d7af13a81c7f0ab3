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
//! - [`problem`] and [`place`]: a mistake, and where it stands;
//! - [`alike`]: what devices with the same points have in common;
//! - [`change`]: what a new configuration does to the one that runs.

use std::path::{Path, PathBuf};

pub use place::Sources;
pub use problem::{DriverProblem, Problem};
pub use types::Config;

pub mod alike;
pub mod change;
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
    /// For the drivers to check their part although the gateway's has mistakes: what is wrong is left
    /// out or empty. Never to be run. Nothing when a file could not be read to its end.
    pub draft: Option<Config>,
    /// In the order of their places.
    pub problems: Vec<Problem>,
    /// To show where a problem is, a driver's too.
    pub sources: Sources,
}

impl Loaded {
    /// Adds what drivers found in their parts, each at its place.
    pub fn add(&mut self, found: Vec<DriverProblem>) {
        for problem in self.sources.problems(found) {
            // Two drivers, or two devices of a model, may say the same.
            if !self.problems.contains(&problem) {
                self.problems.push(problem);
            }
        }
        self.sources.sort(&mut self.problems);
    }

    /// What must not run: everything but warnings.
    pub fn mistakes(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(|problem| !problem.warning)
    }
}

/// Reads and checks the configuration in `dir`.
pub fn load(dir: &Path) -> Loaded {
    let mut report = problem::Report::default();
    let sources = Sources::new(dir, raw::file::read_all(dir, &mut report));
    let draft = check::config(&sources.tree(&mut report), dir, &mut report);
    let config = report.is_clean().then(|| draft.clone());
    let draft = (!report.is_incomplete()).then_some(draft);
    let problems = report.into_problems(&sources);
    Loaded { config, draft, problems, sources }
}

/// Where the control socket is according to the configuration in `dir`, mistakes elsewhere or not;
/// the default when that cannot be read.
pub fn control_socket(dir: &Path) -> PathBuf {
    let mut report = problem::Report::default();
    let files = raw::file::read_all(dir, &mut report);
    let tree = raw::tree::parse_all(&files, &mut report);
    check::control(&tree, dir, &mut report).socket
}

/// Where drivers are and who is trusted, according to the configuration in `dir`, mistakes elsewhere
/// or not; the defaults where there is none.
pub fn drivers(dir: Option<&Path>) -> Result<types::DriversConfig, Vec<Problem>> {
    let mut report = problem::Report::default();
    let files = dir.map(|dir| raw::file::read_all(dir, &mut report)).unwrap_or_default();
    let dir = dir.unwrap_or(Path::new(""));
    let sources = Sources::new(dir, files);
    let drivers = check::drivers(&sources.tree(&mut report), dir, &mut report);
    match report.is_clean() {
        true => Ok(drivers),
        false => Err(report.into_problems(&sources)),
    }
}

/// `300ms`, `5s`, `10m`, `1h`; nothing when it is none.
pub fn duration(text: &str) -> Option<std::time::Duration> {
    raw::units::duration(text)
}

/// `did you mean "scale"?`, when one of the words is near enough to be meant.
pub fn did_you_mean<'w>(word: &str, known: impl IntoIterator<Item = &'w str>) -> Option<String> {
    raw::fields::did_you_mean(word, known)
}
