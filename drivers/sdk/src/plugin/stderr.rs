//! The way of log lines to stderr, which may be a pipe that nobody reads for minutes.
//!
//! Always true: handing a line over never waits; a thread of its own writes whole lines, one after
//! the other, so none is torn; at most [`WAITING_BYTES`] wait, later lines are dropped, counted, and
//! the count is said as soon as there is room again.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

/// Most bytes of lines waiting for somebody to read the ones before.
pub(crate) const WAITING_BYTES: usize = 256 * 1024;
/// Longest wait, at the end of the process, for the last lines to go out.
pub(crate) const FLUSH_LIMIT: Duration = Duration::from_millis(200);
/// Memory of the thread, which only copies.
const STACK_BYTES: usize = 64 * 1024;

/// Says how many lines were dropped, as one line.
pub(crate) type Notice = fn(dropped: u64) -> String;

/// Takes lines, from any thread; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Lines(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    notice: Notice,
    /// A lock and no message: lines come from everywhere, a panic included, where nothing can be awaited.
    state: Mutex<State>,
    /// There is a line to write.
    news: Condvar,
    /// All is written.
    idle: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<String>,
    bytes: usize,
    /// The thread has a line in its hands.
    writing: bool,
    dropped: u64,
}

impl Lines {
    /// Starts the thread that writes to `sink`.
    pub(crate) fn start(sink: impl Write + AsFd + Send + 'static, notice: Notice) -> io::Result<Self> {
        let (state, news, idle) = (Mutex::default(), Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared { notice, state, news, idle });
        let lines = Self(Arc::clone(&shared));
        let write = move || write_lines(&shared, sink);
        thread::Builder::new().name("stderr".to_owned()).stack_size(STACK_BYTES).spawn(write)?;
        Ok(lines)
    }

    /// Hands over one line with its newline.
    pub(crate) fn say(&self, line: String) {
        let mut state = self.0.state();
        if state.bytes + line.len() > WAITING_BYTES {
            state.dropped += 1;
            return;
        }
        // There is room again: the count stands where the dropped lines would have stood.
        if state.dropped > 0 {
            let dropped = std::mem::take(&mut state.dropped);
            state.push((self.0.notice)(dropped));
        }
        state.push(line);
        drop(state);
        self.0.news.notify_one();
    }

