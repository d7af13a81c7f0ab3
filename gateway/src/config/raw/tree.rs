//! One tree of all files, every key and value with its span.
//!
//! Always true: a table of its own (`[sagoo]`, `[device.x]`) comes from exactly one file; only
//! `connection`, `model` and `device` gather entries from several.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::place::{SourceFile, Span};
use crate::config::problem::Report;

/// Tables whose entries may be spread over files.
const GATHERED: [&str; 3] = ["connection", "model", "device"];

/// Keys with their values.
pub(crate) type Table = BTreeMap<String, Entry>;

/// One key of a table.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Of the key.
    pub(crate) key: Span,
    /// What it is set to.
    pub(crate) value: Node,
}

/// A value and where it stands; a table under a header stands at the header.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Of the value.
    pub(crate) span: Span,
    /// Of which type.
    pub(crate) kind: Kind,
}

/// The types of TOML.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// Text.
    Text(String),
    /// In 64 bits.
    Integer(i64),
    /// May be infinite or not a number.
    Float(f64),
    /// True or false.
    Boolean(bool),
    /// As written.
    Datetime(String),
    /// In order.
    Array(Vec<Node>),
    /// By key.
    Table(Table),
}

impl Node {
    /// Its type and, when short, its value: `integer 5`.
    pub(crate) fn describe(&self) -> String {
        /// Longer texts are cut in messages.
        const SHOWN: usize = 40;
        match &self.kind {
            Kind::Text(text) if text.chars().count() > SHOWN => {
                format!("{:?}…", text.chars().take(SHOWN).collect::<String>())
            }
            Kind::Text(text) => format!("{text:?}"),
            Kind::Integer(value) => format!("integer {value}"),
            Kind::Float(value) => format!("number {value}"),
            Kind::Boolean(value) => format!("{value}"),
            Kind::Datetime(value) => format!("date-time {value}"),
            Kind::Array(_) => "an array".to_owned(),
            Kind::Table(_) => "a table".to_owned(),
        }
    }
}

/// Parses all files into one tree. Every syntax error is reported, the rest is kept.
pub(crate) fn parse_all(files: &[SourceFile], report: &mut Report) -> Table {
    let mut tree = Table::new();
    for (file, source) in files.iter().enumerate() {
        let (document, errors) = DeTable::parse_recoverable(&source.text);
        for error in errors {
            report.damaged(file);
            let span = error.span().unwrap_or(0..0);
            report.error(Span { file, start: span.start, end: span.end }, error.message());
        }
        let mut convert = Convert { file, report };
        let table = convert.table(document.into_inner());
        merge(&mut tree, table, files, report);
    }
    tree
}

struct Convert<'r> {
    file: usize,
    report: &'r mut Report,
}

impl Convert<'_> {
    fn table(&mut self, table: DeTable<'_>) -> Table {
        let entries = table.into_iter().filter_map(|(key, value)| {
            let span = self.span(key.span());
            Some((key.into_inner().into_owned(), Entry { key: span, value: self.node(value)? }))
        });
        entries.collect()
    }

    /// Nothing for a value that a syntax error swallowed: the parser fills in an empty one at 0..0.
    fn node(&mut self, value: Spanned<DeValue<'_>>) -> Option<Node> {
        let span = self.span(value.span());
        if span.end == 0 {
            return None;
        }
        let kind = match value.into_inner() {
            DeValue::String(text) => Kind::Text(text.into_owned()),
            DeValue::Boolean(value) => Kind::Boolean(value),
            DeValue::Datetime(value) => Kind::Datetime(value.to_string()),
            DeValue::Integer(digits) => match i64::from_str_radix(digits.as_str(), digits.radix()) {
                Ok(value) => Kind::Integer(value),
                Err(_) => {
                    self.report.error(span, "an integer must fit 64 bits with sign");
                    return None;
                }
            },
            DeValue::Float(digits) => match digits.as_str().parse() {
                Ok(value) => Kind::Float(value),
                Err(_) => {
                    self.report.error(span, "not a number");
                    return None;
                }
            },
            DeValue::Array(items) => {
                Kind::Array(items.into_iter().filter_map(|item| self.node(item)).collect())
            }
            DeValue::Table(table) => Kind::Table(self.table(table)),
        };
        Some(Node { span, kind })
    }

    fn span(&self, range: Range<usize>) -> Span {
        Span { file: self.file, start: range.start, end: range.end }
    }
}

fn merge(tree: &mut Table, from: Table, files: &[SourceFile], report: &mut Report) {
    for (name, entry) in from {
        let gathered = GATHERED.contains(&name.as_str());
        match (tree.get_mut(&name), entry.value.kind) {
            (None, kind) => {
                let value = Node { kind, ..entry.value };
                tree.insert(name, Entry { value, ..entry });
            }
            (Some(Entry { value: Node { kind: Kind::Table(first), .. }, .. }), Kind::Table(second))
                if gathered =>
            {
                for (inner, entry) in second {
                    if let Some(known) = first.get(&inner) {
                        twice(&format!("[{name}.{inner}]"), known.key, entry.key, files, report);
                    } else {
                        first.insert(inner, entry);
                    }
                }
            }
            (Some(known), _) => twice(&format!("[{name}]"), known.key, entry.key, files, report),
        }
    }
}

fn twice(table: &str, first: Span, second: Span, files: &[SourceFile], report: &mut Report) {
    let file = files.get(first.file).map_or("", |file| file.name.as_str());
    report
        .error(second, format!("{table} is already in {file}"))
        .first_at(first)
        .hint("a table lives in one file: move its keys together");
}
