//! Finds a driver's program and decides whether it may run.
//!
//! Always true: discovery is never execution; an unsigned driver runs only when it is named in
//! `drivers.allow_unsigned`, and status shows it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::did_you_mean;
use crate::config::types::DriversConfig;

/// Why a driver cannot be started.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ProgramError {
    /// Not in any directory.
    #[error("driver {id}: no program driver-{id} in {dirs}; {remedy}")]
    Missing {
        /// Driver id.
        id: String,
        /// What to do.
        remedy: String,
        /// Where it was looked for.
        dirs: String,
    },
    /// Found, but nobody vouches for it.
    #[error(
        "driver {id}: {path} is not signed by a key in {trusted_keys}; name {id:?} in drivers.allow_unsigned to run it all the same"
    )]
    Unsigned {
        /// Driver id.
        id: String,
        /// The program.
        path: String,
        /// Where keys would be.
        trusted_keys: String,
    },
}

/// Looks for `driver-<id>` in the configured directories, first hit wins.
pub fn find(config: &DriversConfig, id: &str) -> Result<PathBuf, ProgramError> {
    let name = format!("driver-{id}");
    let found = config.dirs.iter().map(|dir| dir.join(&name)).find(|path| path.is_file());
    let Some(path) = found else {
        let remedy = did_you_mean(id, installed(&config.dirs).iter().map(String::as_str))
            .unwrap_or_else(|| "install it there or add its directory to drivers.dirs".to_owned());
        return Err(ProgramError::Missing { id: id.to_owned(), remedy, dirs: listed(&config.dirs) });
    };
    if !config.allow_unsigned.iter().any(|allowed| allowed == id) {
        return Err(ProgramError::Unsigned {
            id: id.to_owned(),
            path: path.display().to_string(),
            trusted_keys: config.trusted_keys.display().to_string(),
        });
    }
    Ok(path)
}

/// Ids of the drivers that are there.
fn installed(dirs: &[PathBuf]) -> Vec<String> {
    let entries = dirs.iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter_map(|name| name.strip_prefix("driver-").map(str::to_owned)).collect()
}

fn listed(dirs: &[PathBuf]) -> String {
    let dirs: Vec<String> = dirs.iter().map(|dir: &PathBuf| Path::display(dir).to_string()).collect();
    dirs.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(dir: &Path, allowed: &[&str]) -> DriversConfig {
        DriversConfig {
            dirs: vec![dir.join("nowhere"), dir.to_owned()],
            trusted_keys: dir.join("keys"),
            allow_unsigned: allowed.iter().map(|id| (*id).to_owned()).collect(),
        }
    }

    #[test]
    fn an_unsigned_driver_runs_only_when_it_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("driver-modbus"), "").unwrap();
        let refused = find(&config(dir.path(), &[]), "modbus").unwrap_err();
        assert!(refused.to_string().contains("allow_unsigned"), "{refused}");
        assert!(find(&config(dir.path(), &["modbus"]), "modbus").is_ok());
    }

    #[test]
    fn a_missing_driver_names_the_directories() {
        let dir = tempfile::tempdir().unwrap();
        let missing = find(&config(dir.path(), &["modbus"]), "modbus").unwrap_err().to_string();
        assert!(missing.contains("driver-modbus") && missing.contains("nowhere"), "{missing}");
        std::fs::write(dir.path().join("driver-modbus"), "").unwrap();
        let typo = find(&config(dir.path(), &["modbsu"]), "modbsu").unwrap_err().to_string();
        assert!(typo.contains("did you mean \"modbus\""), "{typo}");
    }
}
