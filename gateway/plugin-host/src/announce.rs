//! Stdout: the first line is the handshake, all later ones are talk.

use std::mem;

use tokio::sync::oneshot;

use crate::log::Printed;
use crate::pipe::MAX_LINE_BYTES;

/// The first line, or nothing if it is longer than any handshake.
pub(crate) type FirstLine = Option<String>;

/// Takes a plugin's stdout in any pieces. When dropped before the first line, the receiver sees that.
#[derive(Debug)]
pub(crate) struct Stdout {
    first: Option<oneshot::Sender<FirstLine>>,
    /// The beginning of the first line.
    held: Vec<u8>,
    later: Printed,
}

impl Stdout {
    pub(crate) fn new(driver: String) -> (Self, oneshot::Receiver<FirstLine>) {
        let (first, receiver) = oneshot::channel();
        (Self { first: Some(first), held: Vec::new(), later: Printed::new(driver, "stdout") }, receiver)
    }

    /// Of a plugin whose handshake somebody else has read.
    pub(crate) fn after_the_first_line(driver: String) -> Self {
        Self { first: None, held: Vec::new(), later: Printed::new(driver, "stdout") }
    }

    /// Gives back what comes after the first line.
    pub(crate) fn push<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let later = if self.first.is_some() { self.push_first(bytes) } else { bytes };
        self.later.push(later);
        later
    }

    fn push_first<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let end = bytes.iter().position(|&byte| byte == b'\n');
        let (line, later) = bytes.split_at(end.unwrap_or(bytes.len()));
        if self.held.len() + line.len() > MAX_LINE_BYTES {
            self.held = Vec::new();
            self.announce(None);
            return later;
        }
        self.held.extend_from_slice(line);
        if end.is_some() {
            self.announce_held();
        }
        later.strip_prefix(b"\n").unwrap_or(later)
    }

    /// The stream ended. A line without its end counts: the plugin can say no more.
    pub(crate) fn finish(mut self) {
        if !self.held.is_empty() {
            self.announce_held();
        }
        self.later.finish();
    }

    fn announce_held(&mut self) {
        let line = mem::take(&mut self.held);
        self.announce(Some(String::from_utf8_lossy(&line).into_owned()));
    }

    fn announce(&mut self, line: FirstLine) {
        if let Some(first) = self.first.take() {
            // Nobody waits any more when the start was given up; the text is of no use then.
            let _ = first.send(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_line_is_the_handshake() {
        let (mut stdout, mut first) = Stdout::new("d".into());
        assert_eq!(stdout.push(b"1|1|unix|/p"), b"");
        assert!(first.try_recv().is_err());
        assert_eq!(stdout.push(b"|grpc|\r\nlater\n\n"), b"later\n\n");
        assert_eq!(first.try_recv(), Ok(Some("1|1|unix|/p|grpc|\r".into())));
        assert_eq!(stdout.push(b"\nand later"), b"\nand later");
    }

    #[test]
    fn a_stream_without_a_line_and_one_without_an_end_are_told_apart() {
        let (mut stdout, mut first) = Stdout::new("d".into());
        stdout.push(&vec![b'x'; MAX_LINE_BYTES]);
        assert!(first.try_recv().is_err());
        stdout.push(b"x");
        assert_eq!(first.try_recv(), Ok(None));
        let (stdout, mut first) = Stdout::new("d".into());
        stdout.finish();
        assert_eq!(first.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        let (mut stdout, mut first) = Stdout::new("d".into());
        stdout.push(b"half");
        stdout.finish();
        assert_eq!(first.try_recv(), Ok(Some("half".into())));
    }
}
