//! One value to one type, with its range; anything else is a mistake that says what was expected.
//!
//! Always true: `None` means a problem was reported.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::problem::{Finding, Report};

use super::fields::{Fields, did_you_mean};
use super::tree::{Kind, Node, Table};
use super::units;

/// `expected …, found …`
pub(crate) fn expected<'r>(what: &str, node: &Node, report: &'r mut Report) -> &'r mut Finding {
    report.error(node.span, format!("expected {what}, found {}", node.describe()))
}

/// A table.
pub(crate) fn table<'t>(node: &'t Node, report: &mut Report) -> Option<&'t Table> {
    match &node.kind {
        Kind::Table(table) => Some(table),
        _ => {
            expected("a table", node, report);
            None
        }
    }
}

/// Text that is not empty.
pub(crate) fn text(node: &Node, report: &mut Report) -> Option<String> {
    match &node.kind {
        Kind::Text(text) if !text.trim().is_empty() => Some(text.clone()),
        _ => {
            expected("text", node, report);
            None
        }
    }
}

/// A path; relative ones begin at the configuration directory.
pub(crate) fn path(dir: &Path) -> impl Fn(&Node, &mut Report) -> Option<PathBuf> {
    move |node, report| {
        let path = text(node, report)?;
        if path.contains('\0') {
            expected("a path", node, report);
            return None;
        }
        Some(dir.join(path))
    }
}

/// `{ file = "…" }`, the only way a secret may be given.
pub(crate) fn secret(dir: &Path) -> impl Fn(&Node, &mut Report) -> Option<PathBuf> {
    move |node, report| {
        if let Kind::Text(_) = node.kind {
            // The secret itself must not be shown.
            report
                .error(node.span, "a secret never stands in the configuration itself")
                .hint("put it in a file that only the gateway may read and write { file = \"/path/to/it\" }");
            return None;
        }
        let mut fields = Fields::of("a secret", node, report)?;
        let file = fields.need(report, "file", "\"/path/to/it\"", path(dir));
        fields.finish(report);
        file
    }
}

/// A duration within a range.
pub(crate) fn duration(range: RangeInclusive<Duration>) -> impl Fn(&Node, &mut Report) -> Option<Duration> {
    move |node, report| {
        let read = match &node.kind {
            Kind::Text(text) => units::duration(text),
            _ => None,
        };
        let Some(value) = read else {
            let found = expected("a duration like \"1s\"", node, report);
            match node.kind {
                Kind::Integer(number) if number >= 0 => found.hint(format!("with its unit: \"{number}s\"")),
                _ => found.hint("a whole number and ms, s, m or h"),
            };
            return None;
        };
        within(value, &range, units::show_duration, node, report)
    }
}

/// A size in bytes within a range.
pub(crate) fn size(range: RangeInclusive<u64>) -> impl Fn(&Node, &mut Report) -> Option<u64> {
    move |node, report| {
        let read = match &node.kind {
            Kind::Text(text) => units::size(text),
            _ => None,
        };
        let Some(value) = read else {
            expected("a size like \"256MiB\"", node, report).hint("a whole number and KiB, MiB, GiB or TiB");
            return None;
        };
        within(value, &range, units::show_size, node, report)
    }
}

/// `"50%"`: whole percent within a range.
pub(crate) fn percent(range: RangeInclusive<u32>) -> impl Fn(&Node, &mut Report) -> Option<u32> {
    move |node, report| {
        let read = match &node.kind {
            Kind::Text(text) => text.strip_suffix('%').and_then(|digits| {
                let plain = digits.bytes().all(|b| b.is_ascii_digit());
                digits.parse().ok().filter(|_| plain)
            }),
            _ => None,
        };
        let Some(value) = read else {
            expected("a share like \"50%\"", node, report).hint("a whole number and %");
            return None;
        };
        within(value, &range, |value| format!("{value}%"), node, report)
    }
}

/// A whole number within a range.
pub(crate) fn whole(range: RangeInclusive<i64>) -> impl Fn(&Node, &mut Report) -> Option<i64> {
    move |node, report| match node.kind {
        Kind::Integer(value) => within(value, &range, |value| value.to_string(), node, report),
        _ => {
            expected("a whole number", node, report);
            None
        }
    }
}

/// `true` or `false`.
pub(crate) fn flag(node: &Node, report: &mut Report) -> Option<bool> {
    match node.kind {
        Kind::Boolean(flag) => Some(flag),
        _ => {
            expected("true or false", node, report);
            None
        }
    }
}

/// One of a few words.
pub(crate) fn word<T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(&Node, &mut Report) -> Option<T> {
    move |node, report| {
        let Kind::Text(text) = &node.kind else {
            expected("a word in quotes", node, report).hint(one_of(words));
            return None;
        };
        if let Some((_, value)) = words.iter().find(|(word, _)| word == text) {
            return Some(*value);
        }
        let hint = did_you_mean(text, words.iter().map(|(word, _)| *word));
        report.error(node.span, format!("unknown word {text:?}")).hint(hint.unwrap_or_else(|| one_of(words)));
        None
    }
}

/// A list, each item read alone.
pub(crate) fn list<T>(
    item: impl Fn(&Node, &mut Report) -> Option<T>,
) -> impl Fn(&Node, &mut Report) -> Option<Vec<T>> {
    move |node, report| {
        let Kind::Array(items) = &node.kind else {
            expected("a list like [\"a\", \"b\"]", node, report);
            return None;
        };
        Some(items.iter().filter_map(|node| item(node, report)).collect())
    }
}

fn one_of<T>(words: &[(&str, T)]) -> String {
    format!("one of {}", words.iter().map(|(word, _)| format!("{word:?}")).collect::<Vec<_>>().join(", "))
}

fn within<T: PartialOrd + Copy>(
    value: T,
    range: &RangeInclusive<T>,
    show: impl Fn(T) -> String,
    node: &Node,
    report: &mut Report,
) -> Option<T> {
    if range.contains(&value) {
        return Some(value);
    }
    let (least, most) = (show(*range.start()), show(*range.end()));
    report
        .error(node.span, format!("{} is out of range", show(value)))
        .hint(format!("from {least} to {most}"));
    None
}
