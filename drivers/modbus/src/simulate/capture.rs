//! A capture of the wire (`sagoo-edge capture`) → requests with what was said to each. Pure.
//!
//! ```text
//! # sagoo-edge capture 1 modbus serial rtu 9600-8E1
//! 0.000000 > 01 03 00 00 00 0A C5 CD
//! 0.031250 < 01 03 14 …
//! ! 12 lost
//! ```
//! Always true: every line that is none is told with its number; a request whose answer may have been
//! lost by the recorder is left out, one that nobody answered is not.

use std::time::Duration;

use super::framing::{Cutter, Incoming, unframe};
use crate::connection::Framing;
use crate::wire::mbap;

/// How a capture begins.
pub(crate) const BEGINS: &str = "# sagoo-edge capture ";
const OURS: &str = "# sagoo-edge capture 1 modbus ";
const HINT: &str = "a line is like \"0.031250 < 01 03 02 00 07\"";

/// A capture, read.
#[derive(Debug, PartialEq)]
pub(crate) struct Capture {
    /// Of the recorded line.
    pub(crate) framing: Framing,
    /// In the order of the requests.
    pub(crate) exchanges: Vec<Exchange>,
}

/// A request and what was said to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exchange {
    pub(crate) unit: u8,
    pub(crate) pdu: Vec<u8>,
    /// Bytes as they came and when, counted from the request; none: nobody answered.
    pub(crate) parts: Vec<(Duration, Vec<u8>)>,
    /// The answer, where it can be read.
    pub(crate) answer: Option<Vec<u8>>,
}

/// One line.
enum Line {
    Sent(Duration, Vec<u8>),
    Came(Duration, Vec<u8>),
    Lost,
}

impl Capture {
    /// Reads the text; every mistake with its line.
    pub(crate) fn parse(name: &str, text: &str) -> Result<Self, Vec<String>> {
        let mut lines = text.lines().enumerate();
        let head = lines.next().map_or("", |(_, line)| line.trim_end());
        let Some(framing) = head.strip_prefix(OURS).and_then(framing_of) else {
            return Err(vec![format!(
                "{name}:1: {head:?} is not the first line of a capture of this driver; \
                 like \"{OURS}serial rtu 9600-8E1\""
            )]);
        };
        let mut wrong = Vec::new();
        let mut reader = Reader::new(framing);
        for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#')) {
            let told = match parse_line(line) {
                Ok(Line::Sent(at, bytes)) => reader.sent(at, &bytes),
                Ok(Line::Came(at, bytes)) => reader.came(at, &bytes),
                Ok(Line::Lost) => {
                    reader.lost();
                    Ok(())
                }
                Err(why) => Err(why),
            };
            wrong.extend(told.err().map(|why| format!("{name}:{}: {why}", number + 1)));
        }
        let exchanges = reader.end();
        if wrong.is_empty() && exchanges.is_empty() {
            wrong.push(format!("{name}: there is no whole request in this capture"));
        }
        if wrong.is_empty() { Ok(Self { framing, exchanges }) } else { Err(wrong) }
    }
}

/// `serial rtu 9600-8E1` → RTU.
fn framing_of(words: &str) -> Option<Framing> {
    let word = words.split_whitespace().nth(1)?;
    Framing::WORDS.iter().find(|(known, _)| *known == word).map(|(_, framing)| *framing)
}

fn parse_line(line: &str) -> Result<Line, String> {
    if line.starts_with('!') {
        return Ok(Line::Lost);
    }
    let mut words = line.split_whitespace();
    let seconds = words.next().and_then(|word| word.parse::<f64>().ok());
    let at = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let at = at.ok_or_else(|| format!("no time at the beginning; {HINT}"))?;
    let direction = words.next();
    let byte = |word: &str| {
        let is_byte = word.len() == 2 && word.bytes().all(|letter| letter.is_ascii_hexdigit());
        is_byte.then(|| u8::from_str_radix(word, 16).ok()).flatten()
    };
    let bytes: Option<Vec<u8>> = words.map(byte).collect();
    match (direction, bytes) {
        (_, None) => Err(format!("bytes are two hexadecimal digits each; {HINT}")),
        (_, Some(bytes)) if bytes.is_empty() => Err(format!("no bytes; {HINT}")),
        (Some(">"), Some(bytes)) => Ok(Line::Sent(at, bytes)),
        (Some("<"), Some(bytes)) => Ok(Line::Came(at, bytes)),
        _ => Err(format!("neither > nor < behind the time; {HINT}")),
    }
}

