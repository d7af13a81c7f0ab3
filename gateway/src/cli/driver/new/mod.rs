//! `sagoo-edge driver new`: a small project that works, with a test of its own.
//!
//! Always true: the templates beside this file are complete projects; only the marks `__id__`,
//! `__Type__` and `__sdk__` are replaced. Nothing that is there is ever overwritten.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use sagoo_edge_package::name::is_id;
use serde_json::json;

use super::{NewArgs, shown};
use crate::cli::print;

#[cfg(test)]
mod tests;

/// What a driver is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Language {
    /// A program, with sagoo-driver-sdk.
    Rust,
    /// A script for python3, with grpcio.
    Python,
}

/// A file of a template, and where it goes.
type Template = (&'static str, &'static str);

const RUST: [Template; 7] = [
    ("Cargo.toml", include_str!("rust/Cargo.toml.txt")),
    ("src/main.rs", include_str!("rust/main.rs")),
    ("src/tests.rs", include_str!("rust/tests.rs")),
    ("package/info.json", include_str!("rust/info.json")),
    ("package/schema.json", include_str!("schema.json")),
    ("README.md", include_str!("rust/README.md.txt")),
    (".gitignore", "/target\n/package/driver-*\n*.zip\n"),
];

const PYTHON: [Template; 9] = [
    ("package/main.py", include_str!("python/main.py")),
    ("package/sagoo_driver.py", include_str!("python/sagoo_driver.py")),
    ("package/sagoo_session.py", include_str!("python/sagoo_session.py")),
    ("package/sagoo_plugin.py", include_str!("python/sagoo_plugin.py")),
    ("package/contract.py", include_str!("python/contract.py")),
    ("package/info.json", include_str!("python/info.json")),
    ("package/schema.json", include_str!("schema.json")),
    ("test_driver.py", include_str!("python/test_driver.py")),
    ("README.md", include_str!("python/README.md.txt")),
];

/// Writes the project and shows what is next.
pub(super) fn new(args: &NewArgs) -> ExitCode {
    match written(args) {
        Ok(dir) if args.json => print::json(&json!({ "path": dir }), true),
        Ok(dir) => print::out(&format!("{} is made; its README.md says what is next\n", shown(&dir)), true),
        Err(error) => print::failure(&error, args.json),
    }
}

pub(super) fn written(args: &NewArgs) -> Result<PathBuf, String> {
    let id = &args.name;
    if !is_id(id) {
        return Err(format!("{id:?} cannot be a driver's id: small letters, digits, _ and -"));
    }
    let dir = args.dir.clone().unwrap_or_else(|| PathBuf::from(format!("driver-{id}")));
    let sdk = args.sdk.as_deref().map(sdk).transpose()?;
    let templates: &[Template] = match args.lang {
        Language::Rust => &RUST,
        Language::Python => &PYTHON,
    };
    fs::create_dir(&dir).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            format!("{}: is there already; choose another with --dir", shown(&dir))
        }
        _ => format!("{}: {error}", shown(&dir)),
    })?;
    for (name, text) in templates {
        let path = dir.join(name);
        let text = text
            .replace("__id__", id)
            .replace("__Type__", &type_name(id))
            .replace("__sdk__", sdk.as_deref().unwrap_or_default());
        let parent = path.parent().expect("every file is in the folder");
        let done = fs::create_dir_all(parent).and_then(|()| fs::write(&path, text));
        done.map_err(|error| format!("{}: {error}", shown(&path)))?;
    }
    Ok(dir)
}

/// The SDK's folder, as Cargo needs it.
fn sdk(given: &Path) -> Result<String, String> {
    let wrong = |why: &str| format!("{}: {why}; --sdk is the folder drivers/sdk of sagoo-edge", shown(given));
    let dir = fs::canonicalize(given).map_err(|error| wrong(&error.to_string()))?;
    let manifest = fs::read_to_string(dir.join("Cargo.toml")).unwrap_or_default();
    if !manifest.contains("name = \"sagoo-driver-sdk\"") {
        return Err(wrong("is not sagoo-driver-sdk"));
    }
    let dir = dir.to_str().ok_or_else(|| wrong("its path is no text"))?;
    Ok(dir.replace('\\', "\\\\").replace('"', "\\\""))
}

/// `pump-station` → `PumpStation`
fn type_name(id: &str) -> String {
    let parts = id.split(['-', '_']).map(|part| {
        let (first, rest) = part.split_at(part.len().min(1));
        first.to_uppercase() + rest
    });
    let name: String = parts.collect();
    match name.starts_with(|c: char| c.is_ascii_digit()) {
        true => format!("Driver{name}"),
        false => name,
    }
}
