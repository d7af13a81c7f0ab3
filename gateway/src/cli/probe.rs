//! `sagoo-edge probe`: what stands at an address of a device, in all its driver's decodings.
//!
//! Always true: the driver says what is in the table; here it is only set in columns.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Value as Json};

use super::human;
use super::invoke::{call, refusal};
use super::print::{self, Tone, harmless};
use super::table::{Cell, table};
use super::typed::Gateway;
use crate::commands::Verdict;

/// The function of a driver that can do it.
const PROBE: &str = "probe";

/// `probe`
#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// Name of a device in the configuration.
    pub device: String,
    /// Where to look, in the driver's words.
    pub address: String,
    /// How much to show from there on; without it the driver decides.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    count: Option<u32>,
    #[command(flatten)]
    gateway: Gateway,
}

/// Asks and shows.
pub async fn probe(args: &ProbeArgs) -> ExitCode {
    let as_json = args.gateway.json;
    let mut input = Map::from_iter([("address".to_owned(), Json::from(args.address.as_str()))]);
    input.extend(args.count.map(|count| ("count".to_owned(), Json::from(count))));
    let outcome = match call(&args.gateway, &args.device, PROBE, input).await {
        Ok(outcome) => outcome,
        Err(error) => return print::failure(&error, as_json),
    };
    match outcome.output {
        Some(output) if outcome.verdict == Verdict::Applied => match as_json {
            true => print::json(&output, true),
            false => print::out(&text(&output, print::colours()), true),
        },
        _ => print::failure(&refusal(&args.device, &outcome), as_json),
    }
}

/// A title and a table; what is neither is shown as it is.
pub(super) fn text(output: &Json, colours: bool) -> String {
    let (Some(columns), Some(rows)) = (output["columns"].as_array(), output["rows"].as_array()) else {
        return format!("{}\n", harmless(&format!("{output:#}")));
    };
    let title = output["title"].as_str().unwrap_or_default();
    let title = match title {
        "" => String::new(),
        title => format!("{}\n\n", Tone::Strong.paint(&harmless(title).replace('\n', " "), colours)),
    };
    let heads: Vec<String> = columns.iter().map(human::value).collect();
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    let cells =
        |row: &Json| row.as_array().map(|row| row.iter().enumerate().map(cell).collect()).unwrap_or_default();
    title + &table(&heads, rows.iter().map(cells).collect(), colours)
}

/// What a row is about to the left, what is there to the right, so that sizes are seen.
fn cell((column, value): (usize, &Json)) -> Cell {
    match column {
        0 => Cell::text(human::value(value)),
        _ => Cell::number(human::value(value)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn decodings_stand_side_by_side() {
        let output = json!({
            "title": "input 0x10 × 2 of meter",
            "columns": ["address", "hex", "u16", "text"],
            "rows": [["0x10", "4248", "16968", "BH"], ["0x11", "0000", "0", "\u{1b}[2J"]],
        });
        let expected = "\
input 0x10 × 2 of meter

address   hex    u16  text
0x10     4248  16968    BH
0x11     0000      0  \u{fffd}[2J
";
        assert_eq!(text(&output, false), expected);
    }

    #[test]
    fn what_is_no_table_is_shown_as_it_is() {
        assert_eq!(text(&json!({ "x": 1 }), false), "{\n  \"x\": 1\n}\n");
        assert_eq!(text(&json!({ "columns": ["a"], "rows": [3, ["b"]] }), false), "a\n\nb\n");
    }
}
