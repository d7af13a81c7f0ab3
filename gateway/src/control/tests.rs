//! The door with a fake gateway behind it, over a temporary directory.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use sagoo_edge_proto::sample::Value;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::commands::{PointOutcome, Quality, Verdict};

use super::client::ClientError;
use super::*;

struct Rig {
    dir: tempfile::TempDir,
    stop: CancellationToken,
    served: JoinHandle<anyhow::Result<()>>,
}

impl Rig {
    fn socket(&self) -> PathBuf {
        socket_in(self.dir.path())
    }

    async fn stop(self) -> (tempfile::TempDir, anyhow::Result<()>) {
        self.stop.cancel();
        (self.dir, self.served.await.unwrap())
    }
}

fn socket_in(dir: &Path) -> PathBuf {
    dir.join("run/control.sock")
}

/// Writes back what is written, and answers reads with one value of each kind.
fn echo() -> Door {
    let status = || async { Status { gateway: "gw-0001".into(), uptime_s: u64::MAX, ..Status::default() } };
    door(status, |command: Command| async move {
        assert!(command.id.starts_with("cli-"));
        assert!(command.deadline_boot_ns > clock::boot_ns());
        let points = match command.action {
            Action::Write(values) => values,
            _ => vec![("big".into(), Value::Uint(u64::MAX)), ("raw".into(), Value::Bytes(vec![0xab]))],
        };
        let applied = |(point, value)| PointOutcome {
            point,
            verdict: Verdict::Applied,
            message: String::new(),
            value: Some(value),
            quality: Quality::Good,
        };
        Outcome { points: points.into_iter().map(applied).collect(), ..Outcome::failed(Verdict::Applied, "") }
    })
}

/// Reloads are refused with a reason, handovers leave one driver.
fn door<SF, EF>(
    status: impl Fn() -> SF + Send + Sync + 'static,
    execute: impl Fn(Command) -> EF + Send + Sync + 'static,
) -> Door
where
    SF: Future<Output = Status> + Send + 'static,
    EF: Future<Output = Outcome> + Send + 'static,
{
    Door {
        status: Arc::new(move |()| Box::pin(status())),
        execute: Arc::new(move |command| Box::pin(execute(command))),
        explain: Arc::new(|()| {
            Box::pin(async { Explained { config: "/c".into(), connections: Vec::new() } })
        }),
        dead_letters: Arc::new(|(what, ids)| {
            let shown = ids.unwrap_or_default().into_iter().map(move |id| Shown {
                id,
                sending: what == What::Send,
                ..Shown::default()
            });
            Box::pin(async { Ok(shown.collect()) })
        }),
        look: Arc::new(|look| Box::pin(async move { Err(format!("{look:?}")) })),
        reload: Arc::new(|()| Box::pin(async { Err("too many reloads wait".to_owned()) })),
        handover: Arc::new(|()| Box::pin(async { Ok(vec![LeftRunning { id: "modbus".into(), pid: 42 }]) })),
    }
}

async fn serving(dir: tempfile::TempDir, door: Door) -> Rig {
    let stop = CancellationToken::new();
    let socket = socket_in(dir.path());
    let open = open(&ControlConfig { socket }).await.unwrap();
    let served = tokio::spawn(serve(open, door, stop.clone()));
    Rig { dir, stop, served }
}

async fn rig() -> Rig {
    serving(tempfile::tempdir().unwrap(), echo()).await
}

struct Raw(BufReader<UnixStream>);

