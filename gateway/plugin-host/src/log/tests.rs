//! The table of recorded lines in `tests/host/lines`, and what holds for any bytes.
//!
//! A case is a folder: `stderr.txt` holds what the plugin wrote, `expected.txt` one event per line,
//! `LEVEL message`, with its fields on an indented line of their own. In both, `<<1b 00>>` stands
//! for bytes in hex and `<<x * 70000>>` for a repeated text. Adding a case needs no code.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use tracing::field::{Field, Visit};
use tracing::span;
use tracing::{Event, Metadata, Subscriber};

use super::*;
use crate::pipe::MAX_LINE_BYTES;

/// What `tracing` got: target, level and text of each event.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<(String, Level, String)>>>);

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let mut seen = self.0.lock().unwrap();
        let (_, _, text) = seen.last_mut().unwrap();
        match field.name() {
            "message" => *text = format!("{value:?}{text}"),
            name => *text = format!("{text} {name}={value:?}"),
        }
    }
}

impl Subscriber for Seen {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        let meta = event.metadata();
        self.0.lock().unwrap().push((meta.target().to_owned(), *meta.level(), String::new()));
        event.record(&mut self.clone());
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// Every event of what `says` does.
fn seen(says: impl FnOnce()) -> Vec<(String, Level, String)> {
    let seen = Seen::default();
    tracing::subscriber::with_default(seen.clone(), says);
    Arc::try_unwrap(seen.0).unwrap().into_inner().unwrap()
}

fn events_of(stderr: &[u8]) -> Vec<(String, Level, String)> {
    seen(|| {
        let (mut log, _) = Stderr::new("d".into());
        log.push(stderr);
        log.finish();
    })
}

/// Bytes behind the notation of a case.
fn expanded(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("<<") {
        out.extend_from_slice(before.as_bytes());
        let (note, after) = after.split_once(">>").expect("<< has its >>");
        match note.split_once(" * ") {
            Some((what, times)) => out.extend(what.repeat(times.parse().expect("a number")).into_bytes()),
            None => {
                out.extend(note.split(' ').map(|byte| u8::from_str_radix(byte, 16).expect("bytes in hex")));
            }
        }
        rest = after;
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/host/lines")
}

/// In the way `expected.txt` is written.
fn understood(stderr: &[u8]) -> String {
    let mut lines = Lines::default();
    let mut reader = Reader::default();
    let mut out = String::new();
    let mut each = |piece: Piece<'_>| {
        let entry = reader.read(&piece);
        out.push_str(format!("{} {}", entry.level, entry.message).trim_end());
        out.push('\n');
        if !entry.fields.is_empty() {
            out.push_str(&format!("    {}\n", entry.fields));
        }
    };
    lines.push(stderr, &mut each);
    lines.finish(&mut each);
    out
}

#[test]
fn every_recorded_line_gets_its_level_message_and_fields() {
    let mut cases: Vec<PathBuf> = fs::read_dir(folder()).unwrap().map(|case| case.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 20, "the table is gone");
    for case in cases {
        let read = |name: &str| {
            let path = case.join(name);
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let expected = String::from_utf8(expanded(&read("expected.txt"))).unwrap();
        let found = understood(&expanded(&read("stderr.txt")));
        assert!(
            found == expected,
            "{}:\nfound\n{}\nexpected\n{}",
            case.display(),
            shortened(&found),
            shortened(&expected)
        );
    }
}

fn shortened(text: &str) -> String {
    let cut = |line: &str| match line.char_indices().nth(300) {
        Some((end, _)) => format!("{} … ({} bytes)", &line[..end], line.len()),
        None => line.to_owned(),
    };
    text.lines().map(cut).collect::<Vec<_>>().join("\n")
}

#[test]
fn an_event_carries_driver_message_and_fields() {
    let line = br#"{"@level":"warn","@message":"slow","ms":7}"#;
    let event = |level, text: &str| (DRIVER.to_owned(), level, text.to_owned());
    assert_eq!(events_of(line), [event(Level::WARN, r#"slow ms=7 driver="d""#)]);
    assert_eq!(events_of(b"panic: oh\n"), [event(Level::ERROR, r#"panic: oh driver="d""#)]);
    let printed = seen(|| {
        let mut printed = Printed::new("d".into(), "stdout");
        printed.push(b"hal");
        printed.push(b"f\nrest");
        printed.finish();
    });
    let expected = ["half", "rest"].map(|text| format!(r#"{text} driver="d" stream="stdout""#));
    assert_eq!(printed, expected.map(|text| event(Level::DEBUG, &text)));
}

#[test]
fn the_last_lines_are_kept_short_and_readable() {
    let (mut stderr, last) = Stderr::new("d".into());
    for n in 0..LAST_LINES + 3 {
        stderr.push(format!("line {n}\n").as_bytes());
    }
    stderr.push(br#"{"@level":"error","@message":"cannot open","path":"/dev/ttyUSB0"}"#);
    stderr.push(b"\n");
    stderr.push("é".repeat(KEPT_CHARS + 1).as_bytes());
    stderr.finish();
    let last = last.borrow();
    assert_eq!(last.len(), LAST_LINES);
    assert_eq!(last[0], "line 5");
    assert_eq!(last[LAST_LINES - 2], "cannot open path=/dev/ttyUSB0");
    assert_eq!(last[LAST_LINES - 1], "é".repeat(KEPT_CHARS));
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_says_too_much_is_cut_short_and_the_log_says_by_how_much() {
    let (mut stderr, last) = Stderr::new("d".into());
    let line = vec![b'x'; 1023 - allowance::PER_LINE];
    let granted = allowance::BYTES_PER_WINDOW / 1023 + 1;
    let mut says = |lines: usize| {
        for _ in 0..lines {
            stderr.push(&line);
            stderr.push(b"\n");
        }
    };
    assert_eq!(seen(|| says(granted + 500)).len(), granted);
    tokio::time::advance(allowance::WINDOW).await;
    let next = seen(|| says(1));
    assert_eq!(next.len(), 2);
    assert_eq!(next[0].1, Level::WARN);
    assert!(next[0].2.contains("lines=500"), "{:?}", next[0]);
    assert_eq!(seen(|| says(granted + 4)).len(), granted - 1);
    let unheard = seen(|| {
        stderr.push(b"the last words\n");
    });
    assert_eq!(unheard, []);
    assert_eq!(last.borrow().back().unwrap(), "the last words", "kept although not logged");
    assert!(seen(|| stderr.finish())[0].2.contains("lines=6"));
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces_are_one_event_per_line(
        text in prop::collection::vec(any_line(), 0..8),
        pieces in prop::collection::vec(1usize..60, 1..40),
    ) {
        let bytes = text.join(&b"\n"[..]);
        let whole = events_of(&bytes);
        let ended = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let lines = if bytes.is_empty() { 0 } else { ended.split(|byte| *byte == b'\n').count() };
        prop_assert_eq!(whole.len(), lines);
        prop_assert!(whole.iter().all(|(target, _, text)| target == DRIVER && !text.contains(is_harmful)));
        let cut = seen(|| {
            let (mut log, _) = Stderr::new("d".into());
            let mut rest = &bytes[..];
            for at in pieces.iter().cycle() {
                let (now, later) = rest.split_at((*at).min(rest.len()));
                log.push(now);
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            log.finish();
        });
        prop_assert_eq!(cut, whole);
    }

    #[test]
    fn a_line_without_an_end_is_held_in_bounded_memory(pieces in prop::collection::vec(1usize..200_000, 1..12)) {
        let mut lines = Lines::default();
        let mut longest = 0;
        let block = vec![b'x'; 200_000];
        for piece in &pieces {
            lines.push(&block[..*piece], |piece| {
                longest = longest.max(piece.bytes().len());
            });
            prop_assert!(lines.held() <= 2 * MAX_LINE_BYTES);
        }
        prop_assert!(longest <= MAX_LINE_BYTES);
    }
}

/// Lines of all kinds, and of no kind.
fn any_line() -> impl Strategy<Value = Vec<u8>> {
    let json = (
        prop_oneof![Just("\"@level\""), Just("\"a\"")],
        "(\"(info|warn|off|ERROR )\"|3|null|\\[\\])",
        prop_oneof![Just("\"@message\""), Just("\"b\"")],
        prop_oneof!["\"[\\PC&&[^\"\\\\]]{0,9}\"", "-?[0-9]{1,30}(e[0-9]{1,4})?", "[\\[\\]{}\":,a]{0,12}"],
    )
        .prop_map(|(k1, v1, k2, v2)| format!("{{{k1}:{v1},{k2}:{v2}}}").into_bytes());
    let marked = "(\\[(TRACE|DEBUG|INFO|WARN|ERROR)\\] |panic: |thread 'x' panicked at |note: )?[\\PC]{0,20}";
    prop_oneof![
        json,
        marked.prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>().prop_filter("one line", |b| *b != b'\n'), 0..40),
    ]
}
