//! `sagoo-edge read` and `sagoo-edge write`: one command, and what became of each point.

use std::process::ExitCode;

use serde_json::{Map, Value as Json, json};

use crate::commands::{Quality, Verdict};
use crate::control::message::{OutcomeReply, Reply, Request};

use super::print::{self, Tone};
use super::table::{Cell, table};
use super::{Gateway, ReadArgs, WriteArgs, human};

/// Reads points.
pub(super) async fn read(args: &ReadArgs) -> ExitCode {
    let request = Request::Read { device: args.device.clone(), points: args.points.clone() };
    carry_out(&args.gateway, &request).await
}

/// Writes one point.
pub(super) async fn write(args: &WriteArgs) -> ExitCode {
    let value = match typed_value(&args.value, args.text) {
        Ok(value) => value,
        Err(error) => return print::failure(&error, args.gateway.json),
    };
    let values = Map::from_iter([(args.point.clone(), value)]);
    carry_out(&args.gateway, &Request::Write { device: args.device.clone(), values }).await
}

async fn carry_out(gateway: &Gateway, request: &Request) -> ExitCode {
    let outcome = match gateway.ask(request).await {
        Ok(Reply::Outcome { outcome }) => outcome,
        Ok(_) => {
            return print::failure(print::ANOTHER_VERSION, gateway.json);
        }
        Err(error) => return print::failure(&error, gateway.json),
    };
    let done = outcome.verdict == Verdict::Applied;
    match gateway.json {
        true => print::json(&json!(outcome), done),
        false => print::out(&text(&outcome, print::colours()), done),
    }
}

/// `true`, `false`, a number that fits, else text.
pub(super) fn typed_value(typed: &str, as_text: bool) -> Result<Json, String> {
    let digits = typed.strip_prefix(['-', '+']).unwrap_or(typed);
    let is_whole = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    // Rust also reads "inf" and "nan": those are words here.
    let is_number = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    match typed {
        _ if as_text => Ok(Json::from(typed)),
        "true" => Ok(Json::Bool(true)),
        "false" => Ok(Json::Bool(false)),
        _ if is_whole => {
            let signed = typed.parse::<i64>().map(Json::from);
            let read = signed.or_else(|_| typed.parse::<u64>().map(Json::from));
            read.map_err(|_| format!("{typed} does not fit 64 bits: with --text it is sent as text"))
        }
        _ if is_number => match typed.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(json!(number)),
            Ok(_) => Err(format!("{typed} is too large for a number: with --text it is sent as text")),
            Err(_) => Ok(Json::from(typed)),
        },
        _ => Ok(Json::from(typed)),
    }
}

pub(super) fn text(outcome: &OutcomeReply, colours: bool) -> String {
    if outcome.points.is_empty() {
        let verdict = tone(outcome.verdict).paint(outcome.verdict.word(), colours);
        let message = print::harmless(&outcome.message);
        let between = if message.is_empty() { "" } else { ": " };
        return format!("{verdict}{between}{message}\n");
    }
    let rows = outcome.points.iter().map(|point| {
        let doubted = point.verdict == Verdict::Applied && point.quality == Quality::Uncertain;
        let message = if doubted { format!("uncertain: {}", point.message) } else { point.message.clone() };
        vec![
            Cell::text(&point.point),
            Cell::number(point.value.as_ref().map(human::value).unwrap_or_default()).tone(Tone::Strong),
            Cell::text(point.verdict.word()).tone(tone(point.verdict)),
            Cell::text(&message).tone(if doubted { Tone::Warn } else { Tone::Plain }),
        ]
    });
    let mut out = table(&["POINT", "VALUE", "RESULT", ""], rows.collect(), colours);
    let said = outcome.points.iter().any(|point| point.message == outcome.message);
    if !outcome.message.is_empty() && !said {
        out += &format!("{}\n", print::harmless(&outcome.message));
    }
    out
}

fn tone(verdict: Verdict) -> Tone {
    match verdict {
        Verdict::Applied => Tone::Good,
        Verdict::Differs | Verdict::Unknown => Tone::Warn,
        Verdict::Refused | Verdict::Expired => Tone::Bad,
    }
}
