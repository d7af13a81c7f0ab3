//! `sagoo-edge deadletter`: rows the platform never answered, listed, shown, sent again or dropped.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use serde_json::json;

use super::human::{age, bytes, count};
use super::print::{self, Tone, harmless};
use super::table::{Cell, table};
use super::typed::Gateway;
use crate::control::message::{Reply, Request};
use crate::status::letters::{Shown, What};

/// `deadletter`
#[derive(Debug, Args)]
pub struct DeadletterArgs {
    /// What to do with them.
    #[arg(value_enum, default_value_t = Typed::List)]
    what: Typed,
    /// With which, as the list shows them; the list itself needs none.
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// With all of them.
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    #[command(flatten)]
    gateway: Gateway,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Typed {
    /// What is known of them.
    List,
    /// The messages, byte for byte.
    Show,
    /// Try them again; needs an ID or --all.
    Send,
    /// Forget them; needs an ID or --all.
    Drop,
}

/// Asks and shows.
pub async fn deadletter(args: &DeadletterArgs) -> ExitCode {
    let as_json = args.gateway.json;
    let what = match args.what {
        Typed::List => What::List,
        Typed::Show => What::Show,
        Typed::Send => What::Send,
        Typed::Drop => What::Drop,
    };
    let all = args.all || what == What::List;
    if args.ids.is_empty() && !all {
        return print::failure("which? Name ids, or say --all; `sagoo-edge deadletter` lists them", as_json);
    }
    let ids = (!args.ids.is_empty()).then(|| args.ids.clone());
    let letters = match args.gateway.ask(&Request::Deadletter { what, ids }).await {
        Ok(Reply::Deadletters { letters }) => letters,
        Ok(_) => return print::failure(print::ANOTHER_VERSION, as_json),
        Err(error) => return print::failure(&error, as_json),
    };
    let done = letters.iter().all(|letter| letter.error.is_none());
    match as_json {
        true => print::json(&json!({ "letters": letters }), done),
        false => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
            print::out(&text(what, &letters, now, print::colours()), done)
        }
    }
}

pub(super) fn text(what: What, letters: &[Shown], now_ms: i64, colours: bool) -> String {
    if letters.is_empty() {
        return "no dead letters\n".to_owned();
    }
    match what {
        What::List => list(letters, now_ms, colours),
        What::Show | What::Send | What::Drop => {
            letters.iter().map(|letter| one(what, letter, colours)).collect()
        }
    }
}

fn list(letters: &[Shown], now_ms: i64, colours: bool) -> String {
    let rows = letters.iter().map(|letter| {
        let since = age(u64::try_from(now_ms.saturating_sub(letter.since_ms)).unwrap_or(0));
        let why = match (&letter.error, letter.tries) {
            (Some(error), _) => Cell::text(error).tone(Tone::Bad),
            (None, 0) => Cell::text("too large for one message"),
            (None, tries) => Cell::text(format!("not answered {tries} times")),
        };
        let state =
            if letter.sending { Cell::text("to be sent").tone(Tone::Warn) } else { Cell::text("kept") };
        vec![
            Cell::text(&letter.id),
            Cell::text(&letter.device),
            Cell::number(count(letter.samples.into())),
            Cell::number(bytes(letter.bytes)),
            Cell::number(since),
            state,
            why,
        ]
    });
    table(&["ID", "DEVICE", "SAMPLES", "SIZE", "AGE", "STATE", ""], rows.collect(), colours)
}

fn one(what: What, letter: &Shown, colours: bool) -> String {
    let id = Tone::Strong.paint(&harmless(&letter.id), colours);
    if let Some(error) = &letter.error {
        return format!("{id}  {}\n", Tone::Bad.paint(&harmless(error), colours));
    }
    match what {
        What::Send => {
            format!("{id}  is sent as soon as the platform answers for {}\n", harmless(&letter.device))
        }
        What::Drop => format!("{id}  is dropped with its {} samples\n", count(letter.samples.into())),
        What::Show | What::List => {
            let message = letter.message.as_deref().unwrap_or_default();
            format!("{id}  {}\n{}\n", harmless(&letter.topic), harmless(message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter() -> Shown {
        Shown {
            id: "gw-7-0".to_owned(),
            device: "meter-3a".to_owned(),
            topic: "/sys/p/d/thing/event/property/pack/post".to_owned(),
            samples: 3,
            bytes: 1_536,
            tries: 3,
            since_ms: 1_000,
            message: Some("{\"id\":\"gw-7-0\"}".to_owned()),
            ..Shown::default()
        }
    }

    #[test]
    fn a_letter_is_listed_with_its_age_and_why_it_is_there() {
        let too_large = Shown { id: "gw-8-0".into(), tries: 0, sending: true, ..letter() };
        assert_eq!(
            text(What::List, &[letter(), too_large], 61_000, false),
            "ID      DEVICE    SAMPLES     SIZE        AGE  STATE\n\
             gw-7-0  meter-3a        3  1.5 KiB  1 min 0 s  kept        not answered 3 times\n\
             gw-8-0  meter-3a        3  1.5 KiB  1 min 0 s  to be sent  too large for one message\n"
        );
        assert!(text(What::List, &[], 0, false).starts_with("no dead letters"));
    }

    #[test]
    fn what_was_asked_for_is_answered_letter_by_letter() {
        let missing =
            Shown { id: "x".into(), error: Some("there is no such dead letter".into()), ..Shown::default() };
        assert_eq!(
            text(What::Drop, &[letter(), missing], 0, false),
            "gw-7-0  is dropped with its 3 samples\nx  there is no such dead letter\n"
        );
        assert!(text(What::Show, &[letter()], 0, false).ends_with("pack/post\n{\"id\":\"gw-7-0\"}\n"));
    }
}
