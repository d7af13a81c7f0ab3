//! What the plugin logs and prints.

use std::io;
use std::sync::{Arc, Mutex, OnceLock};

use sagoo_edge_plugin_host::{Grace, Mirror};
use tokio::sync::mpsc;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::kv::pattern;
use crate::*;

const PRINTED: u64 = 10 << 20;
/// What marks a line that was printed and not logged.
const PRINTS: &[u8] = b"stream=\"std";

/// Everything logged in this process. A lock, because the log is written from any thread.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // megabytes of prints are looked at elsewhere
        if !bytes.windows(PRINTS.len()).any(|part| part == PRINTS) {
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
    fn has(&self, parts: &[&str]) -> bool {
        let text = self.0.lock().unwrap();
        let text = String::from_utf8_lossy(&text);
        text.lines().any(|said| parts.iter().all(|part| said.contains(part)))
    }
}

fn captured() -> Captured {
    static LOG: OnceLock<Captured> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Captured::default();
        // what plugins say, and not what the libraries in between do
        let drivers = Targets::new().with_target("driver", tracing::Level::TRACE);
        let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(log.clone());
        tracing_subscriber::registry().with(layer.with_filter(drivers)).init();
        log
    })
    .clone()
}

#[tokio::test]
async fn what_hclog_writes_arrives_at_its_level_whatever_is_in_it() {
    let log = captured();
    let dir = tempfile::tempdir().unwrap();
    let launch = Launch { name: "talker".into(), ..launch((true, false), dir.path()) };
    let (plugin, client) = started(launch).await;
    client.say("log", 0).await.unwrap();
    for line in [
        &["TRACE", "at trace", "count=1"][..],
        &["DEBUG", "at debug", "duration=1500000000", "list=[1,2]"],
        &["INFO", "at info", r#"nested={"a":1,"b":["x"]}"#, "nothing=null"],
        &["WARN", "at warn", r#"error="a <wrapped> error""#, "ratio=0.5"],
        &["ERROR", "at error", "EXTRA_VALUE_AT_END=odd"],
        &["INFO", "from a part", "@module=part", "bytes=cmF3"],
    ] {
        let said = [line, &[r#"driver="talker""#]].concat();
        until(&format!("{said:?} arrives"), || log.has(&said)).await;
    }
    plugin.stop(Grace::default()).await;
}

#[tokio::test]
async fn a_panic_in_go_is_an_error_line() {
    let log = captured();
    let dir = tempfile::tempdir().unwrap();
    let launch = Launch { name: "panicker".into(), ..launch((false, true), dir.path()) };
    let (plugin, client) = started(launch).await;
    assert!(client.say("panic", 0).await.is_err());
    plugin.exited().wait_for(Option::is_some).await.unwrap();
    assert!(log.has(&["ERROR", "panic: out of cheese", r#"driver="panicker""#]));
    assert!(log.has(&["ERROR", "goroutine ", r#"driver="panicker""#]));
}

#[tokio::test]
async fn ten_mebibytes_printed_in_go_arrive_byte_for_byte_in_each_way() {
    for way in WAYS {
        let dir = tempfile::tempdir().unwrap();
        let (stdout, mut printed) = mpsc::channel(16);
        let (stderr, mut complained) = mpsc::channel(16);
        let mirror = Mirror { stdio_stdout: Some(stdout), stdio_stderr: Some(stderr), ..Mirror::default() };
        let (plugin, client) = started(Launch { mirror, ..launch(way, dir.path()) }).await;
        for (what, received) in [("stdout", &mut printed), ("stderr", &mut complained)] {
            let reading = async {
                let mut at = 0;
                while at < PRINTED {
                    let piece: Vec<u8> = received.recv().await.expect("the stream goes on");
                    for byte in piece {
                        assert_eq!(byte, pattern(at), "{way:?}: byte {at} of {what}");
                        at += 1;
                    }
                }
                at
            };
            let both = async { tokio::join!(client.say(what, PRINTED), reading) };
            let (said, arrived) = tokio::time::timeout(LONG, both).await.expect("nothing stalls");
            said.unwrap();
            assert_eq!(arrived, PRINTED);
        }
        plugin.health(LONG).await.unwrap();
        plugin.stop(Grace::default()).await;
    }
}
