//! The talk, with a driver that says what it is told to say, and a real buffer under it.

use std::collections::{BTreeSet, HashSet};
use std::pin::Pin;

use hyper_util::rt::TokioIo;
use sagoo_edge_proto::driver::driver_server::{Driver, DriverServer};
use sagoo_edge_proto::sample::{Quality, Sample, Value, pack};
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status};
use tower::service_fn;

use super::*;
use crate::class::Class;
use crate::commands::{Action, Request as CommandRequest};
use crate::southbound::answers::Answers;
use crate::southbound::configuration;
use crate::southbound::fleet::Fleet;
use crate::{pipeline, state};

const CONFIG: &str = r#"
gateway = { product_key = "edge", device_key = "gw" }
sagoo = { broker = "mqtt://127.0.0.1:1" }
connection.left = { driver = "fake" }
connection.right = { driver = "fake" }
model.m.points.x = {}
device.one = { connection = "left", model = "m", sagoo = { product_key = "m", device_key = "d1" } }
device.two = { connection = "right", model = "m", sagoo = { product_key = "m", device_key = "d2" } }
"#;
/// An instance that is not the one noted before.
const STRANGER: [u8; 16] = [0xEE; 16];
const SOON: Duration = Duration::from_secs(20);

type Say = mpsc::Sender<Result<wire::DriverMessage, Status>>;
type Sessions = mpsc::Sender<(Say, Streaming<wire::HostMessage>)>;

/// Hands every session it is asked for to the test.
struct Fake(Sessions);

#[tonic::async_trait]
impl Driver for Fake {
    type SessionStream = ReceiverStream<Result<wire::DriverMessage, Status>>;
    type ScanStream = Pin<Box<dyn tokio_stream::Stream<Item = Result<wire::ScanResponse, Status>> + Send>>;
    type CaptureStream =
        Pin<Box<dyn tokio_stream::Stream<Item = Result<wire::CaptureResponse, Status>> + Send>>;

    async fn describe(
        &self,
        _: Request<wire::DescribeRequest>,
    ) -> Result<Response<wire::DescribeResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn check(&self, _: Request<wire::CheckRequest>) -> Result<Response<wire::CheckResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn session(
        &self,
        request: Request<Streaming<wire::HostMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (say, said) = mpsc::channel(64);
        let _ = self.0.send((say, request.into_inner())).await;
        Ok(Response::new(ReceiverStream::new(said)))
    }

    async fn scan(&self, _: Request<wire::ScanRequest>) -> Result<Response<Self::ScanStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn capture(
        &self,
        _: Request<wire::CaptureRequest>,
    ) -> Result<Response<Self::CaptureStream>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// The gateway's side: a pipeline, and sessions with one process.
struct Gateway {
    context: Arc<Context>,
    channel: Channel,
    opened: mpsc::Receiver<(Say, Streaming<wire::HostMessage>)>,
    _dir: tempfile::TempDir,
}

/// One session, both ends of it.
struct Talk {
    orders: mpsc::Sender<Order>,
    reports: mpsc::Receiver<Report>,
    kill: CancellationToken,
    keep: CancellationToken,
    running: JoinHandle<Ended>,
    say: Say,
    told: Streaming<wire::HostMessage>,
}

impl Gateway {
    async fn new() -> Self {
        Self::with(None).await
    }

    /// With another pipeline than its own.
    async fn with(other: Option<pipeline::Handle>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("gateway.toml"), CONFIG).unwrap();
        let mut config = crate::config::load(dir.path()).config.unwrap();
        config.buffer.dir = dir.path().join("buffer");
        config.drivers.run_dir = dir.path().join("run");
        let opening = config.clone();
        let (pipeline, _) =
            tokio::task::spawn_blocking(move || pipeline::task::start(&opening)).await.unwrap().unwrap();
        let (state, _) = state::start(dir.path().join("state"));
        let configuration = configuration::of_driver(&config, "fake");
        let owners = configuration.devices.iter();
        let context = Context {
            driver: "fake".into(),
            owners: owners.map(|device| (device.name.clone(), device.connection.clone())).collect(),
            pipeline: other.unwrap_or(pipeline),
            answers: Answers::new(&config, "fake", state),
            online: watch::Sender::new(HashSet::new()),
            fleet: Fleet::open(&config.drivers),
            configuration: Arc::new(configuration),
        };
        let (sessions, opened) = mpsc::channel(1);
        Self { context: Arc::new(context), channel: serve(Fake(sessions)).await, opened, _dir: dir }
    }

