//! A driver's process: what it offers, and every way it ends.

use sagoo_edge_proto::clock;
use sagoo_edge_proto::driver::driver_client::DriverClient;
use sagoo_edge_proto::driver::{
    self as wire, CaptureRequest, CheckRequest, Command, DescribeRequest, PointValue, ScanRequest,
    command::Action, driver_message::Message, host_message,
};
use sagoo_edge_proto::handshake::{Address, COOKIE_KEY, Handshake};
use sagoo_edge_proto::plugin::grpc_broker_client::GrpcBrokerClient;
use sagoo_edge_proto::plugin::grpc_stdio_client::GrpcStdioClient;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::rig::{Driver, Session, WAIT, command, healthy, one_device, shut_down};

#[tokio::test]
async fn a_driver_is_called_by_its_name_in_every_list_of_processes() {
    let driver = Driver::start("sine", false).await;
    let comm = std::fs::read_to_string(format!("/proc/{}/comm", driver.child.id().unwrap())).unwrap();
    assert_eq!(comm.trim(), "driver-sine");
    let channel = driver.connect().await.unwrap();
    shut_down(driver, channel).await;
}

#[tokio::test]
async fn without_the_cookie_it_says_what_it_is_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    let output = command("sine", &dir).env_remove(COOKIE_KEY).output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("This binary is a plugin"), "{text}");
    assert!(text.contains("sine") && text.contains("sagoo-edge starts it"), "{text}");
}

#[tokio::test]
async fn a_host_can_use_every_service() {
    let driver = Driver::start("sine", false).await;
    let channel = driver.connect().await.unwrap();
    assert!(healthy(&channel, "plugin").await && healthy(&channel, "").await);

    let mut client = DriverClient::new(channel.clone());
    let description = client.describe(DescribeRequest {}).await.unwrap().into_inner();
    assert_eq!(description.name, "sine");
    assert_eq!(description.abilities, ["write", "reattach"], "the second is the SDK's");
    let check = CheckRequest { configuration: Some(one_device(r#"{"period_ms": 3}"#)) };
    let checked = client.check(check).await.unwrap().into_inner();
    assert_eq!(checked.problems[0].path, ["device", "wave", "period_ms"]);
    assert_eq!(checked.rights, None, "a driver that does not say");
    let demo = || Some(wire::Connection { name: "demo".into(), settings: String::new() });
    let scan = ScanRequest { connection: demo(), ..Default::default() };
    let refused = client.scan(scan.clone()).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::NotFound, "no connection \"demo\""));

    let stdio = GrpcStdioClient::new(channel.clone()).stream_stdio(()).await.unwrap();
    let (offers, broker) = mpsc::channel(1);
    let first =
        GrpcBrokerClient::new(channel.clone()).start_stream(ReceiverStream::new(broker)).await.unwrap();
    drop((offers, first));
    let (_offers, broker) = mpsc::channel(1);
    let second =
        GrpcBrokerClient::new(channel.clone()).start_stream(ReceiverStream::new(broker)).await.unwrap();

    let (mut session, instance) = Session::open(&channel).await;
    assert_eq!(instance.len(), 16);
    let configured = session.configure(r#"{"period_ms": 20}"#).await;
    assert_eq!((configured.generation, configured.problems.len()), (9, 0));
    assert_eq!(configured.devices[0].points, ["wave", "amplitude"]);
    assert_eq!(configured.devices[0].writable, [false, true]);
    let refused = client.scan(scan).await.unwrap_err();
    assert_eq!(refused.message(), "driver sine cannot look for devices");
    let capture = CaptureRequest { connection: "demo".into(), duration_ms: 0 };
    let mut capture = client.capture(capture).await.unwrap().into_inner();
    let first = capture.message().await.unwrap().unwrap();
    assert_eq!(first.lines, ["# sagoo-edge capture 1 sine"]);
    let write = wire::Write {
        values: vec![PointValue {
            point: "amplitude".into(),
            value: Some(sagoo_driver_sdk::Value::Float(2.5).into()),
        }],
    };
    let command = Command {
        id: "c1".into(),
        deadline_boot_ns: clock::boot_ns() + 10_000_000_000,
        device: "wave".into(),
        action: Some(Action::Write(write)),
    };
    session.send(host_message::Message::Command(command)).await;
    let result = session.wait_for(|message| match message {
        Message::CommandResult(result) => Some(result),
        _ => None,
    });
    assert_eq!(result.await.status(), wire::Status::Applied);
    let batch = |message| match message {
        Message::Batch(batch) => Some(batch),
        _ => None,
    };
    let seq = session.wait_for(batch).await.seq;
    session.send(host_message::Message::Ack(wire::Ack { seq })).await;
    assert_eq!(session.wait_for(batch).await.seq, seq + 1);
    // Every stream is still open: ending must not wait for them.
    shut_down(driver, channel).await;
    drop((stdio, second, session, capture));
}

#[tokio::test]
async fn interrupts_are_for_the_host_and_termination_is_clean() {
    let mut driver = Driver::start("sine", false).await;
    driver.signal("-INT");
    let channel = driver.connect().await.unwrap();
    assert!(healthy(&channel, "plugin").await);
    let (_session, _) = Session::open(&channel).await;
    driver.signal("-TERM");
    assert_eq!(driver.exit().await.code(), Some(0));
    assert_eq!(driver.left_behind(), 0);
    driver.log().await;
}

#[tokio::test]
async fn a_panic_ends_the_process_with_one_error_line() {
    let mut driver = Driver::start("panics", false).await;
    let channel = driver.connect().await.unwrap();
    let (mut session, _) = Session::open(&channel).await;
    session.configure("{}").await;
    assert_eq!(driver.exit().await.code(), Some(101));
    assert_eq!(driver.left_behind(), 0);
    let log = driver.log().await;
    let panics: Vec<_> = log.iter().filter(|line| line["@level"] == "error").collect();
    assert_eq!(panics.len(), 1, "{log:?}");
    assert_eq!(panics[0]["@message"], "panicked: this driver always does");
}

#[tokio::test]
async fn a_temporary_directory_with_a_long_name_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let long = dir.path().join("x".repeat(120));
    std::fs::create_dir(&long).unwrap();
    let mut child = command("sine", &dir).env("TMPDIR", &long).spawn().unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    timeout(WAIT, stdout.read_line(&mut line)).await.unwrap().unwrap();
    let Address::Unix(path) = Handshake::parse(&line).unwrap().address else { panic!("a unix socket") };
    assert!(line.contains("|/tmp/plugin"), "{line}");
    let pid = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").arg(&pid).status().unwrap().success());
    assert_eq!(timeout(WAIT, child.wait()).await.unwrap().unwrap().code(), Some(0));
    assert!(!path.exists() && !path.parent().unwrap().exists());
}
