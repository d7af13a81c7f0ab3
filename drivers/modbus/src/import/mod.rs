//! `driver-modbus import`: a list of points → a model.
//!
//! Always true: what comes out passes the driver's own check; a row that cannot be used is told with
//! its file, its line and the remedy, and then the exit status is not 0 unless that was wanted.
//!
//! In reading order:
//! - `csv`, `tsl`: a file → rows in its own words; `column`: what people call the columns;
//! - `row`: a row → a point; nothing that could mean two things is guessed;
//! - `model`: points → the text of a model, checked.

mod column;
mod csv;
mod model;
mod row;
mod tsl;

#[cfg(test)]
mod tests;

use std::fs;

use self::csv::Parsed;
use self::row::Counting;
use crate::cli::{self, Failure, Flag, Words};
use crate::point::text::from_gbk;

const HELP: &str = include_str!("help.txt");
const FLAGS: &[Flag] = &[
    Flag::one("--model", "NAME"),
    Flag::one("--format", "csv|tsl"),
    Flag::one("--addresses", "zero-based|modicon"),
    Flag::switch("--skip"),
];

/// Reads the file, writes the model to stdout and tells on stderr what is not in it.
pub(crate) fn command(typed: &[String]) -> Result<(), Failure> {
    let words = Words::parse(typed, FLAGS).map_err(Failure::Words)?;
    if words.wants_help {
        cli::print(HELP);
        return Ok(());
    }
    let (text, told) = run(&words)?;
    cli::print(&text);
    match told {
        told if told.left_out == 0 || words.has("--skip") => {
            cli::warn(&told.lines);
            Ok(())
        }
        mut told => {
            told.lines.push(format!(
                "{} left out; mend them in the file, or say --skip to go without them",
                if told.left_out == 1 {
                    "1 row is".to_owned()
                } else {
                    format!("{} rows are", told.left_out)
                }
            ));
            Err(Failure::Told(told.lines))
        }
    }
}

/// What is said beside the model.
struct Told {
    lines: Vec<String>,
    left_out: usize,
}

fn run(words: &Words) -> Result<(String, Told), Failure> {
    let counting = match words.value("--addresses") {
        None => None,
        Some("zero-based") => Some(Counting::FromZero),
        Some("modicon") => Some(Counting::Modicon),
        Some(other) => {
            let line = format!("--addresses {other}: zero-based (0 is the first) or modicon (40001 is)");
            return Err(Failure::Words(vec![line]));
        }
    };
    let [path] = words.plain.as_slice() else {
        return Err(Failure::Words(vec![
            "one file is imported at a time: driver-modbus import FILE".to_owned(),
        ]));
    };
    let bytes = fs::read(path).map_err(|error| Failure::of(format!("cannot read {path}: {error}")))?;
    let text = decode(path, bytes)?;
    let is_json = text.trim_start_matches('\u{feff}').trim_start().starts_with('{');
    let parsed = match words.value("--format") {
        Some("csv") => csv::parse(path, &text),
        Some("tsl") => tsl::parse(path, &text),
        None if is_json => tsl::parse(path, &text),
        None => csv::parse(path, &text),
        Some(other) => return Err(Failure::Words(vec![format!("--format {other}: csv or tsl")])),
    };
    let Parsed { rows, notes } = parsed.map_err(Failure::of)?;
    let name = words.value("--model").map_or_else(|| name_of(path), str::to_owned);
    let written = model::write(&name, &rows, counting).map_err(Failure::Told)?;
    if written.points == 0 {
        let mut lines = written.left_out;
        lines.push(format!("{path}: no row of it can be a point, so there is no model"));
        return Err(Failure::Told(lines));
    }
    let left_out = written.left_out.len();
    Ok((written.text, Told { lines: notes.into_iter().chain(written.left_out).collect(), left_out }))
}

/// A file as text: UTF-8, or what spreadsheets in China write.
fn decode(path: &str, bytes: Vec<u8>) -> Result<String, Failure> {
    let bytes = match String::from_utf8(bytes) {
        Ok(text) => return Ok(text),
        Err(error) => error.into_bytes(),
    };
    from_gbk(&bytes).map_err(|place| {
        let line = bytes[..place].iter().filter(|byte| **byte == b'\n').count() + 1;
        Failure::of(format!("{path}:{line}: neither UTF-8 nor GBK; save it as UTF-8"))
    })
}

/// The file's own name as far as it can be a model's.
fn name_of(path: &str) -> String {
    let stem = std::path::Path::new(path).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let letter = |letter: char| if letter.is_ascii_alphanumeric() || letter == '-' { letter } else { '_' };
    let name: String = stem.unwrap_or_default().chars().map(letter).collect();
    if name.is_empty() { "imported".to_owned() } else { name }
}