    /// Opens a session; the driver has said Hello.
    async fn open(&mut self) -> Talk {
        self.open_as([9; 16]).await
    }

    async fn open_as(&mut self, instance: [u8; 16]) -> Talk {
        let (orders, mut given) = mpsc::channel(16);
        let (news, reports) = mpsc::channel(64);
        let (kill, keep) = (CancellationToken::new(), CancellationToken::new());
        let (context, channel) = (self.context.clone(), self.channel.clone());
        let (killed, kept) = (kill.clone(), keep.clone());
        let running = tokio::spawn(async move {
            let setup = Setup {
                number: 7,
                context: &context,
                keeps: true,
                news: &news,
                role: &|_| {},
                known: &move |instance| instance != STRANGER,
                kill: &killed,
                keep: &kept,
            };
            run(channel, setup, &mut given, &mut Told::default()).await
        });
        let (say, told) = self.opened.recv().await.unwrap();
        let talk = Talk { orders, reports, kill, keep, running, say, told };
        let hello = wire::Hello { instance: instance.to_vec(), boot_id: clock::boot_id().to_owned() };
        talk.say(Up::Hello(hello)).await;
        talk
    }

    async fn stored(&self, device: &str) -> u64 {
        self.context.pipeline.snapshot().await.unwrap().devices[device].ledger.stored
    }

    async fn shown(&self, device: &str) -> (bool, String) {
        let snapshot = self.context.pipeline.snapshot().await.unwrap();
        let shown = &snapshot.devices[device];
        (shown.online, shown.reason.clone())
    }

    fn online(&self) -> BTreeSet<String> {
        self.context.online.borrow().iter().cloned().collect()
    }
}

impl Talk {
    async fn say(&self, message: Up) {
        self.say.send(Ok(wire::DriverMessage { message: Some(message) })).await.unwrap();
    }

    async fn order(&self, order: Order) {
        self.orders.send(order).await.unwrap();
    }

    /// What the driver hears next.
    async fn heard(&mut self) -> Option<Down> {
        let next = tokio::time::timeout(SOON, self.told.next()).await.expect("the gateway says something");
        next?.ok()?.message
    }

    async fn news(&mut self) -> News {
        loop {
            let next = tokio::time::timeout(SOON, self.reports.recv()).await.expect("there is news");
            if let Report::News(news) = next.unwrap() {
                return news;
            }
        }
    }

    /// Gives the lines that are not on hold; the driver agrees.
    async fn configure(&mut self, turn: u64, hold: &[&str]) -> u64 {
        let hold: Lines = hold.iter().map(|line| (*line).to_owned()).collect();
        self.order(Order::Configure { turn, hold: hold.clone() }).await;
        let Some(Down::Configure(configure)) = self.heard().await else { panic!("no Configure") };
        assert_eq!(configure.hold.into_iter().collect::<Lines>(), hold);
        let numbers = |number: u32, device: &str| wire::DeviceNumbers {
            number,
            device: device.to_owned(),
            points: vec!["x".to_owned()],
            writable: vec![true],
        };
        let generation = configure.generation;
        let devices = vec![numbers(0, "one"), numbers(1, "two")];
        self.say(Up::Configured(wire::Configured { generation, problems: Vec::new(), devices })).await;
        while !matches!(self.news().await, News::Configured { turn: answered, .. } if answered == turn) {}
        generation
    }

