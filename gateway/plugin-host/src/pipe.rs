//! A plugin's stdout and stderr: drained from the first byte to the last, and cut into lines.
//!
//! Always true: a plugin never blocks on a full pipe because of us, however long its lines are;
//! memory is bounded by [`MAX_LINE_BYTES`]; a process that outlives the plugin and still holds
//! the pipe delays nothing.

use std::io::ErrorKind;
use std::os::fd::AsFd;

use rustix::io::Errno;
use tokio::net::unix::pipe;
use tokio_util::sync::CancellationToken;

use crate::mirror::Copied;

/// The longest line delivered whole; longer ones come in pieces of this size, as in go-plugin.
pub(crate) const MAX_LINE_BYTES: usize = 64 << 10;
/// Bytes taken from a pipe at once.
const READ_BYTES: usize = 16 << 10;
/// After the plugin's death: at most what the largest ordinary pipe can still hold.
const REST_BYTES: usize = 1 << 20;

/// Gives everything that comes out of `pipe` to `each`, until its end, or until the plugin has
/// `died` and what it had written by then is read. What `each` gives back goes to `copied`.
pub(crate) async fn drain(
    pipe: pipe::Receiver,
    died: &CancellationToken,
    copied: Copied,
    mut each: impl for<'a> FnMut(&'a [u8]) -> &'a [u8],
) {
    let mut copied = copied.until_death(died);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        tokio::select! {
            // First the death: a survivor that floods the pipe would hide it forever.
            biased;
            () = died.cancelled() => break,
            ready = pipe.readable() => match ready.and_then(|()| pipe.try_read(&mut buffer)) {
                Ok(0) => return,
                Ok(count) => {
                    hand_on(&buffer[..count], &mut copied, &mut each).await;
                    if count == buffer.len() {
                        // A flood is not to starve the other tasks of this thread.
                        tokio::task::yield_now().await;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return,
            },
        }
    }
    // Straight from the descriptor: the runtime may not have heard yet that there is more.
    let mut rest = 0;
    while rest < REST_BYTES {
        match rustix::io::read(pipe.as_fd(), &mut *buffer) {
            Ok(0) => return,
            Ok(count) => {
                rest += count;
                hand_on(&buffer[..count], &mut copied, &mut each).await;
            }
            Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

async fn hand_on(bytes: &[u8], copied: &mut Copied, each: &mut impl for<'a> FnMut(&'a [u8]) -> &'a [u8]) {
    let wanted = each(bytes);
    if copied.is_wanted() {
        copied.give(wanted.to_vec()).await;
    }
}

/// A line, or a piece of one that is too long.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// A whole line without its end.
    Line(&'a [u8]),
    /// The beginning of a line longer than [`MAX_LINE_BYTES`].
    Head(&'a [u8]),
    /// What follows of it.
    More(&'a [u8]),
}

impl<'a> Piece<'a> {
    pub(crate) fn bytes(&self) -> &'a [u8] {
        match self {
            Self::Line(bytes) | Self::Head(bytes) | Self::More(bytes) => bytes,
        }
    }
}

/// Cuts a stream of bytes into lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    held: Vec<u8>,
    in_long_line: bool,
}

impl Lines {
    /// Takes the next bytes and gives every line that is complete to `each`.
    pub(crate) fn push(&mut self, bytes: &[u8], mut each: impl FnMut(Piece<'_>)) {
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (mut text, ended) = match part.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (part, false),
            };
            while self.held.len() + text.len() > MAX_LINE_BYTES {
                let (now, later) = text.split_at(MAX_LINE_BYTES - self.held.len());
                self.held.extend_from_slice(now);
                each(if self.in_long_line { Piece::More(&self.held) } else { Piece::Head(&self.held) });
                self.in_long_line = true;
                self.held.clear();
                text = later;
            }
            self.held.extend_from_slice(text);
            if ended {
                self.flush(&mut each);
            }
        }
    }

    /// Gives the last line, if the stream ended without its end.
    pub(crate) fn finish(&mut self, mut each: impl FnMut(Piece<'_>)) {
        if !self.held.is_empty() {
            self.flush(&mut each);
        }
    }

    /// Bytes of memory it takes.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.held.capacity()
    }

    fn flush(&mut self, each: &mut impl FnMut(Piece<'_>)) {
        let text = self.held.strip_suffix(b"\r").unwrap_or(&self.held);
        each(if self.in_long_line { Piece::More(text) } else { Piece::Line(text) });
        self.in_long_line = false;
        self.held.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(chunks: &[&[u8]]) -> Vec<(bool, Vec<u8>)> {
        let mut lines = Lines::default();
        let mut out = Vec::new();
        let mut each = |piece: Piece<'_>| match piece {
            Piece::Line(text) => out.push((true, text.to_vec())),
            Piece::Head(text) | Piece::More(text) => out.push((false, text.to_vec())),
        };
        chunks.iter().for_each(|chunk| lines.push(chunk, &mut each));
        lines.finish(&mut each);
        out
    }

    #[test]
    fn a_line_over_the_limit_comes_in_pieces_and_the_next_is_whole_again() {
        let long = vec![b'x'; 2 * MAX_LINE_BYTES + 5];
        let out = cut(&[&long, b"\r\nnext\r\n\nlast"]);
        let shape: Vec<(bool, usize)> = out.iter().map(|(whole, text)| (*whole, text.len())).collect();
        let full = (false, MAX_LINE_BYTES);
        assert_eq!(shape, [full, full, (false, 5), (true, 4), (true, 0), (true, 4)]);
        let exact = vec![b'x'; MAX_LINE_BYTES];
        assert_eq!(cut(&[&exact, b"\n"]), [(true, exact.clone())]);
    }

    proptest! {
        #[test]
        fn where_the_stream_is_cut_changes_nothing(text in "[ab\n]{0,80}", at in 0..80usize) {
            let (one, two) = text.as_bytes().split_at(at.min(text.len()));
            let whole: Vec<Vec<u8>> = text.lines().map(|line| line.as_bytes().to_vec()).collect();
            let cut: Vec<Vec<u8>> = cut(&[one, two]).into_iter().map(|(_, line)| line).collect();
            prop_assert_eq!(cut, whole);
        }
    }
}
