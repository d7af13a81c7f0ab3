//! Commands through a router before one driver, also across a restart.

use std::path::Path;

use sagoo_edge_proto::sample::Value;
use tokio::task::JoinHandle;

use super::*;
use crate::commands::Action;

/// A router before one driver.
struct Running {
    handle: Handle,
    dispatched: mpsc::Receiver<Dispatch>,
    router: JoinHandle<anyhow::Result<()>>,
    state: std::thread::JoinHandle<()>,
}

impl Running {
    /// With what it remembers in this directory.
    fn start(dir: &Path) -> Self {
        let (state, thread) = state::start(dir.join("state"));
        let (door, dispatched) = mpsc::channel(4);
        let devices = ["boiler", "pump"].map(|device| (device.to_owned(), Arc::from("modbus")));
        let routes = Routes { devices: devices.into(), drivers: [("modbus".into(), door)].into(), own: None };
        let (handle, router) = router(routes, state);
        let router = tokio::spawn(router.run(CancellationToken::new()));
        Self { handle, dispatched, router, state: thread }
    }

    /// With all that is to be kept.
    async fn end(self) {
        drop(self.handle);
        self.router.await.unwrap().unwrap();
        tokio::task::spawn_blocking(|| self.state.join().unwrap()).await.unwrap();
    }
}

fn setup() -> (Handle, mpsc::Receiver<Dispatch>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let Running { handle, dispatched, .. } = Running::start(dir.path());
    (handle, dispatched, dir)
}

fn write(id: &str, device: &str, seconds: u64) -> Request {
    Request {
        id: id.to_owned(),
        device: device.to_owned(),
        deadline_boot_ns: clock::boot_ns() + seconds * 1_000_000_000,
        action: Action::Write(vec![("limit".to_owned(), Value::Int(5))]),
    }
}

fn applied() -> Outcome {
    Outcome::failed(Verdict::Applied, "")
}

#[tokio::test]
async fn a_repeated_id_is_answered_from_memory() {
    let (handle, mut dispatched, _dir) = setup();
    let twice = (handle.clone(), handle.clone());
    let first = tokio::spawn(async move { twice.0.execute(write("7", "boiler", 10)).await });
    let second = tokio::spawn(async move { twice.1.execute(write("7", "boiler", 10)).await });
    dispatched.recv().await.unwrap().reply.send(applied()).unwrap();
    assert_eq!(first.await.unwrap(), applied());
    assert_eq!(second.await.unwrap(), applied());
    assert_eq!(handle.execute(write("7", "boiler", 10)).await, applied());
    assert!(dispatched.try_recv().is_err());
}

#[tokio::test]
async fn a_command_carried_out_before_a_restart_is_not_carried_out_again() {
    let dir = tempfile::tempdir().unwrap();
    for (round, verdict) in [(0, Verdict::Applied), (1, Verdict::Applied)] {
        let mut running = Running::start(dir.path());
        let handle = running.handle.clone();
        let asked = tokio::spawn(async move { handle.execute(write("7", "boiler", 10)).await });
        if round == 0 {
            running.dispatched.recv().await.unwrap().reply.send(applied()).unwrap();
        }
        assert_eq!(asked.await.unwrap().verdict, verdict);
        assert!(running.dispatched.try_recv().is_err());
        running.end().await;
    }
}

#[tokio::test]
async fn an_id_is_of_one_device_and_stands_for_one_command() {
    let (handle, mut dispatched, _dir) = setup();
    for device in ["boiler", "pump"] {
        let asking = handle.clone();
        let asked = tokio::spawn(async move { asking.execute(write("1", device, 10)).await });
        let dispatch = dispatched.recv().await.unwrap();
        assert_eq!(dispatch.request.device, device);
        dispatch.reply.send(applied()).unwrap();
        assert_eq!(asked.await.unwrap(), applied());
    }
    let action = Action::Write(vec![("limit".to_owned(), Value::Int(6))]);
    let other = handle.execute(Request { action, ..write("1", "boiler", 10) }).await;
    assert_eq!(other.verdict, Verdict::Refused, "the first one is not its answer");
    assert!(other.message.contains("another command"), "{}", other.message);
    assert!(dispatched.try_recv().is_err());
}

#[tokio::test]
async fn what_a_function_gave_back_survives_a_restart_unless_it_is_long() {
    let dir = tempfile::tempdir().unwrap();
    let invoke = |id: &str| Request {
        action: Action::Invoke { function: "f".to_owned(), input: "{}".to_owned() },
        ..write(id, "boiler", 10)
    };
    let (short, long) = (r#"{"a":1}"#.to_owned(), format!("{{\"a\":\"{}\"}}", "\\".repeat(3_000)));
    for round in 0..2 {
        let mut running = Running::start(dir.path());
        for (id, output) in [("1", &short), ("2", &long)] {
            let (asking, request) = (running.handle.clone(), invoke(id));
            let asked = tokio::spawn(async move { asking.execute(request).await });
            if round == 0 {
                let reply = running.dispatched.recv().await.unwrap().reply;
                reply.send(Outcome { output: output.clone(), ..applied() }).unwrap();
            }
            let outcome = asked.await.unwrap();
            let kept = if round == 1 && id == "2" { "" } else { output };
            assert_eq!((outcome.verdict, outcome.output.as_str()), (Verdict::Applied, kept));
        }
        assert!(running.dispatched.try_recv().is_err());
        running.end().await;
    }
}

#[tokio::test]
async fn the_gateways_own_functions_have_their_own_door() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _) = state::start(dir.path().join("state"));
    let (door, mut called) = mpsc::channel(4);
    let (handle, router) = router(Routes { own: Some(door), ..Routes::default() }, state);
    tokio::spawn(router.run(CancellationToken::new()));
    let asked = tokio::spawn(async move { handle.execute(write("1", GATEWAY, 10)).await });
    called.recv().await.unwrap().reply.send(applied()).unwrap();
    assert_eq!(asked.await.unwrap(), applied());
}

#[tokio::test]
async fn what_cannot_be_carried_out_is_refused_with_a_reason() {
    let (handle, mut dispatched, _dir) = setup();
    let late = handle.execute(write("1", "boiler", 0)).await;
    assert_eq!(late.verdict, Verdict::Expired);
    let typo = handle.execute(write("2", "boilr", 10)).await;
    assert_eq!((typo.verdict, typo.message.contains("did you mean \"boiler\"")), (Verdict::Refused, true));
    assert!(dispatched.try_recv().is_err());
}

#[tokio::test]
async fn idle_is_when_the_last_command_has_its_outcome() {
    let (handle, mut dispatched, _dir) = setup();
    handle.idle().await;
    let asking = handle.clone();
    let asked = tokio::spawn(async move { asking.execute(write("1", "boiler", 10)).await });
    let dispatch = dispatched.recv().await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(20), handle.idle()).await.is_err());
    dispatch.reply.send(applied()).unwrap();
    handle.idle().await;
    assert_eq!(asked.await.unwrap(), applied());
}

#[tokio::test]
async fn a_driver_that_dies_leaves_the_outcome_unknown() {
    let (handle, mut dispatched, _dir) = setup();
    let asked = tokio::spawn(async move { handle.execute(write("1", "boiler", 10)).await });
    drop(dispatched.recv().await.unwrap());
    assert_eq!(asked.await.unwrap().verdict, Verdict::Unknown);
}
