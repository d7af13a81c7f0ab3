//! A mistake in the configuration, and how it is shown: one line, a picture, or JSON.
//!
//! Always true: every problem has a place; the first line of the picture is the one-line form, so
//! that editors can jump to it and scripts can cut it.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use serde_json::{Value as Json, json};

use super::place::{Place, Sources, Span};

/// A mistake, or with `warning` something that runs all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// The second place of a mistake that needs two.
    pub other: Option<Place>,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// The remedy; may be empty.
    pub hint: String,
    /// True when it runs all the same.
    pub warning: bool,
}

/// A mistake a driver found in its part, with its place as a TOML path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverProblem {
    /// `["model", "em24", "points", "voltage", "at"]`
    pub path: Vec<String>,
    /// What is wrong.
    pub message: String,
    /// The remedy; may be empty.
    pub hint: String,
    /// True when it runs all the same.
    pub warning: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.warning { "warning: " } else { "" };
        write!(f, "{}: {kind}{}", self.place, self.message)?;
        if let Some(other) = &self.other {
            write!(f, " (first at {other})")?;
        }
        if !self.hint.is_empty() {
            write!(f, "; {}", self.hint)?;
        }
        Ok(())
    }
}

impl Problem {
    /// As one JSON object.
    pub fn to_json(&self) -> Json {
        json!({
            "file": self.place.file,
            "line": self.place.line,
            "column": self.place.column,
            "message": self.message,
            "hint": self.hint,
            "warning": self.warning,
            "other": self.other,
        })
    }

    /// The one-line form, then the source line with the place marked.
    pub fn picture(&self, sources: &Sources, colours: bool) -> String {
        let paint = |code: &str, text: &str| match colours {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        };
        let colour = if self.warning { "1;33" } else { "1;31" };
        let line = self.to_string();
        let (place, rest) = line.split_at(self.place.to_string().len());
        let mut out = format!("{}{}\n", paint("1", place), paint(colour, rest));
        let mut mark = |place: &Place, sign: char, code: &str| {
            let Some(text) = sources.line(place) else { return };
            let number = place.line.to_string();
            let margin = " ".repeat(number.len());
            // Tabs stay tabs in the margin, so that the mark stands below its word.
            let lead: String = text.chars().take(place.column - 1).map(blank).collect();
            let signs = sign.to_string().repeat(place.width);
            let shown: String = text.chars().map(printable).collect();
            let _ = writeln!(out, "{}", paint("34", &format!("{margin} |")));
            let _ = writeln!(out, "{} {shown}", paint("34", &format!("{number} |")));
            let _ = writeln!(out, "{} {lead}{}", paint("34", &format!("{margin} |")), paint(code, &signs));
        };
        mark(&self.place, '^', colour);
        if let Some(other) = &self.other {
            mark(other, '-', "34");
        }
        out
    }
}

fn blank(c: char) -> char {
    if c == '\t' { '\t' } else { ' ' }
}

/// A configuration file must not be able to steer the terminal it is shown on.
fn printable(c: char) -> char {
    if c.is_control() && c != '\t' { '\u{fffd}' } else { c }
}

/// A problem before its span became a place.
#[derive(Debug)]
pub(super) struct Finding {
    span: Span,
    other: Option<Span>,
    message: String,
    hint: String,
    warning: bool,
}

impl Finding {
    /// Adds the remedy.
    pub(super) fn hint(&mut self, hint: impl Into<String>) -> &mut Self {
        self.hint = hint.into();
        self
    }

    /// Adds the place of the first one of two that collide.
    pub(super) fn first_at(&mut self, other: Span) -> &mut Self {
        self.other = Some(other);
        self
    }
}

/// Collects what is wrong while the files are read and checked.
#[derive(Debug, Default)]
pub(super) struct Report {
    findings: Vec<Finding>,
    /// Files that could not be read to their end: what seems to be missing may be there.
    damaged: BTreeSet<usize>,
}

impl Report {
    /// A mistake.
    pub(super) fn error(&mut self, span: Span, message: impl Into<String>) -> &mut Finding {
        self.push(span, message.into(), false)
    }

    /// Something odd that runs all the same.
    pub(super) fn warn(&mut self, span: Span, message: impl Into<String>) -> &mut Finding {
        self.push(span, message.into(), true)
    }

    fn push(&mut self, span: Span, message: String, warning: bool) -> &mut Finding {
        self.findings.push(Finding { span, other: None, message, hint: String::new(), warning });
        self.findings.last_mut().expect("one was just pushed")
    }

    /// Notes that a file could not be read to its end.
    pub(super) fn damaged(&mut self, file: usize) {
        self.damaged.insert(file);
    }

    /// Whether this file could not be read to its end.
    pub(super) fn is_damaged(&self, file: usize) -> bool {
        self.damaged.contains(&file)
    }

    /// Whether any file could not be read to its end.
    pub(super) fn is_incomplete(&self) -> bool {
        !self.damaged.is_empty()
    }

    /// Whether nothing but warnings was found.
    pub(super) fn is_clean(&self) -> bool {
        self.findings.iter().all(|finding| finding.warning)
    }

    /// With places, in their order.
    pub(super) fn into_problems(mut self, sources: &Sources) -> Vec<Problem> {
        self.findings.sort_by_key(|finding| finding.span);
        let mut problems: Vec<Problem> = Vec::new();
        for finding in self.findings {
            let problem = Problem {
                place: sources.locate(finding.span),
                other: finding.other.map(|span| sources.locate(span)),
                message: finding.message,
                hint: finding.hint,
                warning: finding.warning,
            };
            if problems.last() != Some(&problem) {
                problems.push(problem);
            }
        }
        problems
    }
}