    /// Waits until all is written, at most `limit`.
    pub(crate) fn flush(&self, limit: Duration) {
        let busy = |state: &mut State| state.writing || !state.waiting.is_empty();
        drop(self.0.idle.wait_timeout_while(self.0.state(), limit, busy));
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next line to write; waits for one.
    fn next(&self) -> String {
        let mut state = self.state();
        loop {
            if let Some(line) = state.waiting.pop_front() {
                state.bytes -= line.len();
                state.writing = true;
                return line;
            }
            if state.dropped > 0 {
                state.writing = true;
                return (self.notice)(std::mem::take(&mut state.dropped));
            }
            state.writing = false;
            self.idle.notify_all();
            state = self.news.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl State {
    fn push(&mut self, line: String) {
        self.bytes += line.len();
        self.waiting.push_back(line);
    }
}

fn write_lines(shared: &Shared, mut sink: impl Write + AsFd) {
    loop {
        // When nobody will ever read again, lines go nowhere, and nobody could be told.
        let _ = write_line(&mut sink, shared.next().as_bytes());
    }
}

fn write_line(sink: &mut (impl Write + AsFd), mut line: &[u8]) -> io::Result<()> {
    while !line.is_empty() {
        match sink.write(line) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => line = &line[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The other end may have set this descriptor to not wait; then we wait for it here.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let writable = PollFd::new(&*sink, PollFlags::OUT);
                poll(&mut [writable], None)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _};
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn notice(dropped: u64) -> String {
        format!("{dropped} lines dropped\n")
    }

    fn line(number: usize, bytes: usize) -> String {
        format!("{number:08} {}\n", "x".repeat(bytes))
    }

    #[test]
    fn lines_arrive_whole_and_in_order_from_many_threads() {
        let (reader, writer) = io::pipe().unwrap();
        let lines = Lines::start(writer, notice).unwrap();
        thread::scope(|scope| {
            for thread in 0..4 {
                let lines = lines.clone();
                // Longer than what a pipe takes in one piece.
                scope.spawn(move || (0..10).for_each(|number| lines.say(line(thread * 100 + number, 5_000))));
            }
            let mut last = [None; 4];
            for text in BufReader::new(reader).lines().take(40) {
                let text = text.unwrap();
                assert_eq!(text.len(), 8 + 1 + 5_000, "torn: {text}");
                let number: usize = text[..8].parse().unwrap();
                assert!(last[number / 100] < Some(number), "{number} after {:?}", last[number / 100]);
                last[number / 100] = Some(number);
            }
        });
    }

    /// Lines to a pipe that takes nothing any more; the reader gets so many bytes before them.
    fn blocked() -> (Lines, io::PipeReader, usize) {
        let (reader, mut writer) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let mut filling = 0;
        // Byte by byte at the end: what is left of the last page would take a short line.
        for piece in [1_000, 1] {
            while let Ok(taken) = writer.write(&vec![b'#'; piece]) {
                filling += taken;
            }
        }
        rustix::io::ioctl_fionbio(&writer, false).unwrap();
        let lines = Lines::start(writer, notice).unwrap();
        // The thread has this one in its hands from now on, and takes no other.
        lines.say("first\n".to_owned());
        while !lines.0.state().waiting.is_empty() {
            thread::yield_now();
        }
        (lines, reader, filling + "first\n".len())
    }

    #[test]
    fn nobody_waits_for_a_pipe_that_is_full_and_every_dropped_line_is_counted() {
        let (lines, mut reader, filling) = blocked();
        let start = Instant::now();
        let said = 3_000;
        (0..said).for_each(|number| lines.say(line(number, 1_000)));
        lines.flush(Duration::from_millis(1));
        assert!(start.elapsed() < LONG, "{:?}", start.elapsed());
        reader.read_exact(&mut vec![0; filling]).unwrap();
        let mut reader = BufReader::new(reader);
        let (mut numbers, mut dropped) = (Vec::new(), None);
        while dropped.is_none() {
            let mut text = String::new();
            reader.read_line(&mut text).unwrap();
            match text.strip_suffix(" lines dropped\n") {
                Some(count) => dropped = count.parse::<usize>().ok(),
                None => numbers.push(text[..8].parse::<usize>().unwrap()),
            }
        }
        assert!(numbers.iter().copied().eq(0..numbers.len()), "the oldest are kept, in order");
        assert_eq!(numbers.len() + dropped.unwrap(), said);
        assert!(numbers.len() >= WAITING_BYTES / 1_100);
        lines.say(line(said, 10));
        let mut text = String::new();
        reader.read_line(&mut text).unwrap();
        assert_eq!(text, line(said, 10), "and it goes on");
    }

    #[test]
    fn the_count_stands_where_the_dropped_lines_would_have_stood() {
        let (lines, mut reader, filling) = blocked();
        (0..3_000).for_each(|number| lines.say(line(number, 1_000)));
        // Room is made, and something is said before all is written.
        let mut taken = vec![0; filling + 128 * 1024];
        reader.read_exact(&mut taken).unwrap();
        lines.say("after\n".to_owned());
        lines.say("last\n".to_owned());
        let mut rest = Vec::new();
        while !rest.ends_with(b"last\n") {
            let read = reader.read(&mut taken).unwrap();
            rest.extend_from_slice(&taken[..read]);
        }
        let rest = String::from_utf8(rest).unwrap();
        let tail: Vec<&str> = rest.lines().rev().take(3).collect();
        assert_eq!(tail[0], "last");
        assert!(tail[1] == "after" && tail[2].ends_with("lines dropped"), "{tail:?}");
    }

    #[test]
    fn a_descriptor_set_to_not_wait_is_waited_for() {
        let (reader, writer) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let lines = Lines::start(writer, notice).unwrap();
        (0..150).for_each(|number| lines.say(line(number, 1_000)));
        let mut numbers = BufReader::new(reader).lines().take(150).map(|line| line.unwrap().len());
        assert!(numbers.all(|length| length == 1_009), "none is torn");
    }

    #[test]
    fn a_reader_that_is_gone_stops_nothing() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let lines = Lines::start(writer, notice).unwrap();
        (0..1_000).for_each(|number| lines.say(line(number, 1_000)));
        lines.flush(LONG);
        assert!(lines.0.state().waiting.is_empty());
    }
}