/// Puts transfers together.
struct Reader {
    framing: Framing,
    requests: Cutter,
    /// Of Modbus TCP.
    answers: mbap::Frames,
    /// What came since the last whole answer of Modbus TCP, and when.
    coming: Vec<(Duration, Vec<u8>)>,
    found: Vec<Found>,
    /// Where the exchanges begin that are still heard.
    heard_from: usize,
}

struct Found {
    request: Incoming,
    at: Duration,
    parts: Vec<(Duration, Vec<u8>)>,
    answer: Option<Vec<u8>>,
    is_whole: bool,
}

impl Reader {
    fn new(framing: Framing) -> Self {
        Self {
            framing,
            requests: Cutter::new(framing),
            answers: mbap::Frames::default(),
            coming: Vec::new(),
            found: Vec::new(),
            heard_from: 0,
        }
    }

    fn sent(&mut self, at: Duration, bytes: &[u8]) -> Result<(), String> {
        self.requests.push(bytes);
        loop {
            match self.requests.next() {
                Ok(Some(request)) => {
                    let parts = Vec::new();
                    self.found.push(Found { request, at, parts, answer: None, is_whole: true });
                }
                Ok(None) => return Ok(()),
                Err(_) => {
                    self.requests = Cutter::new(self.framing);
                    return Err("what was sent is not Modbus TCP".to_owned());
                }
            }
        }
    }

    fn came(&mut self, at: Duration, bytes: &[u8]) -> Result<(), String> {
        if self.framing != Framing::Tcp {
            // One conversation at a time: it is said to the last request.
            if let Some(last) = self.found[self.heard_from..].last_mut() {
                last.parts.push((at.saturating_sub(last.at), bytes.to_vec()));
            }
            return Ok(());
        }
        self.answers.push(bytes);
        self.coming.push((at, bytes.to_vec()));
        loop {
            match self.answers.next() {
                Ok(Some(frame)) => self.answered(&frame),
                Ok(None) => return Ok(()),
                Err(_) => {
                    self.answers.clear();
                    self.coming.clear();
                    return Err("what came is not Modbus TCP".to_owned());
                }
            }
        }
    }

    /// A whole answer of Modbus TCP: its bytes are taken from those that came.
    fn answered(&mut self, frame: &mbap::Frame) {
        let mut left = frame.pdu.len() + 7;
        let mut parts = Vec::new();
        while left > 0 && !self.coming.is_empty() {
            let (at, bytes) = &mut self.coming[0];
            let rest = bytes.split_off(left.min(bytes.len()));
            left -= bytes.len();
            parts.push((*at, std::mem::replace(bytes, rest)));
            if self.coming[0].1.is_empty() {
                self.coming.remove(0);
            }
        }
        let asked = self.found[self.heard_from..].iter_mut().rev().find(|found| {
            found.answer.is_none()
                && (found.request.transaction, found.request.unit) == (frame.transaction, frame.unit)
        });
        // What answers nothing that was asked is left out.
        let Some(asked) = asked else { return };
        asked.parts = parts.into_iter().map(|(at, bytes)| (at.saturating_sub(asked.at), bytes)).collect();
        asked.answer = Some(frame.pdu.clone());
    }

    /// Transfers are missing here: nobody knows what they said to the requests without an answer.
    fn lost(&mut self) {
        let open = &mut self.found[self.heard_from..];
        if self.framing == Framing::Tcp {
            open.iter_mut().for_each(|found| found.is_whole = found.answer.is_some());
        } else if let Some(last) = open.last_mut() {
            last.is_whole = false;
        }
        self.heard_from = self.found.len();
        self.requests = Cutter::new(self.framing);
        self.answers.clear();
        self.coming.clear();
    }

    fn end(self) -> Vec<Exchange> {
        let framing = self.framing;
        let exchange = |mut found: Found| {
            let unit = found.request.unit;
            if framing != Framing::Tcp {
                let own = super::framing::frame(framing, &found.request, &found.request.pdu);
                without_echo(&mut found.parts, &own);
                let said: Vec<u8> = found.parts.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
                let answer = unframe(framing, &said).filter(|(said_by, _)| *said_by == unit);
                found.answer = answer.map(|(_, pdu)| pdu);
            }
            Exchange { unit, pdu: found.request.pdu, parts: found.parts, answer: found.answer }
        };
        self.found.into_iter().filter(|found| found.is_whole).map(exchange).collect()
    }
}

