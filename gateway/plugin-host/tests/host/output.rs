//! What plugins say: never a reason to stall, and never lost.

use std::io;
use std::sync::{Arc, Mutex, OnceLock};

use sagoo_edge_plugin_host::Grace;
use tracing_subscriber::fmt::MakeWriter;

use crate::*;

/// Everything logged in this process. A lock, because the log is written from any thread.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
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
    until("the flood is over", || plugin.last_lines().last().is_some_and(|line| line == "flood is over"))
        .await;
    plugin.health(LONG).await.unwrap();
    plugin.stop(Grace::default()).await;
}

#[tokio::test]
async fn later_lines_on_stdout_are_only_talk() {
    let log = captured();
    let dir = tempfile::tempdir().unwrap();
    let script = "echo '1|1|unix|/nowhere|grpc|'; echo talk on stdout; exit 1";
    Plugin::start(Launch { name: "chatty".into(), ..shell(script, dir.path()) }).await.unwrap_err();
    let talk = ["DEBUG driver: talk on stdout", r#"driver="chatty""#, r#"stream="stdout""#];
    assert!(log.has(&talk), "what was said before the end is logged before the end is known");
}
