//! Which files make up the configuration: `gateway.toml` first, then `conf.d/*.toml` by name.
//!
//! Always true: a file that cannot be read is in the list all the same, empty, with a problem.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use crate::config::place::{SourceFile, Span};
use crate::config::problem::Report;

/// The file that must exist.
const MAIN_FILE: &str = "gateway.toml";
/// The folder for the rest.
const FOLDER: &str = "conf.d";
/// Larger files are refused: 100 000 points need a tenth of it.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;
/// More files are refused.
const MAX_FILES: usize = 10_000;

/// Reads them all.
pub(crate) fn read_all(dir: &Path, report: &mut Report) -> Vec<SourceFile> {
    let mut names = vec![MAIN_FILE.to_owned()];
    let folder = list(&dir.join(FOLDER));
    match &folder {
        Ok(found) => names.extend(found.iter().map(|name| format!("{FOLDER}/{name}"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            report.damaged(0);
            report.error(file_start(0), format!("cannot list {}: {error}", dir.join(FOLDER).display()));
        }
    }
    if names.len() > MAX_FILES {
        report.damaged(0);
        report.error(file_start(0), format!("{} files in {FOLDER}, at most {MAX_FILES}", names.len() - 1));
        names.truncate(MAX_FILES);
    }
    names.into_iter().enumerate().map(|(number, name)| read_one(dir, number, name, report)).collect()
}

fn list(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        // Editors leave hidden files behind; a name that is not UTF-8 is shown with its marks and
        // then reported as a file that cannot be read.
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".toml") && !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn read_one(dir: &Path, number: usize, name: String, report: &mut Report) -> SourceFile {
    let path = dir.join(&name);
    let text = match read_bounded(&path) {
        Ok(bytes) => String::from_utf8(bytes).unwrap_or_else(|error| {
            let at = error.utf8_error().valid_up_to();
            report.damaged(number);
            report
                .error(Span { file: number, start: at, end: at + 1 }, "not UTF-8 text")
                .hint("save the file as UTF-8");
            String::from_utf8_lossy(error.as_bytes()).into_owned()
        }),
        Err(error) => {
            report.damaged(number);
            let found = report.error(file_start(number), format!("cannot read {}: {error}", path.display()));
            if error.kind() == io::ErrorKind::NotFound {
                found.hint("--config names the directory that holds gateway.toml");
            }
            String::new()
        }
    };
    SourceFile { name, text }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MAX_FILE_BYTES {
        true => Err(io::Error::other(format!("larger than {MAX_FILE_BYTES} bytes"))),
        false => Ok(bytes),
    }
}

fn file_start(file: usize) -> Span {
    Span { file, start: 0, end: 0 }
}
