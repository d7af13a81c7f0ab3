//! Stdout: the first line is the handshake, all later ones are talk.

use tokio::sync::oneshot;

use crate::log::{DRIVER, shown};
use crate::pipe::{Lines, Piece};

/// The first line, or nothing if it is longer than any handshake.
pub(crate) type FirstLine = Option<String>;

/// Takes a plugin's stdout in any pieces. When dropped before the first line, the receiver sees that.
#[derive(Debug)]
pub(crate) struct Stdout {
    driver: String,
    lines: Lines,
    first: Option<oneshot::Sender<FirstLine>>,
}

impl Stdout {
    pub(crate) fn new(driver: String) -> (Self, oneshot::Receiver<FirstLine>) {
        let (first, receiver) = oneshot::channel();
        (Self { driver, lines: Lines::default(), first: Some(first) }, receiver)
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let Self { driver, lines, first } = self;
        lines.push(bytes, |piece| deliver(driver, first, piece));
    }

    /// The stream ended. A line without its end counts: the plugin can say no more.
    pub(crate) fn finish(mut self) {
        let Self { driver, lines, first } = &mut self;
        lines.finish(|piece| deliver(driver, first, piece));
    }
}

fn deliver(driver: &str, first: &mut Option<oneshot::Sender<FirstLine>>, piece: Piece<'_>) {
    let Some(first) = first.take() else {
        let (Piece::Line(text) | Piece::Part(text)) = piece;
        tracing::debug!(target: DRIVER, driver, stream = "stdout", "{}", shown(text));
        return;
    };
    let line = match piece {
        Piece::Line(text) => Some(String::from_utf8_lossy(text).into_owned()),
        Piece::Part(_) => None,
    };
    // Nobody waits any more when the start was given up; the text is of no use then.
    let _ = first.send(line);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipe::MAX_LINE_BYTES;

    #[test]
    fn only_the_first_line_is_the_handshake() {
        let (mut stdout, mut first) = Stdout::new("d".into());
        stdout.push(b"1|1|unix|/p");
        assert!(first.try_recv().is_err());
        stdout.push(b"|grpc|\nlater\n");
        assert_eq!(first.try_recv(), Ok(Some("1|1|unix|/p|grpc|".into())));
    }

    #[test]
    fn a_stream_without_a_line_and_one_without_an_end_are_told_apart() {
        let (mut stdout, mut first) = Stdout::new("d".into());
        stdout.push(&vec![b'x'; MAX_LINE_BYTES + 1]);
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
