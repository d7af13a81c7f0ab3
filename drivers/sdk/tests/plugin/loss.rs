//! Gateways that go, and come back or not.

use std::process::Stdio;
use std::time::Duration;

use sagoo_edge_proto::driver::{Ack, driver_message::Message, host_message};
use sagoo_edge_proto::handshake::{COOKIE_KEY, COOKIE_VALUE, ORPHAN_GRACE_MS, PLUGIN_CLIENT_CERT};
use sagoo_edge_proto::mtls::Identity;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::time::{Instant, sleep, timeout};

use crate::rig::{Driver, Session, WAIT, example, shut_down};

#[tokio::test]
async fn a_host_may_come_back_and_finds_the_same_driver() {
    let driver = Driver::start("sine", true).await;
    let channel = driver.connect().await.unwrap();
    let (session, first) = Session::open(&channel).await;
    drop((session, channel));
    let channel = driver.connect().await.unwrap();
    let (_session, second) = Session::open(&channel).await;
    assert_eq!(first, second);
    shut_down(driver, channel).await;
}

#[tokio::test]
async fn a_driver_whose_gateway_is_lost_ends() {
    let mut driver = Driver::start("sine", false).await;
    let channel = driver.connect().await.unwrap();
    let (mut session, _) = Session::open(&channel).await;
    session.configure("{}").await;
    drop((session, channel));
    let lost = Instant::now();
    assert_eq!(driver.exit().await.code(), Some(0));
    assert!(lost.elapsed() < Duration::from_secs(6), "it took {:?}", lost.elapsed());
    assert_eq!(driver.left_behind(), 0);
}

#[tokio::test]
async fn a_driver_whose_host_died_ends() {
    let dir = tempfile::tempdir().unwrap();
    // The shell is the host: it starts the driver and is killed.
    let mut host = tokio::process::Command::new("sh")
        .args(["-c", "\"$0\" & wait"])
        .arg(example("sine"))
        .env(COOKIE_KEY, COOKIE_VALUE)
        .env("TMPDIR", dir.path())
        .env_remove(PLUGIN_CLIENT_CERT)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(host.stdout.take().unwrap());
    let mut line = String::new();
    timeout(WAIT, stdout.read_line(&mut line)).await.unwrap().unwrap();
    host.kill().await.unwrap();
    let mut rest = String::new();
    timeout(WAIT, stdout.read_to_string(&mut rest)).await.expect("stdout ends").unwrap();
    assert_eq!(rest, "", "nothing but the handshake is ever printed");
    let gone = async {
        while std::fs::read_dir(dir.path()).unwrap().count() > 0 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(WAIT, gone).await.expect("the driver ends and leaves nothing behind");
}

/// A gateway that may come back: the drivers it starts know how long to wait for it.
async fn start_patient(grace: Duration) -> Driver {
    let identity = Some(Identity::generate().unwrap());
    Driver::start_with("sine", identity, |command| {
        command.env(ORPHAN_GRACE_MS, grace.as_millis().to_string());
    })
    .await
}

#[tokio::test]
async fn gateways_die_twenty_times_and_every_batch_comes_once_more_or_is_stored() {
    let driver = start_patient(Duration::from_secs(60)).await;
    let (mut stored, mut doubles, mut samples) = (0, 0, 0);
    let mut first_instance = None;
    for life in 0..=20 {
        // Another connection each time, as another process has it.
        let channel = driver.connect().await.unwrap();
        let (mut session, instance) = Session::open(&channel).await;
        assert_eq!(first_instance.get_or_insert_with(|| instance.clone()), &instance);
        let configured = session.configure(r#"{"period_ms": 10}"#).await;
        assert!(configured.problems.is_empty());
        for taken in 0..(life % 7) * 3 + 1 {
            let batch = session.wait_for(|message| match message {
                Message::Batch(batch) => Some(batch),
                _ => None,
            });
            let batch = batch.await;
            if batch.seq <= stored {
                doubles += 1;
                continue;
            }
            assert_eq!(batch.seq, stored + 1, "nothing is passed over");
            stored = batch.seq;
            samples += batch.devices.iter().map(|device| u64::from(device.count)).sum::<u64>();
            // It is stored; whether the driver hears so before the gateway dies is another matter.
            if taken % 2 == 0 {
                session.send(host_message::Message::Ack(Ack { seq: stored })).await;
            }
        }
        if life < 20 {
            drop((session, channel));
            continue;
        }
        // The last one stays, and takes what is left.
        session.send(host_message::Message::Stop(sagoo_edge_proto::driver::Stop {})).await;
        let mut read = None;
        while let Some(message) = timeout(WAIT, session.from_driver.message()).await.unwrap().unwrap() {
            match message.message.unwrap() {
                Message::Batch(batch) if batch.seq > stored => {
                    assert_eq!(batch.seq, stored + 1);
                    stored = batch.seq;
                    samples += batch.devices.iter().map(|device| u64::from(device.count)).sum::<u64>();
                }
                Message::Heartbeat(heartbeat) => read = Some(heartbeat.samples),
                _ => {}
            }
        }
        assert!(read.is_none_or(|read| read <= samples), "{read:?} read, {samples} stored");
        assert!(doubles > 0, "nothing came again, so nothing is shown");
        assert_eq!(samples, 2 * stored, "each batch holds one poll of two points: none is twice in it");
        drop(session);
        return shut_down(driver, channel).await;
    }
}

/// A shell that starts a driver, says its process id, and waits.
struct Shell {
    host: tokio::process::Child,
    driver: String,
}

impl Shell {
    async fn start(dir: &tempfile::TempDir, grace: Duration) -> Self {
        let mut host = tokio::process::Command::new("sh")
            .args(["-c", "\"$0\" & echo $! >&2; wait"])
            .arg(example("sine"))
            .env(COOKIE_KEY, COOKIE_VALUE)
            .env(ORPHAN_GRACE_MS, grace.as_millis().to_string())
            .env("TMPDIR", dir.path())
            .env_remove(PLUGIN_CLIENT_CERT)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(host.stderr.take().unwrap()).lines();
        let driver = timeout(WAIT, lines.next_line()).await.unwrap().unwrap().unwrap();
        let mut stdout = BufReader::new(host.stdout.take().unwrap());
        timeout(WAIT, stdout.read_line(&mut String::new())).await.unwrap().unwrap();
        Self { host, driver }
    }

    fn driver_lives(&self) -> bool {
        // Nobody may have reaped it: a dead one that is still listed has no command line.
        std::fs::read(format!("/proc/{}/cmdline", self.driver)).is_ok_and(|line| !line.is_empty())
    }
}

#[tokio::test]
async fn a_driver_outlives_its_host_for_the_grace_and_then_ends_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let grace = Duration::from_secs(4);
    let mut shell = Shell::start(&dir, grace).await;
    let started = Instant::now();
    shell.host.kill().await.unwrap();
    // Twice as long as it takes to notice that a parent is gone.
    while started.elapsed() < Duration::from_secs(2) {
        assert!(shell.driver_lives(), "it ended with its host after {:?}", started.elapsed());
        sleep(Duration::from_millis(50)).await;
    }
    let gone = async {
        while shell.driver_lives() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(WAIT, gone).await.expect("without a session it ends by itself");
    assert!(started.elapsed() >= grace - Duration::from_secs(1), "{:?}", started.elapsed());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
