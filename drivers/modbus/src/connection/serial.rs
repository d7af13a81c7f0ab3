//! Ports of this machine: their modes and RS-485.
//!
//! Always true: a mode names all of it, `9600-8E1`; nothing is left to what the port was used for before.

use std::fmt;
use std::time::Duration;

use serde_json::Value as Json;

use crate::settings::{Path, Report, Settings, suggest};

/// Keys of `serial`.
pub(crate) const SERIAL_KEYS: &[&str] = &["port", "mode", "rs485", "echo"];
/// Keys of `rs485`.
pub(crate) const RS485_KEYS: &[&str] = &["rts", "before", "after"];

const MODE_HINT: &str = "baud rate, data bits, parity and stop bits: \"9600-8E1\", \"19200-8N1\"";
const BAUD: std::ops::RangeInclusive<u32> = 300..=4_000_000;
const LONGEST_DELAY: Duration = Duration::from_millis(100);

/// A port, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Serial {
    pub(crate) port: String,
    pub(crate) mode: Mode,
    pub(crate) rs485: Option<Rs485>,
    /// Whether what we send comes back; `None`: found out.
    pub(crate) echo: Option<bool>,
}

/// How a byte is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mode {
    pub(crate) baud: u32,
    pub(crate) data_bits: u8,
    pub(crate) parity: Parity,
    pub(crate) stop_bits: u8,
}

/// The bit that guards a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parity {
    None,
    Even,
    Odd,
}

impl Mode {
    /// `9600-8E1`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (baud, rest) = text.trim().split_once('-')?;
        let baud = baud.parse().ok().filter(|baud| BAUD.contains(baud))?;
        let [data, parity, stop] = rest.as_bytes() else { return None };
        let data_bits = match data {
            b'7' | b'8' => data - b'0',
            _ => return None,
        };
        let parity = match parity.to_ascii_uppercase() {
            b'N' => Parity::None,
            b'E' => Parity::Even,
            b'O' => Parity::Odd,
            _ => return None,
        };
        let stop_bits = match stop {
            b'1' | b'2' => stop - b'0',
            _ => return None,
        };
        Some(Self { baud, data_bits, parity, stop_bits })
    }

    /// Bits of one character on the wire, with start, parity and stop.
    pub(crate) fn character_bits(self) -> u32 {
        1 + u32::from(self.data_bits) + u32::from(self.parity != Parity::None) + u32::from(self.stop_bits)
    }

    /// How long this many characters take.
    pub(crate) fn time_of(self, characters: usize) -> Duration {
        let bits = characters as u64 * u64::from(self.character_bits());
        Duration::from_nanos(bits.saturating_mul(1_000_000_000) / u64::from(self.baud))
    }

    /// The silence that ends a frame: 3.5 characters, and never less than 1.75 ms above 19 200 baud
    /// (Modbus over Serial Line V1.02, 2.5.1.1).
    pub(crate) fn silence(self) -> Duration {
        if self.baud > 19_200 { Duration::from_micros(1_750) } else { self.time_of(7) / 2 }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parity = match self.parity {
            Parity::None => 'N',
            Parity::Even => 'E',
            Parity::Odd => 'O',
        };
        write!(f, "{}-{}{parity}{}", self.baud, self.data_bits, self.stop_bits)
    }
}

/// Who turns a two-wire line around.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rs485 {
    pub(crate) rts: Rts,
    /// RTS before the first byte.
    pub(crate) before: Duration,
    /// RTS after the last byte.
    pub(crate) after: Duration,
}

/// What RTS does while we send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rts {
    /// The kernel's driver of the port switches it.
    Kernel,
    /// We set it while sending.
    Up,
    /// We clear it while sending.
    Down,
}

impl Rts {
    const WORDS: [(&'static str, Self); 3] =
        [("kernel", Self::Kernel), ("up", Self::Up), ("down", Self::Down)];
}

/// `serial = { port = "/dev/…", mode = "9600-8E1" }`.
pub(super) fn read_serial(value: &Json, place: Path, report: &mut Report) -> Option<Serial> {
    let settings = Settings::open(value, place, SERIAL_KEYS, &[], report)?;
    for (key, hint) in [
        ("port", "port = \"/dev/serial/by-path/…\", which stays the same when it is replugged"),
        ("mode", MODE_HINT),
    ] {
        if settings.get(key).is_none() && !settings.misspelt(key) {
            report.error(settings.path().to_vec(), format!("{key} is missing"), hint);
        }
    }
    let port = settings.text("port", report).and_then(|port| {
        let well = port.starts_with('/') && port.len() > 1;
        if !well {
            let hint = "the whole path, like \"/dev/ttyS1\" or \"/dev/serial/by-path/…\"";
            settings.error("port", report, format!("{port:?} is no path of a port"), hint);
        }
        if port.starts_with("/dev/ttyUSB") || port.starts_with("/dev/ttyACM") {
            let hint = format!("ls -l /dev/serial/by-path shows the one of {port}");
            let message = format!("{port} may be another adapter after a restart or a replug");
            report.warning(settings.path_of("port"), message, hint);
        }
        well.then(|| port.to_owned())
    });
    let mode = settings.text("mode", report).and_then(|text| {
        let mode = Mode::parse(text);
        if mode.is_none() {
            settings.error("mode", report, format!("{text:?} is no mode of a serial line"), MODE_HINT);
        }
        mode
    });
    let before = report.errors();
    let rs485 = settings.get("rs485").and_then(|value| read_rs485(value, settings.path_of("rs485"), report));
    let echo = settings.flag("echo", report);
    (report.errors() == before).then_some(())?;
    Some(Serial { port: port?, mode: mode?, rs485, echo })
}

fn read_rs485(value: &Json, place: Path, report: &mut Report) -> Option<Rs485> {
    let settings = Settings::open(value, place, RS485_KEYS, &[], report)?;
    let words = Rts::WORDS.map(|(word, _)| word);
    if settings.get("rts").is_none() && !settings.misspelt("rts") {
        let hint = "rts = \"kernel\", or \"up\" or \"down\" while sending";
        report.error(settings.path().to_vec(), "rts is missing: who turns the line around?", hint);
    }
    let word = settings.text("rts", report);
    let rts = word.and_then(|word| Rts::WORDS.iter().find(|(known, _)| *known == word));
    if let (Some(word), None) = (word, rts) {
        settings.error("rts", report, format!("{word:?} is no way to use RTS"), suggest(word, &words));
    }
    let delays = Duration::ZERO..=LONGEST_DELAY;
    let before = settings.duration("before", delays.clone(), report).unwrap_or_default();
    let after = settings.duration("after", delays, report).unwrap_or_default();
    Some(Rs485 { rts: rts?.1, before, after })
}