    async fn batch(&self, generation: u64, seq: u64, device: u32) {
        let value = Some(Value::Uint(seq));
        let sample = Sample { point: 0, value, quality: Quality::Good, boot_ns: clock::boot_ns() };
        let devices = vec![pack(device, &[sample], clock::trusted_wall_ms())];
        self.say(Up::Batch(wire::Batch { seq, generation, devices })).await;
    }

    async fn beat(&mut self, states: &[(u32, bool, u64)]) -> BTreeSet<String> {
        let devices = states.iter().map(|(device, online, read)| wire::DeviceState {
            device: *device,
            online: *online,
            reason: if *online { String::new() } else { "silent".to_owned() },
            read: *read,
            dropped: 0,
        });
        self.say(Up::Heartbeat(wire::Heartbeat { devices: devices.collect(), ..Default::default() })).await;
        loop {
            if let News::Beat { online, .. } = self.news().await {
                return online;
            }
        }
    }
}

/// A channel to a server in this process.
async fn serve(fake: Fake) -> Channel {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let incoming = tokio_stream::once(Ok::<_, std::io::Error>(theirs));
    let server = Server::builder().add_service(DriverServer::new(fake)).serve_with_incoming(incoming);
    tokio::spawn(server);
    let mut ours = Some(ours);
    let dial = service_fn(move |_| {
        let ours: Option<DuplexStream> = ours.take();
        async move { ours.map(TokioIo::new).ok_or_else(|| std::io::Error::other("one connection")) }
    });
    Endpoint::from_static("http://fake").connect_with_connector(dial).await.unwrap()
}

fn lines(names: &[&str]) -> Lines {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    lines(names)
}

#[tokio::test]
async fn a_line_is_released_only_after_everything_read_on_it_is_stored() {
    let mut gateway = Gateway::new().await;
    let mut talk = gateway.open().await;
    let generation = talk.configure(1, &[]).await;
    for seq in 1..=50 {
        talk.batch(generation, seq, 0).await;
    }
    talk.order(Order::Release(lines(&["left"]))).await;
    talk.say(Up::Released(wire::Released { connections: vec!["left".to_owned()] })).await;
    while !matches!(talk.news().await, News::Released(7, released) if released == lines(&["left"])) {}
    assert_eq!(gateway.stored("one").await, 50);
}

#[tokio::test]
async fn a_configuration_is_taken_after_every_release_that_was_said_before_it() {
    let mut gateway = Gateway::new().await;
    let mut talk = gateway.open().await;
    let generation = talk.configure(1, &[]).await;
    talk.order(Order::Release(lines(&["left"]))).await;
    talk.order(Order::Configure { turn: 2, hold: Lines::new() }).await;
    assert!(matches!(talk.heard().await, Some(Down::Release(_))));
    let Some(Down::Configure(configure)) = talk.heard().await else { panic!("no Configure") };
    for seq in 1..=50 {
        talk.batch(generation, seq, 0).await;
    }
    talk.say(Up::Released(wire::Released { connections: vec!["left".to_owned()] })).await;
    let generation = configure.generation;
    talk.say(Up::Configured(wire::Configured { generation, ..Default::default() })).await;
    // otherwise it could be taken for the answer to a later release
    assert!(matches!(talk.news().await, News::Released(..)));
    assert!(matches!(talk.news().await, News::Configured { turn: 2, .. }));
}

#[tokio::test]
async fn a_driver_that_opens_no_session_is_killed_at_once_when_it_is_to_be() {
    let mut gateway = Gateway::new().await;
    let (news, _reports) = mpsc::channel(64);
    let (_orders, mut given) = mpsc::channel(16);
    let kill = CancellationToken::new();
    let (context, channel, killed) = (gateway.context.clone(), gateway.channel.clone(), kill.clone());
    let running = tokio::spawn(async move {
        let (role, kill, keep) = (&|_| {}, &killed, &CancellationToken::new());
        let setup = Setup {
            number: 7,
            context: &context,
            keeps: true,
            news: &news,
            role,
            known: &|_| true,
            kill,
            keep,
        };
        run(channel, setup, &mut given, &mut Told::default()).await
    });
    let _silent = gateway.opened.recv().await.unwrap();
    kill.cancel();
    let ended = timeout(OPENING / 2, running).await.expect("nobody waits for its Hello").unwrap();
    assert!(matches!(ended, Ended::Killed), "{ended}");
}