impl Raw {
    async fn connect(rig: &Rig) -> Self {
        Self(BufReader::new(UnixStream::connect(rig.socket()).await.unwrap()))
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    async fn line(&mut self) -> Json {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        serde_json::from_str(&line).unwrap_or(Json::Null)
    }
}

#[tokio::test]
async fn a_client_reads_writes_and_sees_the_status() {
    let rig = rig().await;
    let Reply::Status { status } = client::ask(&rig.socket(), &Request::Status).await.unwrap() else {
        panic!()
    };
    assert_eq!((status.gateway.as_str(), status.uptime_s), ("gw-0001", u64::MAX));
    let read = Request::Read { device: "a".into(), points: vec![] };
    let Reply::Outcome { outcome } = client::ask(&rig.socket(), &read).await.unwrap() else { panic!() };
    assert_eq!(outcome.points[0].value, Some(json!(u64::MAX)));
    assert_eq!(outcome.points[1].value, Some(json!("ab")));
    let values = json!({"x": 1, "y": 2.0, "z": "t"});
    let write = Request::Write { device: "a".into(), values: values.as_object().unwrap().clone() };
    let Reply::Outcome { outcome } = client::ask(&rig.socket(), &write).await.unwrap() else { panic!() };
    let written: Json = outcome.points.into_iter().map(|p| (p.point, p.value.unwrap())).collect();
    assert_eq!(written, values);
    rig.stop().await.1.unwrap();
}

#[tokio::test]
async fn only_the_owner_may_open_the_socket_and_it_goes_with_the_gateway() {
    let rig = rig().await;
    let metadata = fs::symlink_metadata(rig.socket()).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let (dir, served) = rig.stop().await;
    served.unwrap();
    assert_eq!(fs::read_dir(dir.path().join("run")).unwrap().count(), 0);
}

#[tokio::test]
async fn rubbish_is_answered_and_survived() {
    let rig = rig().await;
    let mut raw = Raw::connect(&rig).await;
    let wrong: [&[u8]; 8] = [
        b"\n",
        b"hello\n",
        b"\xff\x00\n",
        b"{\"request\":\"reboot\"}\n",
        b"{\"request\":\"read\"}\n",
        b"{\"request\":\"write\",\"device\":\"a\",\"values\":{}}\n",
        b"{\"request\":\"write\",\"device\":\"a\",\"values\":{\"x\":null}}\n",
        b"{\"request\":\"read\",\"device\":\"a\",\"point\":[\"x\"]}\n",
    ];
    for line in wrong {
        raw.send(line).await;
        assert_eq!(raw.line().await["reply"], "error", "{}", String::from_utf8_lossy(line));
    }
    raw.send(&[b"[".repeat(5_000), b"\n".to_vec()].concat()).await;
    assert_eq!(raw.line().await["reply"], "error");
    raw.send(b"{\"request\":\"status\"}\n").await;
    assert_eq!(raw.line().await["reply"], "status");
    rig.stop().await.1.unwrap();
}

#[tokio::test]
async fn a_line_that_is_too_long_is_answered_and_its_client_let_go() {
    let rig = rig().await;
    let mut raw = Raw::connect(&rig).await;
    raw.send(&vec![b'x'; MAX_LINE_BYTES as usize + 1]).await;
    let reply = raw.line().await;
    assert!(reply["error"].as_str().unwrap().contains("at most 65536 bytes"), "{reply}");
    assert_eq!(raw.line().await, Json::Null);
    assert!(client::ask(&rig.socket(), &Request::Status).await.is_ok());
    rig.stop().await.1.unwrap();
}

#[tokio::test]
async fn one_client_too_many_is_told_so() {
    let rig = rig().await;
    let mut held = Vec::new();
    for _ in 0..MAX_CLIENTS {
        let mut raw = Raw::connect(&rig).await;
        raw.send(b"{\"request\":\"status\"}\n").await;
        raw.line().await;
        held.push(raw);
    }
    let Reply::Error { error } = client::ask(&rig.socket(), &Request::Status).await.unwrap() else {
        panic!()
    };
    assert!(error.contains("8 clients"), "{error}");
    drop(held);
    while !matches!(client::ask(&rig.socket(), &Request::Status).await, Ok(Reply::Status { .. })) {
        tokio::task::yield_now().await;
    }
    rig.stop().await.1.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_never_comes_is_an_error() {
    let forever = || std::future::pending::<Status>();
    let door = door(forever, |_| std::future::pending::<Outcome>());
    let rig = serving(tempfile::tempdir().unwrap(), door).await;
    let Reply::Error { error } = client::ask(&rig.socket(), &Request::Status).await.unwrap() else {
        panic!()
    };
    assert!(error.contains("no answer within 12 s"), "{error}");
    rig.stop().await.1.unwrap();
}

#[tokio::test]
async fn stopping_does_not_wait_for_a_client() {
    let started = Arc::new(Notify::new());
    let begun = started.clone();
    let door = door(
        move || {
            let begun = begun.clone();
            async move {
                begun.notify_one();
                std::future::pending::<Status>().await
            }
        },
        |_| std::future::pending::<Outcome>(),
    );
    let rig = serving(tempfile::tempdir().unwrap(), door).await;
    let mut raw = Raw::connect(&rig).await;
    raw.send(b"{\"request\":\"status\"}\n").await;
    started.notified().await;
    rig.stop().await.1.unwrap();
    assert_eq!(raw.line().await, Json::Null);
}

#[tokio::test]
async fn what_is_being_answered_when_the_door_closes_is_said() {
    let (asked, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begun, wait) = (asked.clone(), go.clone());
    let slow = move || {
        let (begun, wait) = (begun.clone(), wait.clone());
        async move {
            begun.notify_one();
            wait.notified().await;
            Status::default()
        }
    };
    let rig = serving(tempfile::tempdir().unwrap(), door(slow, |_| std::future::pending::<Outcome>())).await;
    let (mut raw, mut idle) = (Raw::connect(&rig).await, Raw::connect(&rig).await);
    raw.send(b"{\"request\":\"status\"}\n").await;
    asked.notified().await;
    rig.stop.cancel();
    go.notify_one();
    assert_eq!(raw.line().await["reply"], "status");
    assert_eq!(idle.line().await, Json::Null, "nobody waits for one that asks nothing");
    assert!(!rig.socket().exists());
    rig.stop().await.1.unwrap();
}

#[tokio::test]
async fn reload_and_handover_go_through_the_door() {
    let rig = rig().await;
    let Reply::Error { error } = client::ask(&rig.socket(), &Request::Reload).await.unwrap() else {
        panic!()
    };
    assert_eq!(error, "too many reloads wait");
    let Reply::Handover { drivers } = client::ask(&rig.socket(), &Request::Handover).await.unwrap() else {
        panic!()
    };
    assert_eq!(drivers, [LeftRunning { id: "modbus".into(), pid: 42 }]);
    rig.stop().await.1.unwrap();
}

/// A door whose streams the test feeds, one after the other.
fn streaming() -> (Door, tokio::sync::mpsc::Receiver<(Look, tokio::sync::mpsc::Sender<Reply>)>) {
    let (begin, began) = tokio::sync::mpsc::channel(1);
    let look = move |look: Look| {
        let begin = begin.clone();
        async move {
            let (say, said) = tokio::sync::mpsc::channel(1);
            begin.send((look, say)).await.unwrap();
            Ok(Box::pin(tokio_stream::wrappers::ReceiverStream::new(said)) as Replies)
        }
    };
    (Door { look: Arc::new(move |asked| Box::pin(look(asked))), ..echo() }, began)
}

fn scan() -> Request {
    let options = json!({ "units": "1-3" }).as_object().unwrap().clone();
    Request::Scan { connection: "bus".into(), options, for_ms: 7 }
}

#[tokio::test]
async fn a_stream_is_passed_on_to_its_end_and_the_client_may_ask_again() {
    let (door, mut began) = streaming();
    let rig = serving(tempfile::tempdir().unwrap(), door).await;
    let mut following = client::follow(&rig.socket(), &scan()).await.unwrap();
    let (look, say) = began.recv().await.unwrap();
    let options = "{\"units\":\"1-3\"}".to_owned();
    assert_eq!(look, Look::Scan { connection: "bus".into(), options, for_ms: 7 });
    say.send(Reply::Captured { lines: vec!["> 01".into()] }).await.unwrap();
    drop(say);
    assert!(matches!(following.next().await.unwrap(), Reply::Captured { lines } if lines == ["> 01"]));
    assert!(matches!(following.next().await.unwrap(), Reply::End));
    let mut raw = Raw::connect(&rig).await;
    for _ in 0..2 {
        raw.send(b"{\"request\":\"capture\",\"connection\":\"bus\"}\n").await;
        let (look, say) = began.recv().await.unwrap();
        assert_eq!(look, Look::Capture { connection: "bus".into(), for_ms: 0 });
        say.send(Reply::error("line lost")).await.unwrap();
        assert_eq!(raw.line().await["error"], "line lost");
    }
    rig.stop().await.1.unwrap();
}

#[tokio::test]
async fn a_client_that_hangs_up_or_says_more_ends_its_stream() {
    let (door, mut began) = streaming();
    let rig = serving(tempfile::tempdir().unwrap(), door).await;
    let following = client::follow(&rig.socket(), &scan()).await.unwrap();
    let (_, say) = began.recv().await.unwrap();
    drop(following);
    say.closed().await;
    let mut raw = Raw::connect(&rig).await;
    raw.send(b"{\"request\":\"capture\",\"connection\":\"bus\"}\n").await;
    let (_, say) = began.recv().await.unwrap();
    raw.send(b"{\"request\":\"status\"}\n").await;
    say.closed().await;
    assert_eq!(raw.line().await["reply"], "end");
    assert_eq!(raw.line().await["reply"], "status");
    rig.stop().await.1.unwrap();
}

#[tokio::test]
async fn a_gateway_that_stops_ends_its_streams_with_an_error() {
    let (door, mut began) = streaming();
    let rig = serving(tempfile::tempdir().unwrap(), door).await;
    let mut following = client::follow(&rig.socket(), &scan()).await.unwrap();
    let (_, say) = began.recv().await.unwrap();
    rig.stop().await.1.unwrap();
    let Reply::Error { error } = following.next().await.unwrap() else { panic!() };
    assert_eq!(error, "the gateway is stopping");
    say.closed().await;
}

#[tokio::test]
async fn a_function_of_a_driver_is_called_with_what_was_typed() {
    let called = |command: Command| async move {
        let Action::Invoke { function, input } = command.action else { panic!() };
        assert_eq!((command.device.as_str(), function.as_str()), ("meter", "probe"));
        Outcome { output: input, ..Outcome::failed(Verdict::Applied, "") }
    };
    let rig = serving(tempfile::tempdir().unwrap(), door(|| async { Status::default() }, called)).await;
    let input = json!({ "address": "input:0x10", "count": 4 });
    let request = Request::Invoke {
        device: "meter".into(),
        function: "probe".into(),
        input: input.as_object().unwrap().clone(),
    };
    let Reply::Outcome { outcome } = client::ask(&rig.socket(), &request).await.unwrap() else { panic!() };
    assert_eq!(outcome.output, Some(input));
    let Reply::Explain { explained } = client::ask(&rig.socket(), &Request::Explain).await.unwrap() else {
        panic!()
    };
    assert_eq!(explained.config, PathBuf::from("/c"));
    rig.stop().await.1.unwrap();
}

#[tokio::test]
async fn the_socket_of_a_dead_gateway_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("run")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(socket_in(dir.path())).unwrap());
    let rig = serving(dir, echo()).await;
    assert!(client::ask(&rig.socket(), &Request::Status).await.is_ok());
    rig.stop().await.1.unwrap();
}

