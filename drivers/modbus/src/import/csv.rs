//! Lines of a CSV file → rows. Pure.
//!
//! Always true: the separator is the one that the header has most of; a quoted cell may hold
//! separators, quotes and line ends; every row knows the line it began at; a column nobody knows is
//! told and not dropped silently.

use super::column::{Column, column, names};
use super::row::Row;

/// What a file came to.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Parsed {
    pub(super) rows: Vec<Row>,
    /// What was not used; no reason to fail.
    pub(super) notes: Vec<String>,
}

/// Reads a whole file; an error when not even its header can be used.
pub(super) fn parse(file: &str, text: &str) -> Result<Parsed, String> {
    let text = text.trim_start_matches('\u{feff}');
    let header = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let separator = [',', ';', '\t'].into_iter().max_by_key(|one| header.matches(*one).count());
    let mut records = records(text, separator.unwrap_or(',')).into_iter();
    let Some((line, header)) = records.next() else {
        return Err(format!("{file}: the file is empty; its first line names the columns"));
    };
    let known: Vec<_> = header.iter().map(|name| column(name)).collect();
    let mut parsed = Parsed::default();
    for wanted in [Column::Name, Column::At] {
        let count = known.iter().flatten().filter(|(column, _)| *column == wanted).count();
        let name = if wanted == Column::Name { "name" } else { "address" };
        if count != 1 {
            let what = if count == 0 { "no column" } else { "more than one column" };
            let hint = format!("columns known here: {}", names().collect::<Vec<_>>().join(", "));
            return Err(format!("{file}:{line}: {what} with the {name} of a point; {hint}"));
        }
    }
    let unused: Vec<&str> = header
        .iter()
        .zip(&known)
        .filter(|(_, known)| known.is_none())
        .map(|(name, _)| name.as_str())
        .collect();
    if !unused.is_empty() {
        parsed.notes.push(format!("{file}:{line}: columns that are not used: {}", unused.join(", ")));
    }
    for (line, cells) in records {
        let mut row = Row { place: format!("{file}:{line}"), ..Row::default() };
        for (cell, known) in cells.iter().zip(&known) {
            if let Some((column, unit)) = known.filter(|_| !cell.trim().is_empty()) {
                let is_bare = cell.trim().bytes().all(|byte| byte.is_ascii_digit());
                let unit = unit.filter(|_| is_bare).unwrap_or_default();
                row.cells.entry(column).or_insert_with(|| format!("{}{unit}", cell.trim()));
            }
        }
        let surplus = cells.iter().skip(known.len()).any(|cell| !cell.trim().is_empty());
        if surplus {
            row.wrong = Some(format!(
                "{} cells where the header has {}; quote a cell that has a separator in it",
                cells.len(),
                known.len()
            ));
        }
        let is_comment = cells.first().is_some_and(|cell| cell.trim_start().starts_with('#'));
        if !(is_comment || row.cells.is_empty() && row.wrong.is_none()) {
            parsed.rows.push(row);
        }
    }
    Ok(parsed)
}

/// Records with the lines they begin at; empty lines are none.
fn records(text: &str, separator: char) -> Vec<(usize, Vec<String>)> {
    let mut all = Vec::new();
    let (mut cells, mut cell, mut is_quoted) = (Vec::new(), String::new(), false);
    let (mut line, mut began) = (1, 1);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if is_quoted && letters.peek() == Some(&'"') => {
                letters.next();
                cell.push('"');
            }
            '"' if is_quoted => is_quoted = false,
            '"' if cell.trim().is_empty() => {
                cell.clear();
                is_quoted = true;
            }
            '\r' if !is_quoted => {}
            '\n' if !is_quoted => {
                cells.push(std::mem::take(&mut cell));
                let record: Vec<String> = std::mem::take(&mut cells);
                if record.iter().any(|cell| !cell.trim().is_empty()) {
                    all.push((began, record));
                }
                line += 1;
                began = line;
            }
            _ if letter == separator && !is_quoted => cells.push(std::mem::take(&mut cell)),
            _ => {
                line += usize::from(letter == '\n');
                cell.push(letter);
            }
        }
    }
    cells.push(cell);
    if cells.iter().any(|cell| !cell.trim().is_empty()) {
        all.push((began, cells));
    }
    all
}

/// What a row says.
#[cfg(test)]
pub(super) fn cells<const N: usize>(of: [(Column, &str); N]) -> std::collections::BTreeMap<Column, String> {
    of.into_iter().map(|(column, text)| (column, text.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_of_the_usual_separators_and_quotes_are_read() {
        for text in [
            "\u{feff}name,address,desc\nv,1,\"a, \"\"b\"\"\"\n\n# x\nw,2\n",
            "name;address;desc\r\nv;1;\"a, \"\"b\"\"\"\r\n;;\r\n#\r\nw;2;\r\n",
            "name\taddress\tdesc\nv\t1\ta, \"b\"\n\n\nw\t2",
        ] {
            let parsed = parse("f", text).unwrap();
            assert_eq!(parsed.rows.len(), 2, "{text}");
            assert_eq!(
                parsed.rows[0].cells,
                cells([(Column::Name, "v"), (Column::At, "1"), (Column::Note, "a, \"b\"")])
            );
            assert_eq!(parsed.rows[1].place, "f:5");
        }
    }

    #[test]
    fn what_is_not_used_is_told() {
        let parsed = parse("f", "group,name,addr,rate (ms)\ng,v,1,500\ng,v,1,1s,x\n").unwrap();
        assert_eq!(parsed.notes, ["f:1: columns that are not used: group"]);
        assert_eq!(parsed.rows[0].cells[&Column::Poll], "500ms");
        assert!(parsed.rows[1].wrong.as_ref().unwrap().starts_with("5 cells where the header has 4"));
        assert!(parse("f", "").unwrap_err().starts_with("f: the file is empty"));
        assert!(
            parse("f", "x,address\n").unwrap_err().starts_with("f:1: no column with the name of a point")
        );
        assert!(parse("f", "name,tag,address\n").unwrap_err().starts_with("f:1: more than one column"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_rows_or_a_mistake(text in "(name,at\n)?(\\PC|[,;\n\"]){0,60}") {
            let _ = parse("f", &text);
        }
    }
}
