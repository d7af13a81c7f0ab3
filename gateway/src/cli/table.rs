//! Text in columns.
//!
//! Always true: columns are as wide as their widest cell and two spaces apart; no line ends in a
//! space; colours do not count as width.

use super::print::{Tone, harmless};

/// Between columns.
const GAP: usize = 2;

/// One cell.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    text: String,
    tone: Tone,
    right: bool,
}

impl Cell {
    /// Text, left.
    pub(super) fn text(text: impl AsRef<str>) -> Self {
        Self { text: harmless(text.as_ref()).replace('\n', " "), tone: Tone::Plain, right: false }
    }

    /// A number, right.
    pub(super) fn number(text: impl AsRef<str>) -> Self {
        Self { right: true, ..Self::text(text) }
    }

    /// In this tone.
    pub(super) fn tone(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }
}

/// The heads and the rows below them.
pub(super) fn table(heads: &[&str], rows: Vec<Vec<Cell>>, colours: bool) -> String {
    let right = |column: usize| rows.iter().any(|row| row.get(column).is_some_and(|cell| cell.right));
    let heads = heads.iter().enumerate().map(|(column, head)| {
        let cell = if right(column) { Cell::number(head) } else { Cell::text(head) };
        cell.tone(Tone::Faint)
    });
    let heads: Vec<Cell> = heads.collect();
    let lines: Vec<&[Cell]> =
        std::iter::once(heads.as_slice()).chain(rows.iter().map(Vec::as_slice)).collect();
    let columns = lines.iter().map(|line| line.len()).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell: &Cell| cell.text.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    lines.iter().map(|line| one_line(line, &widths, colours)).collect()
}

fn one_line(cells: &[Cell], widths: &[usize], colours: bool) -> String {
    let mut out = String::new();
    let mut waiting = 0;
    for (cell, width) in cells.iter().zip(widths) {
        let blank = width - cell.text.chars().count();
        let (before, after) = if cell.right { (blank, 0) } else { (0, blank) };
        // Blanks are written only when something follows them.
        if !cell.text.is_empty() {
            out.extend(std::iter::repeat_n(' ', waiting + before));
            out.push_str(&cell.tone.paint(&cell.text, colours));
            waiting = after + GAP;
        } else {
            waiting += blank + GAP;
        }
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = vec![
            vec![Cell::text("meter-3a"), Cell::number("5"), Cell::text("")],
            vec![Cell::text("p"), Cell::number("1 234"), Cell::text("kWh").tone(Tone::Good)],
        ];
        let expected = "DEVICE     READ  UNIT\nmeter-3a      5\np         1 234  kWh\n";
        assert_eq!(table(&["DEVICE", "READ", "UNIT"], rows.clone(), false), expected);
        assert!(table(&["DEVICE", "READ", "UNIT"], rows, true).contains("  \x1b[32mkWh\x1b[0m\n"));
    }

    proptest! {
        #[test]
        fn any_text_stays_in_its_line(texts in proptest::collection::vec(".{0,9}", 1..9)) {
            let rows: Vec<_> = texts.iter().map(|text| vec![Cell::text(text), Cell::number(text)]).collect();
            let shown = table(&["A", "B"], rows, false);
            prop_assert_eq!(shown.matches('\n').count(), texts.len() + 1);
        }
    }
}
