//! The arguments of `simulate` → what is wanted, which cannot be wrong.
//!
//! Always true: every mistake is told, with the argument it is in.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use sagoo_driver_sdk::did_you_mean;

use super::memory::Gaps;
use super::replay::Unrecorded;
use super::timing::Timing;
use crate::cli::{Flag, Words};
use crate::connection::Framing;
use crate::connection::serial::Mode;
use crate::settings::parse_duration;

pub(crate) const FLAGS: &[Flag] = &[
    Flag::one("--listen", "ADDRESS:PORT"),
    Flag::one("--serial", "PORT"),
    Flag::one("--framing", "tcp|rtu|ascii"),
    Flag::switch("--line-rate"),
    Flag::one("--mode", "9600-8E1"),
    Flag::one("--turnaround", "5ms"),
    Flag::many("--unit", "N"),
    Flag::one("--model", "NAME"),
    Flag::one("--connection", "NAME"),
    Flag::one("--values", "FILE"),
    Flag::one("--gaps", "refused|zero"),
    Flag::one("--unrecorded", "refused|silent"),
    Flag::switch("--json"),
];
const DEFAULT_LISTEN: &str = "127.0.0.1:0";
const DEFAULT_MODE: &str = "9600-8E1";

/// What is wanted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Options {
    pub(crate) files: Vec<PathBuf>,
    pub(crate) listen: SocketAddr,
    /// A port of this machine and its mode, instead of `listen`.
    pub(crate) serial: Option<(String, Mode)>,
    /// None: that of the capture, else RTU on a serial port and Modbus TCP elsewhere.
    pub(crate) framing: Option<Framing>,
    pub(crate) timing: Timing,
    /// None: as the file has them.
    pub(crate) units: Vec<u8>,
    pub(crate) model: Option<String>,
    pub(crate) connection: Option<String>,
    pub(crate) values: Option<PathBuf>,
    pub(crate) gaps: Gaps,
    pub(crate) unrecorded: Unrecorded,
    pub(crate) json: bool,
}

impl Options {
    /// Reads them.
    pub(crate) fn read(words: &Words) -> Result<Self, Vec<String>> {
        let mut wrong = Vec::new();
        if words.plain.is_empty() {
            wrong.push("no file: which model, site or capture is to be served?".to_owned());
        }
        let listen = words.value("--listen").unwrap_or(DEFAULT_LISTEN);
        let listen = resolve(listen).unwrap_or_else(|why| {
            wrong.push(why);
            SocketAddr::from(([127, 0, 0, 1], 0))
        });
        let framing = one_of(words, "--framing", &Framing::WORDS, &mut wrong);
        let (serial, timing) = read_line(words, framing, &mut wrong);
        let gaps = one_of(words, "--gaps", &[("refused", Gaps::Refused), ("zero", Gaps::Zero)], &mut wrong);
        let unrecorded = [("refused", Unrecorded::Refused), ("silent", Unrecorded::Silent)];
        let unrecorded = one_of(words, "--unrecorded", &unrecorded, &mut wrong);
        let mut units = Vec::new();
        for text in words.values("--unit") {
            match parse_units(text) {
                Ok(more) => units.extend(more),
                Err(why) => wrong.push(why),
            }
        }
        units.sort_unstable();
        units.dedup();
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let text = |name| words.value(name).map(str::to_owned);
        Ok(Self {
            files: words.plain.iter().map(PathBuf::from).collect(),
            listen,
            serial,
            framing,
            timing,
            units,
            model: text("--model"),
            connection: text("--connection"),
            values: words.value("--values").map(PathBuf::from),
            gaps: gaps.unwrap_or(Gaps::Refused),
            unrecorded: unrecorded.unwrap_or(Unrecorded::Refused),
            json: words.has("--json"),
        })
    }
}

/// The serial port, and how long everything takes.
fn read_line(
    words: &Words,
    framing: Option<Framing>,
    wrong: &mut Vec<String>,
) -> (Option<(String, Mode)>, Timing) {
    let text = words.value("--mode").unwrap_or(DEFAULT_MODE);
    let mode = Mode::parse(text);
    if mode.is_none() {
        wrong.push(format!(
            "--mode {text}: not a mode; like 9600-8E1: baud rate, data bits, parity, stop bits"
        ));
    }
    let (port, has_rate) = (words.value("--serial"), words.has("--line-rate"));
    if words.has("--mode") && port.is_none() && !has_rate {
        wrong.push("--mode without --serial and --line-rate: which line has this mode?".to_owned());
    }
    if port.is_some() && words.has("--listen") {
        wrong.push("--serial and --listen: one line is served at a time".to_owned());
    }
    if port.is_some() && framing == Some(Framing::Tcp) {
        wrong.push("--framing tcp on a serial line; rtu or ascii".to_owned());
    }
    let turnaround = words.value("--turnaround").map_or(Some(Duration::ZERO), parse_duration);
    if turnaround.is_none() {
        wrong.push("--turnaround: not a duration; like 5ms, 1s".to_owned());
    }
    let timing = Timing { rate: mode.filter(|_| has_rate), turnaround: turnaround.unwrap_or_default() };
    (port.map(str::to_owned).zip(mode), timing)
}

fn resolve(text: &str) -> Result<SocketAddr, String> {
    let found = text.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
    found.ok_or_else(|| {
        format!("--listen {text}: not an address with a port; like 127.0.0.1:1502, port 0 takes a free one")
    })
}

fn one_of<T: Copy>(words: &Words, flag: &str, known: &[(&str, T)], wrong: &mut Vec<String>) -> Option<T> {
    let text = words.value(flag)?;
    let found = known.iter().find(|(word, _)| *word == text);
    if found.is_none() {
        let names = known.iter().map(|(word, _)| *word);
        let hint = did_you_mean(text, names.clone())
            .unwrap_or_else(|| format!("known here: {}", names.collect::<Vec<_>>().join(", ")));
        wrong.push(format!("{flag} {text}: there is no such thing; {hint}"));
    }
    found.map(|(_, value)| *value)
}

/// `7`, `1-10` or `1,2,5-9`.
fn parse_units(text: &str) -> Result<Vec<u8>, String> {
    let wrong = || format!("--unit {text}: not a unit; like 7, 1-10 or 1,2,5-9, each 0 to 255");
    let mut units = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<u8>().map_err(|_| wrong());
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(wrong());
        }
        units.extend(first..=last);
    }
    Ok(units)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(typed: &[&str]) -> Result<Options, Vec<String>> {
        let typed: Vec<String> = typed.iter().map(|word| (*word).to_owned()).collect();
        Options::read(&Words::parse(&typed, FLAGS).unwrap())
    }

    #[test]
    fn what_is_wanted_is_read() {
        let options = read(&["a.toml", "--unit", "3,1-2", "--unit", "2"]).unwrap();
        assert_eq!((options.units, options.listen.port(), options.json), (vec![1, 2, 3], 0, false));
    }

    #[test]
    fn every_mistake_is_told() {
        let wrong =
            read(&["--listen", "here", "--unit", "5-1", "--unit", "300", "--gaps", "zreo"]).unwrap_err();
        let begins = [
            "no file",
            "--listen here: not an address",
            "--gaps zreo: there is no such thing; did you",
            "--unit 5-1: ",
            "--unit 300: ",
        ];
        assert_eq!(wrong.len(), begins.len(), "{wrong:?}");
        for (line, begin) in wrong.iter().zip(begins) {
            assert!(line.starts_with(begin), "{line}");
        }
    }
}