/// On many two-wire lines what is sent comes back first.
fn without_echo(parts: &mut Vec<(Duration, Vec<u8>)>, own: &[u8]) {
    let said: Vec<u8> = parts.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
    // A write is answered with the same bytes: only what comes behind them makes them an echo.
    if !said.starts_with(own) || said.len() == own.len() {
        return;
    }
    let mut left = own.len();
    for (_, bytes) in parts.iter_mut() {
        let gone = left.min(bytes.len());
        bytes.drain(..gone);
        left -= gone;
    }
    parts.retain(|(_, bytes)| !bytes.is_empty());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn what_was_said_belongs_to_its_request() {
        let text = "# sagoo-edge capture 1 modbus serial rtu 9600-8E1\n\
            0.000000 > 01 03 00 00 00 01 84 0A\n0.020000 < 01 03 02\n0.025000 < 00 07 F9 86\n\
            1.000000 > 02 03 00 00 00 01 84 39\n2.000000 > 01 03 00 00 00 01 84 0A\n\
            2.001000 < 01 03 00 00 00 01 84 0A\n2.020000 < 01 83 02 C0 F1\n";
        let capture = Capture::parse("c", text).unwrap();
        let read = vec![3, 0, 0, 0, 1];
        assert_eq!(
            capture.exchanges,
            [
                Exchange {
                    unit: 1,
                    pdu: read.clone(),
                    parts: vec![(ms(20), vec![1, 3, 2]), (ms(25), vec![0, 7, 0xF9, 0x86])],
                    answer: Some(vec![3, 2, 0, 7]),
                },
                Exchange { unit: 2, pdu: read.clone(), parts: vec![], answer: None },
                Exchange {
                    unit: 1,
                    pdu: read,
                    parts: vec![(ms(20), vec![1, 0x83, 2, 0xC0, 0xF1])],
                    answer: Some(vec![0x83, 2]),
                },
            ]
        );
    }

    #[test]
    fn several_requests_in_flight_find_their_own_answers() {
        let text = "# sagoo-edge capture 1 modbus tcp tcp\n\
            0.000000 > 00 01 00 00 00 06 01 03 00 00 00 01\n0.001000 > 00 02 00 00 00 06 01 03 00 05 00 01\n\
            0.010000 < 00 02 00 00 00 05 01 03 02 00 05 00 01 00 00 00\n0.012000 < 05 01 03 02 00 09\n";
        let capture = Capture::parse("c", text).unwrap();
        let answers: Vec<_> = capture.exchanges.iter().map(|exchange| exchange.answer.clone()).collect();
        assert_eq!(answers, [Some(vec![3, 2, 0, 9]), Some(vec![3, 2, 0, 5])]);
        assert_eq!(
            capture.exchanges[0].parts.iter().map(|(at, _)| *at).collect::<Vec<_>>(),
            [ms(10), ms(12)]
        );
    }

    #[test]
    fn a_request_whose_answer_the_recorder_lost_is_left_out() {
        let text = "# sagoo-edge capture 1 modbus tcp rtu\n\
            0.0 > 02 03 00 00 00 01 84 39\n1.0 > 01 03 00 00 00 01 84 0A\n! 12 lost\n\
            1.5 < 01 03 02 00 07 F9 86\n2.0 > 02 03 00 00 00 01 84 39\n";
        let capture = Capture::parse("c", text).unwrap();
        let kept: Vec<_> =
            capture.exchanges.iter().map(|exchange| (exchange.unit, exchange.parts.len())).collect();
        assert_eq!(kept, [(2, 0), (2, 0)]);
    }

    #[test]
    fn every_wrong_line_is_told() {
        let head = "# sagoo-edge capture 1 modbus serial rtu 9600-8E1\n";
        let told = Capture::parse("c", &format!("{head}x > 01\n0.1 ? 01\n0.2 > 1\n0.3 <\n\n")).unwrap_err();
        let lines: Vec<&str> = told.iter().filter_map(|line| line.split("; ").next()).collect();
        assert_eq!(
            lines,
            [
                "c:2: no time at the beginning",
                "c:3: neither > nor < behind the time",
                "c:4: bytes are two hexadecimal digits each",
                "c:5: no bytes"
            ]
        );
        assert!(Capture::parse("c", "# sagoo-edge capture 1 opc x y\n").unwrap_err()[0].starts_with("c:1: "));
        assert!(Capture::parse("c", head).unwrap_err()[0].contains("no whole request"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_capture_or_a_mistake(text in "([0-9]\\.[0-9]{1,3} [<>] ([0-9A-F]{2} ?){0,9}\n|! 3 lost\n|\\PC{0,9}\n){0,20}") {
            for words in ["tcp tcp", "serial rtu 9600-8E1", "listen ascii"] {
                let _ = Capture::parse("c", &format!("{OURS}{words}\n{text}"));
            }
        }
    }
}