#[tokio::test]
async fn the_socket_of_a_living_gateway_is_left_alone() {
    let rig = rig().await;
    let config = ControlConfig { socket: rig.socket() };
    let error = open(&config).await.unwrap_err();
    assert!(error.to_string().contains("another gateway answers at"), "{error:#}");
    assert!(client::ask(&rig.socket(), &Request::Status).await.is_ok());
    rig.stop().await.1.unwrap();
}

#[tokio::test]
async fn of_gateways_that_start_together_exactly_one_opens() {
    let dir = tempfile::tempdir().unwrap();
    let mut opening = JoinSet::new();
    for _ in 0..8 {
        let path = socket_in(dir.path());
        opening.spawn(async move { socket::open(&path).await });
    }
    let opened: Vec<_> = opening.join_all().await;
    assert_eq!(opened.iter().filter(|opened| opened.is_ok()).count(), 1, "{opened:?}");
    assert!(UnixStream::connect(socket_in(dir.path())).await.is_ok());
}

#[tokio::test]
async fn what_is_no_socket_is_never_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("precious");
    fs::write(&path, "data").unwrap();
    let error = socket::open(&path).await.unwrap_err();
    assert!(error.to_string().contains("is no socket"), "{error:#}");
    assert_eq!(fs::read_to_string(path).unwrap(), "data");
}

#[tokio::test]
async fn a_gateway_that_does_not_run_is_named_with_its_socket() {
    let dir = tempfile::tempdir().unwrap();
    let error = client::ask(&socket_in(dir.path()), &Request::Status).await.unwrap_err();
    assert!(matches!(error, ClientError::NotRunning(_)), "{error}");
    assert!(error.to_string().contains("run/control.sock: is it running?"), "{error}");
}

#[tokio::test]
async fn a_gateway_that_hangs_up_is_an_error_and_no_reply() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let hang_up = async { drop(listener.accept().await) };
    let (_, asked) = tokio::join!(hang_up, client::ask(&path, &Request::Status));
    let ClientError::Broken { source, .. } = asked.unwrap_err() else { panic!() };
    assert!(matches!(
        source.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    ));
}