#[tokio::test]
async fn what_a_process_sends_again_in_its_next_session_is_stored_once_and_in_order() {
    let mut gateway = Gateway::new().await;
    let mut talk = gateway.open().await;
    let generation = talk.configure(1, &[]).await;
    for seq in 1..=3 {
        talk.batch(generation, seq, 0).await;
    }
    while !matches!(talk.heard().await, Some(Down::Ack(wire::Ack { seq: 3 }))) {}
    // the gateway is killed before the driver hears of it
    talk.kill.cancel();
    assert!(matches!(talk.running.await.unwrap(), Ended::Killed));

    let mut talk = gateway.open().await;
    let later = talk.configure(1, &[]).await;
    assert!(later > generation, "numbers of an earlier session are told apart");
    for seq in 2..=5 {
        talk.batch(generation, seq, 0).await;
    }
    for acked in 2..=5 {
        assert_eq!(talk.heard().await, Some(Down::Ack(wire::Ack { seq: acked })));
    }
    assert_eq!(gateway.stored("one").await, 5);
    let latest = gateway.context.pipeline.snapshot().await.unwrap();
    assert_eq!(latest.devices["one"].points["x"].value, Some(Value::Uint(5)));
}

#[tokio::test]
async fn a_process_that_is_left_running_hears_every_ack_and_no_stop() {
    let mut gateway = Gateway::new().await;
    let mut talk = gateway.open().await;
    let generation = talk.configure(1, &[]).await;
    talk.beat(&[(0, true, 1)]).await;
    for seq in 1..=20 {
        talk.batch(generation, seq, 0).await;
    }
    assert_eq!(talk.heard().await, Some(Down::Ack(wire::Ack { seq: 1 })));
    talk.keep.cancel();
    let mut acked = 1;
    while let Some(message) = talk.heard().await {
        let Down::Ack(wire::Ack { seq }) = message else { panic!("{message:?}") };
        acked = seq;
    }
    // the driver closes its half; batches it sends meanwhile are sent again later, events are not
    let head = *gateway.context.pipeline.head(Class::Event).borrow();
    let event = wire::Event { device: "one".to_owned(), name: "door".to_owned(), ..Default::default() };
    talk.say(Up::Event(event)).await;
    talk.batch(generation, 21, 0).await;
    drop(talk.say);
    assert!(matches!(talk.running.await.unwrap(), Ended::Kept));
    assert_eq!(gateway.stored("one").await, acked);
    assert_eq!(*gateway.context.pipeline.head(Class::Event).borrow(), head + 1, "the event is stored");
    assert_eq!(gateway.online(), set(&["one"]), "it goes on, and so do its devices");
}

