//! What plugins say: never a reason to stall, and never lost.

use std::io;
use std::sync::{Arc, Mutex, OnceLock};

use sagoo_edge_plugin_host::{Grace, Mirror};
use tokio::sync::mpsc;
use tracing_subscriber::fmt::MakeWriter;

use crate::*;

/// Everything logged in this process. A lock, because the log is written from any thread.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // One event at once. Those of a flood would make every look at the log a long one.
        if bytes.len() < 1024 {
            self.0.lock().unwrap().extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Captured {
    type Writer = Self;
    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Captured {
    fn has(&self, line: &[&str]) -> bool {
        let text = self.0.lock().unwrap();
        let text = String::from_utf8_lossy(&text);
        text.lines().any(|said| line.iter().all(|part| said.contains(part)))
    }
}

fn captured() -> Captured {
    static LOG: OnceLock<Captured> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Captured::default();
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_ansi(false)
            .with_writer(log.clone())
            .init();
        log
    })
    .clone()
}

#[tokio::test]
async fn what_a_plugin_says_is_logged_at_its_level_under_its_name() {
    let log = captured();
    let dir = tempfile::tempdir().unwrap();
    let plugin = started(Launch { name: "talker".into(), ..peer("", dir.path()) }).await;
    until("its log line arrives", || log.has(&["WARN driver: from the log", r#"driver="talker""#, "bus=1"]))
        .await;
    let printed = ["DEBUG driver: half a line, and the rest", r#"driver="talker""#, r#"stream="stdout""#];
    until("its prints arrive", || log.has(&printed)).await;
    plugin.stop(Grace::default()).await;
}

#[tokio::test]
async fn ten_mebibytes_on_either_pipe_do_not_stall() {
    let dir = tempfile::tempdir().unwrap();
    let plugin = started(peer("flood", dir.path())).await;
    until("the flood is over", || plugin.last_lines().iter().any(|line| line == "flood is over")).await;
    plugin.health(LONG).await.unwrap();
    plugin.stop(Grace::default()).await;
}

#[tokio::test]
async fn later_lines_on_stdout_are_only_talk() {
    let log = captured();
    let dir = tempfile::tempdir().unwrap();
    let script = "echo \"1|1|unix|$TMPDIR/p|grpc|\"; echo talk on stdout; exit 1";
    Plugin::start(Launch { name: "chatty".into(), ..shell(script, dir.path()) }).await.unwrap_err();
    let talk = ["DEBUG driver: talk on stdout", r#"driver="chatty""#, r#"stream="stdout""#];
    assert!(log.has(&talk), "what was said before the end is logged before the end is known");
}

/// The same bytes as the peer's, and none of another stream.
fn noise(stream: u32, bytes: u32) -> impl Iterator<Item = u8> {
    (0..bytes).map(move |n| (n.wrapping_add(stream).wrapping_mul(2_654_435_761) >> 13) as u8)
}

/// Reads a stream as it comes and compares it with what it must be. Gives how much came.
async fn compared(mut output: mpsc::Receiver<Vec<u8>>, stream: u32, bytes: u32) -> usize {
    let mut expected = noise(stream, bytes);
    let mut count = 0;
    while let Some(piece) = output.recv().await {
        for byte in piece {
            assert_eq!(Some(byte), expected.next(), "byte {count} of stream {stream}");
            count += 1;
        }
        if count == bytes as usize {
            break;
        }
    }
    count
}

const NOISE_BYTES: u32 = 10 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_mebibytes_on_each_of_four_streams_arrive_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let (sinks, outputs): (Vec<_>, Vec<_>) = (0..4).map(|_| mpsc::channel(8)).unzip();
    let [stdout, stderr, stdio_stdout, stdio_stderr] = <[_; 4]>::try_from(sinks).unwrap().map(Some);
    let mirror = Mirror { stdout, stderr, stdio_stdout, stdio_stderr };
    let args = vec!["noise".into(), NOISE_BYTES.to_string().into()];
    let mut readers = tokio::task::JoinSet::new();
    for (output, stream) in outputs.into_iter().zip(0..) {
        readers.spawn(compared(output, stream, NOISE_BYTES));
    }
    let plugin = started(Launch { args, mirror, ..peer("", dir.path()) }).await;
    let counts = tokio::time::timeout(LONG * 3, readers.join_all()).await.expect("a stream stalls");
    assert_eq!(counts, [NOISE_BYTES as usize; 4]);
    plugin.health(LONG).await.unwrap();
    plugin.stop(Grace::default()).await;
}

#[tokio::test]
async fn a_stream_begins_after_the_handshake_and_ends_with_the_plugin() {
    let dir = tempfile::tempdir().unwrap();
    let (out, mut stdout) = mpsc::channel(100);
    let (err, mut stderr) = mpsc::channel(100);
    let mirror = Mirror { stdout: Some(out), stderr: Some(err), ..Mirror::default() };
    let script =
        "printf '[WARN] one\r\n' >&2; echo \"1|1|unix|$TMPDIR/p|grpc|\"; printf 'two\n\nthree'; exit 1";
    Plugin::start(Launch { mirror, ..shell(script, dir.path()) }).await.unwrap_err();
    let all = async |output: &mut mpsc::Receiver<Vec<u8>>| {
        let mut bytes = Vec::new();
        while let Some(piece) = output.recv().await {
            bytes.extend(piece);
        }
        String::from_utf8(bytes).unwrap()
    };
    assert_eq!(all(&mut stdout).await, "two\n\nthree");
    assert_eq!(all(&mut stderr).await, "[WARN] one\r\n");
}

#[tokio::test]
async fn a_sink_nobody_empties_stops_neither_the_plugin_nor_its_end() {
    let log = captured();
    let dir = tempfile::tempdir().unwrap();
    let (stuck, mut output) = mpsc::channel(1);
    let mirror = Mirror { stdout: Some(stuck), ..Mirror::default() };
    let args = vec!["flood".into(), (4 << 20).to_string().into()];
    let launch = Launch { name: "stuck".into(), args, mirror, ..peer("", dir.path()) };
    let plugin = started(launch).await;
    until("it says so", || log.has(&["WARN", "sink of the plugin's output is stuck", r#"driver="stuck""#]))
        .await;
    plugin.health(LONG).await.unwrap();
    assert!(output.recv().await.is_some_and(|piece| piece.iter().all(|byte| *byte == b'x')));
    assert_eq!(output.recv().await, None, "given up, and not with a gap");
    plugin.stop(Grace::default()).await;
}

#[tokio::test]
async fn what_a_plugin_prints_while_it_stops_is_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (sink, mut output) = mpsc::channel(8);
    let mirror = Mirror { stdio_stdout: Some(sink), ..Mirror::default() };
    let plugin = started(Launch { mirror, ..peer("last-words", dir.path()) }).await;
    plugin.stop(Grace::default()).await;
    assert_eq!(output.recv().await.unwrap(), b"goodbye\n");
    assert_eq!(output.recv().await, None);
}

#[tokio::test]
async fn a_rust_panic_arrives_as_an_error_with_all_it_says() {
    let log = captured();
    let dir = tempfile::tempdir().unwrap();
    let env = vec![("RUST_BACKTRACE".into(), "0".into())];
    let plugin = started(Launch { name: "panicky".into(), env, ..peer("panic", dir.path()) }).await;
    for line in ["panicked at", "out of cheese", "and out of crackers", "note: run with"] {
        until(line, || log.has(&["ERROR driver: ", line, r#"driver="panicky""#])).await;
    }
    plugin.stop(Grace::default()).await;
}
