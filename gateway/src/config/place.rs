//! Where something stands in the configuration: file, line and column for people, byte spans inside.
//!
//! Always true: lines and columns count from 1, columns in characters; a place can be shown even for
//! a span that does not fit its file any more (it is clamped).

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::problem::{DriverProblem, Problem, Report};
use super::raw::tree::{Entry, Kind, Node, Table, parse_all};

/// Bytes `start..end` of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Number of the file in [`Sources`].
    pub file: usize,
    /// First byte.
    pub start: usize,
    /// First byte after it.
    pub end: usize,
}

/// A place as people write it: `conf.d/hall.toml:12:11`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Relative to the configuration directory.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Characters on that line that are meant; at least 1.
    #[serde(skip)]
    pub width: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// One file as it was read.
#[derive(Debug)]
pub struct SourceFile {
    /// Relative to the configuration directory.
    pub name: String,
    /// What is in it; empty when it could not be read.
    pub text: String,
}

/// Everything that was read, to show where a mistake is. It is kept as long as the configuration runs, so only
/// the text is: the tree of a hundred devices is larger than all that is made of it.
#[derive(Debug)]
pub struct Sources {
    dir: PathBuf,
    files: Vec<SourceFile>,
}

impl Sources {
    pub(super) fn new(dir: &Path, files: Vec<SourceFile>) -> Self {
        Self { dir: dir.to_owned(), files }
    }

    /// The configuration directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The merged tables of all files.
    pub(super) fn tree(&self, report: &mut Report) -> Table {
        parse_all(&self.files, report)
    }

    /// A driver's problems with their places: where a TOML path like
    /// `["model", "em24", "points", "voltage", "at"]` stands. What does not exist is shown at its nearest
    /// ancestor that does.
    pub fn problems(&self, found: Vec<DriverProblem>) -> Vec<Problem> {
        if found.is_empty() {
            return Vec::new();
        }
        // What is wrong with the text has been said.
        let tree = self.tree(&mut Report::default());
        let place = |path: &[String]| find(&tree, path).unwrap_or(Span { file: 0, start: 0, end: 0 });
        let problem = |found: DriverProblem| Problem {
            place: self.locate(place(&found.path)),
            other: None,
            message: found.message,
            hint: found.hint,
            warning: found.warning,
        };
        found.into_iter().map(problem).collect()
    }

    /// Puts problems in the order of the files and of the places in them.
    pub fn sort(&self, problems: &mut [Problem]) {
        let number = |name: &str| self.files.iter().position(|file| file.name == name);
        problems.sort_by_key(|p| (number(&p.place.file), p.place.line, p.place.column));
    }

    /// The text of a place's line.
    pub fn line(&self, place: &Place) -> Option<&str> {
        let file = self.files.iter().find(|file| file.name == place.file)?;
        file.text.lines().nth(place.line.checked_sub(1)?)
    }

    pub(super) fn locate(&self, span: Span) -> Place {
        let Some(file) = self.files.get(span.file) else {
            return Place { file: String::new(), line: 1, column: 1, width: 1 };
        };
        let text = &file.text;
        let start = text.floor_char_boundary(span.start);
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
        let end = text.floor_char_boundary(span.end).clamp(start, line_end);
        Place {
            file: file.name.clone(),
            line: before.matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            width: text[start..end].trim_end().chars().count().max(1),
        }
    }
}

/// The span of the longest part of `path` that exists.
fn find(tree: &Table, path: &[String]) -> Option<Span> {
    let (first, rest) = path.split_first()?;
    let entry = tree.get(first)?;
    Some(find_in(&entry.value, rest).unwrap_or_else(|| whole(entry)))
}

fn find_in(node: &Node, path: &[String]) -> Option<Span> {
    match &node.kind {
        Kind::Table(table) => find(table, path),
        Kind::Array(items) => {
            let (first, rest) = path.split_first()?;
            let item = items.get(first.parse::<usize>().ok()?)?;
            Some(find_in(item, rest).unwrap_or(item.span))
        }
        _ => None,
    }
}

/// A table is shown at its header or key, anything else from its key to its end.
fn whole(entry: &Entry) -> Span {
    let value = entry.value.span;
    let has_header = value.start < entry.key.start;
    match entry.value.kind {
        Kind::Table(_) if has_header => value,
        Kind::Table(_) => entry.key,
        _ => Span { end: value.end, ..entry.key },
    }
}