#[tokio::test]
async fn a_buffer_that_takes_nothing_keeps_no_process_from_going_on() {
    let (deaf, _asked) = pipeline::handle::unheard();
    let mut gateway = Gateway::with(Some(deaf)).await;
    let mut talk = gateway.open().await;
    let generation = talk.configure(1, &[]).await;
    for seq in 1..=2 * BATCHES as u64 {
        talk.batch(generation, seq, 0).await;
    }
    // all of them are there, and the last ones find no place
    while talk.say.capacity() < talk.say.max_capacity() {
        tokio::task::yield_now().await;
    }
    let began = Instant::now();
    talk.keep.cancel();
    drop(talk.say);
    assert!(matches!(talk.running.await.unwrap(), Ended::Kept));
    assert!(began.elapsed() < DRAIN + LAST_ACKS + Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_process_speaks_only_for_the_lines_it_was_given() {
    let mut gateway = Gateway::new().await;
    let mut standby = gateway.open().await;
    standby.configure(1, &["left", "right"]).await;
    gateway.context.online.send_replace(HashSet::from(["one".to_owned()]));
    gateway.context.pipeline.link("one".into(), true, String::new()).await.unwrap();
    // nothing is known of devices on lines on hold, and that is nobody's business
    assert_eq!(standby.beat(&[(0, false, 0), (1, false, 0)]).await, set(&[]));
    assert_eq!((gateway.online(), gateway.shown("one").await.0), (set(&["one"]), true));
    // it takes the left line over: the device there is not lost for not having been read yet
    standby.configure(2, &["right"]).await;
    assert_eq!(standby.beat(&[(0, false, 0), (1, true, 9)]).await, set(&[]));
    assert_eq!(gateway.online(), set(&["one"]));
    assert_eq!(standby.beat(&[(0, true, 1)]).await, set(&["one"]));
    // and is, when it was read and is silent
    assert_eq!(standby.beat(&[(0, false, 1)]).await, set(&[]));
    assert_eq!(gateway.shown("one").await, (false, "silent".to_owned()));
    // what it gave back is not its business any more
    standby.beat(&[(0, true, 2)]).await;
    standby.order(Order::Release(lines(&["left"]))).await;
    assert!(matches!(standby.heard().await, Some(Down::Release(_))));
    assert_eq!(standby.beat(&[(0, false, 2)]).await, set(&[]));
    drop(standby.say);
    standby.running.await.unwrap();
    assert_eq!(gateway.online(), set(&["one"]));
}

#[tokio::test]
async fn every_command_has_one_outcome_however_the_session_ends() {
    let mut gateway = Gateway::new().await;
    let mut talk = gateway.open().await;
    talk.configure(1, &[]).await;
    let mut ask = async |id: &str| {
        let (reply, answer) = oneshot::channel();
        let deadline_boot_ns = clock::boot_ns() + 60_000_000_000;
        let (id, device) = (id.to_owned(), "one".to_owned());
        let request = CommandRequest { id, device, deadline_boot_ns, action: Action::Read(Vec::new()) };
        talk.order(Order::Command(Dispatch { request, reply })).await;
        assert!(matches!(talk.heard().await, Some(Down::Command(_))));
        (answer,)
    };
    let ((done,), (open,)) = (ask("1").await, ask("2").await);
    let status = wire::Status::Applied.into();
    for _ in 0..2 {
        let result = wire::CommandResult { id: "1".to_owned(), status, ..Default::default() };
        talk.say(Up::CommandResult(result)).await;
    }
    assert_eq!(done.await.unwrap().verdict, Verdict::Applied);
    drop(talk.say);
    assert!(matches!(talk.running.await.unwrap(), Ended::Broken(_)));
    assert_eq!(open.await.unwrap().verdict, Verdict::Unknown);
    assert_eq!(gateway.shown("one").await, (false, "driver fake is not connected".to_owned()));
}

#[tokio::test]
async fn a_process_with_another_instance_than_was_noted_is_not_the_one_that_was_kept() {
    let mut gateway = Gateway::new().await;
    let talk = gateway.open_as(STRANGER).await;
    let ended = talk.running.await.unwrap();
    assert!(matches!(ended, Ended::Contract(_)), "{ended}");
}

#[tokio::test]
async fn a_driver_that_breaks_the_contract_is_told_from_one_that_does_not() {
    for (message, broken) in [
        (Up::Batch(wire::Batch::default()), true),
        (Up::Hello(wire::Hello::default()), true),
        (Up::Configured(wire::Configured { generation: 1, ..Default::default() }), true),
        (Up::Released(wire::Released { connections: vec!["nobody asked".to_owned()] }), false),
        (Up::Heartbeat(wire::Heartbeat::default()), false),
    ] {
        let mut gateway = Gateway::new().await;
        let talk = gateway.open().await;
        let shown = format!("{message:?}");
        talk.say(message).await;
        drop(talk.say);
        let ended = talk.running.await.unwrap();
        assert_eq!(matches!(ended, Ended::Contract(_)), broken, "{shown}: {ended}");
    }
}
