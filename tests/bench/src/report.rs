//! Results: tables for people, `results.json` for everybody else.
//!
//! Always true: a section carries the conditions it was measured under; measuring one part again
//! leaves the results of the others as they were; `results.json` is whole or not there.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Map, Value as Json};

use crate::conditions::Conditions;
use crate::figures::{Figure, shown};

/// All that one part measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Section {
    /// Its name.
    pub part: &'static str,
    /// What it was measured under.
    pub conditions: Conditions,
    /// Whether it was only to see that it runs: the figures mean nothing then.
    pub quick: bool,
    /// What a reader has to know.
    pub notes: Vec<String>,
    /// The figures.
    pub tables: Vec<Table>,
}

/// Figures that belong side by side.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    /// Its name in JSON.
    pub key: &'static str,
    /// For people.
    pub title: &'static str,
    /// What is measured: key and title.
    pub columns: Vec<(&'static str, &'static str)>,
    /// Of whom.
    pub rows: Vec<Row>,
}

/// One line of a table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Its name in JSON.
    pub key: String,
    /// For people.
    pub title: String,
    /// By the columns' keys; one that is not there was not measured.
    pub figures: BTreeMap<&'static str, Figure>,
}

impl Table {
    /// Without rows.
    pub fn new(key: &'static str, title: &'static str, columns: &[(&'static str, &'static str)]) -> Self {
        Self { key, title, columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; a figure that is `None` stays empty.
    pub fn row(
        &mut self,
        key: impl Into<String>,
        title: impl Into<String>,
        figures: impl IntoIterator<Item = (&'static str, Option<Figure>)>,
    ) {
        let figures = figures.into_iter().filter_map(|(key, figure)| Some((key, figure?))).collect();
        self.rows.push(Row { key: key.into(), title: title.into(), figures });
    }

    /// The figure in this place.
    pub fn figure(&self, row: &str, column: &str) -> Option<&Figure> {
        self.rows.iter().find(|one| one.key == row)?.figures.get(column)
    }
}

impl Section {
    /// For people; Markdown, so that it can be kept in a file.
    pub fn text(&self) -> String {
        let mut text = format!("## {}\n\n{}\n", self.part, self.conditions.line());
        if self.quick {
            text.push_str("\n**A quick run: it went through everything, its figures mean nothing.**\n");
        }
        for note in &self.notes {
            let _ = write!(text, "\n{note}\n");
        }
        for table in &self.tables {
            let _ = write!(text, "\n**{}**\n\n| |", table.title);
            for (_, title) in &table.columns {
                let _ = write!(text, " {title} |");
            }
            text.push_str("\n|---|");
            text.push_str(&"--:|".repeat(table.columns.len()));
            for row in &table.rows {
                let _ = write!(text, "\n| {} |", row.title);
                for (key, _) in &table.columns {
                    let _ = write!(text, " {} |", row.figures.get(key).map_or_else(|| "–".to_owned(), cell));
                }
            }
            text.push('\n');
        }
        text
    }
}

/// `12.3 (11.9 … 14.0)`
fn cell(figure: &Figure) -> String {
    let median = shown(figure.median);
    if figure.rounds.len() < 2 {
        return median;
    }
    format!("{median} ({} … {})", shown(figure.least), shown(figure.most))
}

/// Puts a section into `results.json` in this folder; sections of other parts stay.
pub fn keep(folder: &Path, section: &Section) -> Result<()> {
    let path = folder.join("results.json");
    let mut kept = match fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text).with_context(|| {
            format!("{} is not JSON; remove it, or name another folder with --out", path.display())
        })?,
        Err(_) => Map::new(),
    };
    kept.insert(section.part.to_owned(), serde_json::to_value(section)?);
    let text = serde_json::to_string_pretty(&Json::Object(kept))? + "\n";
    let next = folder.join("results.json.next");
    fs::write(&next, text).with_context(|| format!("writing {}", next.display()))?;
    fs::rename(&next, &path).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(part: &'static str, rounds: Vec<f64>) -> Section {
        let mut table = Table::new("calls", "Calls", &[("p50", "p50, µs"), ("p99", "p99, µs")]);
        table.row("ours", "Ours", [("p50", Figure::of("µs", rounds)), ("p99", None)]);
        Section {
            part,
            conditions: Conditions::now(),
            quick: false,
            notes: vec!["A note.".to_owned()],
            tables: vec![table],
        }
    }

    #[test]
    fn a_table_shows_medians_with_their_spread_and_a_dash_for_what_was_not_measured() {
        let text = section("start", vec![1.0, 3.0, 2.0]).text();
        assert!(text.contains("| | p50, µs | p99, µs |\n|---|--:|--:|\n"), "{text}");
        assert!(text.contains("| Ours | 2.00 (1.00 … 3.00) | – |"), "{text}");
        assert!(text.contains("A note.") && text.contains("Linux"), "{text}");
    }

    #[test]
    fn results_of_other_parts_stay() {
        let folder = tempfile::tempdir().unwrap();
        keep(folder.path(), &section("start", vec![1.0])).unwrap();
        keep(folder.path(), &section("update", vec![2.0])).unwrap();
        keep(folder.path(), &section("start", vec![3.0])).unwrap();
        let text = fs::read_to_string(folder.path().join("results.json")).unwrap();
        let json: Json = serde_json::from_str(&text).unwrap();
        let median = |part: &str| json[part]["tables"][0]["rows"][0]["figures"]["p50"]["median"].as_f64();
        assert_eq!((median("start"), median("update")), (Some(3.0), Some(2.0)));
        assert!(json["start"]["conditions"]["cores"].is_u64());
        fs::write(folder.path().join("results.json"), "no").unwrap();
        let refused = keep(folder.path(), &section("start", vec![1.0])).unwrap_err().to_string();
        assert!(refused.contains("results.json") && refused.contains("--out"), "{refused}");
    }
}
