//! Taking the keys out of one table.
//!
//! Always true: a key nobody asked for is a mistake, with the nearest known key as a guess; what is
//! required and missing is reported at the table's header.

use crate::config::place::Span;
use crate::config::problem::Report;

use super::read;
use super::tree::{Node, Table};

/// One table being read.
#[derive(Debug)]
pub(crate) struct Fields<'t> {
    /// `[sagoo]`, for messages.
    title: String,
    head: Span,
    table: Option<&'t Table>,
    readable: bool,
    asked: Vec<&'static str>,
}

impl<'t> Fields<'t> {
    /// The table in `node`, or a problem.
    pub(crate) fn of(title: impl Into<String>, node: &'t Node, report: &mut Report) -> Option<Self> {
        let table = read::table(node, report)?;
        Some(Self {
            title: title.into(),
            head: node.span,
            table: Some(table),
            readable: true,
            asked: Vec::new(),
        })
    }

    /// A table that is not there: what it needs is missed at the start of the first file.
    pub(crate) fn none(title: String) -> Self {
        let head = Span { file: 0, start: 0, end: 0 };
        Self { title, head, table: None, readable: true, asked: Vec::new() }
    }

    /// Something that is no table; that was said already.
    pub(crate) fn unreadable(head: Span) -> Self {
        Self { title: String::new(), head, table: None, readable: false, asked: Vec::new() }
    }

    /// Where the table begins.
    pub(crate) fn head(&self) -> Span {
        self.head
    }

    /// The value of a key, as it is.
    pub(crate) fn node(&mut self, key: &'static str) -> Option<&'t Node> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        self.table?.get(key).map(|entry| &entry.value)
    }

    /// The value of a key that may be left out.
    pub(crate) fn get<T>(
        &mut self,
        report: &mut Report,
        key: &'static str,
        read: impl FnOnce(&'t Node, &mut Report) -> Option<T>,
    ) -> Option<T> {
        read(self.node(key)?, report)
    }

    /// The value of a key that must be there.
    pub(crate) fn need<T>(
        &mut self,
        report: &mut Report,
        key: &'static str,
        example: &str,
        read: impl FnOnce(&'t Node, &mut Report) -> Option<T>,
    ) -> Option<T> {
        match self.node(key) {
            Some(node) => read(node, report),
            None if !self.readable || report.is_damaged(self.head.file) => None,
            None => {
                let misspelt = self
                    .table
                    .into_iter()
                    .flatten()
                    .map(|(other, _)| other)
                    .find(|other| did_you_mean(other, [key]).is_some());
                let hint = match misspelt {
                    Some(other) => format!("is {other:?} meant to be it?"),
                    None => format!("for example {key} = {example}"),
                };
                report.error(self.head, format!("{} needs {key:?}", self.title)).hint(hint);
                None
            }
        }
    }

    /// For a table whose other keys are a driver's: one that is nearly `known`, which may be left out,
    /// is only a warning, as the driver may know it.
    pub(crate) fn guess(&self, report: &mut Report, known: &'static str) {
        if report.is_damaged(self.head.file) {
            return;
        }
        for (key, entry) in self.table.into_iter().flatten() {
            let hint = did_you_mean(key, [known]).filter(|_| !self.asked.contains(&key.as_str()));
            if let Some(hint) = hint {
                report.warn(entry.key, format!("{key:?} is no key of the gateway's")).hint(hint);
            }
        }
    }

    /// Every key nobody asked for is a mistake; but behind a broken header it belongs elsewhere.
    pub(crate) fn finish(self, report: &mut Report) {
        if report.is_damaged(self.head.file) {
            return;
        }
        for (key, entry) in self.table.into_iter().flatten() {
            if !self.asked.contains(&key.as_str()) {
                let hint = did_you_mean(key, self.asked.iter().copied());
                let hint = hint.unwrap_or_else(|| format!("{} knows {}", self.title, self.asked.join(", ")));
                report.error(entry.key, format!("unknown key {key:?}")).hint(hint);
            }
        }
    }
}

/// `did you mean "scale"?`, when one of the words is near enough to be meant.
pub(crate) fn did_you_mean<'w>(word: &str, known: impl IntoIterator<Item = &'w str>) -> Option<String> {
    let lower = word.to_lowercase();
    let distance = |known: &str| strsim::osa_distance(&lower, &known.to_lowercase());
    let near = known.into_iter().map(|known| (distance(known), known)).min()?;
    let allowed = (word.chars().count() / 3).max(1);
    (near.0 <= allowed).then(|| format!("did you mean {:?}?", near.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_letters_that_changed_places_are_one_mistake() {
        let known = ["host", "port", "scale", "tcp"];
        for (word, meant) in [("prot", "port"), ("tpc", "tcp"), ("hots", "host"), ("Sclae", "scale")] {
            assert_eq!(did_you_mean(word, known), Some(format!("did you mean {meant:?}?")), "{word}");
        }
        assert_eq!(did_you_mean("pct", known), None, "two mistakes in three letters are another word");
    }
}
