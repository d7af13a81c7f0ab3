//! Calls to a driver that says what it is told to say, over a real channel.

use std::pin::Pin;

use hyper_util::rt::TokioIo;
use sagoo_edge_proto::driver::driver_server::{Driver, DriverServer};
use tokio::io::DuplexStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::Request;
use tonic::transport::{Endpoint, Server};
use tower::service_fn;

use super::*;

const CONFIG: &str = r#"
gateway = { product_key = "edge", device_key = "gw" }
sagoo = { broker = "mqtt://127.0.0.1" }
connection.hall = { driver = "fake" }
model.m.points.x = {}
device.one = { connection = "hall", model = "m", sagoo = { product_key = "m", device_key = "d1" } }
"#;
const SOON: Duration = Duration::from_secs(20);

type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Scans = mpsc::Sender<(wire::ScanRequest, mpsc::Sender<Result<wire::ScanResponse, Status>>)>;

/// Hands every scan to the test; plans to read what it is asked about; captures nothing.
struct Fake(Scans);

#[tonic::async_trait]
impl Driver for Fake {
    type SessionStream = Replies<wire::DriverMessage>;
    type ScanStream = Replies<wire::ScanResponse>;
    type CaptureStream = Replies<wire::CaptureResponse>;

    async fn describe(
        &self,
        _: Request<wire::DescribeRequest>,
    ) -> Result<Response<wire::DescribeResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn check(
        &self,
        request: Request<wire::CheckRequest>,
    ) -> Result<Response<wire::CheckResponse>, Status> {
        let asked = request.into_inner().configuration.unwrap_or_default();
        let request = wire::PlannedRequest { period_ms: 100, predicted_ms: 25.0, ..Default::default() };
        let learned = wire::Learned { what: "a hole".to_owned(), paste: "holes = []".to_owned() };
        let plans = asked.devices.into_iter().map(|device| wire::DevicePlan {
            device: device.name,
            requests: vec![request.clone()],
            learned: vec![learned.clone()],
        });
        Ok(Response::new(wire::CheckResponse { plans: plans.collect(), ..Default::default() }))
    }

    async fn session(
        &self,
        _: Request<Streaming<wire::HostMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn scan(&self, request: Request<wire::ScanRequest>) -> Result<Response<Self::ScanStream>, Status> {
        let (say, said) = mpsc::channel(8);
        let _ = self.0.send((request.into_inner(), say)).await;
        Ok(Response::new(Box::pin(ReceiverStream::new(said))))
    }

    async fn capture(
        &self,
        _: Request<wire::CaptureRequest>,
    ) -> Result<Response<Self::CaptureStream>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// A channel to a driver in this process.
async fn serve(fake: Fake) -> Channel {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let incoming = tokio_stream::once(Ok::<_, std::io::Error>(theirs));
    tokio::spawn(Server::builder().add_service(DriverServer::new(fake)).serve_with_incoming(incoming));
    let mut ours = Some(ours);
    let dial = service_fn(move |_| {
        let ours: Option<DuplexStream> = ours.take();
        async move { ours.map(TokioIo::new).ok_or_else(|| std::io::Error::other("one connection")) }
    });
    Endpoint::from_static("http://fake").connect_with_connector(dial).await.unwrap()
}

fn config() -> Arc<Config> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("gateway.toml"), CONFIG).unwrap();
    Arc::new(crate::config::load(dir.path()).config.unwrap())
}

/// Drivers behind a supervisor that knows this way to them, or says why there is none.
fn drivers(way: Result<Channel, String>) -> Drivers {
    let config = config();
    let configuration = Arc::new(configuration::of_driver(&config, "fake"));
    let (door, mut asked) = mpsc::channel::<Reach>(1);
    tokio::spawn(async move {
        while let Some(reach) = asked.recv().await {
            let configuration = configuration.clone();
            let reached = way.clone().map(|channel| Reached { channel, configuration });
            let _ = reach.reply.send(reached);
        }
    });
    Drivers::new(config, HashMap::from([("fake".into(), door)]))
}

async fn running()
-> (Drivers, mpsc::Receiver<(wire::ScanRequest, mpsc::Sender<Result<wire::ScanResponse, Status>>)>) {
    let (scans, began) = mpsc::channel(1);
    (drivers(Ok(serve(Fake(scans)).await)), began)
}

#[tokio::test]
async fn a_connection_that_is_not_there_is_answered_with_the_one_that_is() {
    let error = drivers(Err(String::new())).scan("hal", String::new(), 0).await.unwrap_err();
    assert_eq!(error, "the gateway has no connection \"hal\"; did you mean \"hall\"?");
}

#[tokio::test]
async fn a_driver_that_does_not_run_is_said_to_be_so_for_each_connection() {
    let drivers = drivers(Err("driver fake is not running".to_owned()));
    let plans = drivers.plans().await;
    assert_eq!(plans, [ConnectionPlan::unknown("hall", "fake", "driver fake is not running".to_owned())]);
    let error = drivers.capture("hall", 0).await.unwrap_err();
    assert_eq!(error, "driver fake is not running");
}

#[tokio::test]
async fn a_running_driver_tells_what_it_plans_and_what_it_learned() {
    let (drivers, _began) = running().await;
    let plans = drivers.plans().await;
    assert_eq!((plans.len(), plans[0].share, plans[0].devices.len()), (1, Some(0.25), 1));
    assert_eq!(plans[0].devices[0].learned[0].what, "a hole");
}

#[tokio::test]
async fn a_driver_that_cannot_do_it_says_so() {
    let (drivers, _began) = running().await;
    let error = drivers.capture("hall", 0).await.unwrap_err();
    assert_eq!(error, "fake: the driver cannot do that");
}

#[tokio::test]
async fn a_scan_is_passed_on_and_one_that_nobody_follows_ends_in_the_driver() {
    let (drivers, mut began) = running().await;
    let mut scan = drivers.scan("hall", "{\"units\":\"1-3\"}".to_owned(), 5_000).await.unwrap();
    let (request, say) = began.recv().await.unwrap();
    let line = request.connection.unwrap();
    assert_eq!((line.name.as_str(), line.settings.as_str()), ("hall", ""), "those that run are used");
    assert_eq!((request.deadline_ms, request.options.as_str()), (5_000, "{\"units\":\"1-3\"}"));
    let progress = wire::ScanProgress { done: 1, total: 3, now: "unit 2".to_owned() };
    let message = Some(wire::scan_response::Message::Progress(progress));
    say.send(Ok(wire::ScanResponse { message: message.clone() })).await.unwrap();
    assert_eq!(scan.next().await.unwrap().unwrap().message, message);
    drop(scan);
    timeout(SOON, say.closed()).await.expect("the driver learns that nobody follows");
}
