//! Polls of several requests, between which others use the line; and what heartbeats tell of lines.

use super::*;
use crate::connection::COMMANDS_IN_A_ROW;

/// How long one request takes.
const STEP: Duration = Duration::from_millis(200);

/// One device with six requests of [`STEP`] in a poll, every 10 s.
fn long_poll(port: u64, period_ms: u64) -> Configuration {
    tables(json!({
        "connection": { "bus": { "port": port } },
        "device": { "meter": {
            "connection": "bus", "period_ms": period_ms,
            "points": ["a", "b", "c", "d", "e", "f"], "step_ms": STEP.as_millis() as u64, "pauses": true,
        } },
    }))
}

async fn request(world: &World, number: usize) {
    while world.count(&format!("request meter {number}")) == 0 {
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_waits_for_one_request_of_a_long_poll_and_the_poll_goes_on() {
    let world = World::new();
    let mut host = started(&world, &long_poll(1, 10_000)).await;
    request(&world, 1).await;
    let asked = Instant::now();
    assert_eq!(host.write("meter", &[("w", Value::Int(1))]).await.status(), Status::Applied);
    assert!(asked.elapsed() <= STEP, "{:?}", asked.elapsed());
    let mut values = Vec::new();
    for point in ["a", "b", "c", "d", "e", "f"] {
        let sample = host.sample().await;
        assert_eq!(sample.point, point);
        values.push(sample.value);
    }
    assert!(values.iter().all(|value| *value == Some(Value::Uint(1))), "one poll: {values:?}");
    let log: Vec<String> = (0..6).map(|number| format!("request meter {number}")).collect();
    let mut wanted: Vec<&str> = log.iter().map(String::as_str).collect();
    wanted.insert(3, "write meter");
    assert_eq!(world.order(&wanted), wanted, "every request once, the command after the one it met");
    assert_eq!(world.count("poll"), 1);
    assert_eq!(host.heartbeat().await.polls, 1);
}

#[tokio::test(start_paused = true)]
async fn commands_without_end_leave_a_paused_poll_its_turns() {
    let world = World::new();
    let mut host = started(&world, &long_poll(1, 10_000)).await;
    request(&world, 0).await;
    let mut ids = Vec::new();
    for value in 0..50 {
        let command = host.new_command("meter", write_w(value));
        ids.push(command.id.clone());
        host.send_command(command).await;
    }
    for id in &ids {
        assert_eq!(host.result(id).await.status(), Status::Applied);
    }
    while world.count("request meter 5") == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    let log: Vec<String> = (0..6).map(|number| format!("request meter {number}")).collect();
    let mut wanted: Vec<&str> = log.iter().map(String::as_str).collect();
    wanted.push("write meter");
    let order = world.order(&wanted);
    let last = order.iter().rposition(|line| line != "write meter").unwrap();
    let commands: Vec<usize> = order[..last].split(|line| line != "write meter").map(<[_]>::len).collect();
    assert_eq!(commands[2..], [COMMANDS_IN_A_ROW as usize; 4], "{order:?}");
    assert_eq!(order.len(), 56, "{order:?}");
}

#[tokio::test(start_paused = true)]
async fn a_release_waits_for_one_request_and_what_was_read_is_told_before_it() {
    let world = World::new();
    let mut host = started(&world, &long_poll(1, 10_000)).await;
    request(&world, 1).await;
    let asked = Instant::now();
    assert_eq!(host.release(&["bus"]).await, ["bus"]);
    assert!(asked.elapsed() <= STEP, "{:?}", asked.elapsed());
    let told: Vec<String> = host.taken().into_iter().map(|sample| sample.point).collect();
    assert_eq!(told, ["a", "b", "c"]);
    let heartbeat = host.heartbeat().await;
    assert_eq!((heartbeat.polls, heartbeat.samples), (0, 3), "it is no finished poll");
    assert_eq!((heartbeat.lines[0].open, heartbeat.lines[0].reason.as_str()), (false, "released"));
    host.configure(&long_poll(1, 10_000)).await;
    request(&world, 5).await;
    assert_eq!((world.count("poll"), world.count("request meter 0")), (2, 2), "the next one is a whole one");
}

#[tokio::test(start_paused = true)]
async fn a_new_configuration_leaves_a_paused_poll_alone_or_drops_it_with_its_device() {
    let world = World::new();
    let mut host = started(&world, &long_poll(1, 10_000)).await;
    request(&world, 1).await;
    host.configure(&long_poll(1, 10_000)).await;
    request(&world, 5).await;
    assert_eq!((world.count("poll"), world.count("request meter 0")), (1, 1));
    while world.count("request meter 1") < 2 {
        sleep(Duration::from_millis(1)).await;
    }
    host.stop().await;
    let (polls, requests) = (world.count("poll"), world.count("request"));
    assert_eq!((polls, requests), (2, 9), "a stop waits for one request");

    let world = World::new();
    let mut host = started(&world, &long_poll(1, 10_000)).await;
    request(&world, 1).await;
    let asked = Instant::now();
    host.configure(&long_poll(1, 5_000)).await;
    while world.count("poll") < 2 {
        sleep(Duration::from_millis(1)).await;
    }
    assert!(asked.elapsed() <= STEP + Duration::from_millis(2), "{:?}", asked.elapsed());
    request(&world, 5).await;
    let mut samples = Vec::new();
    while samples.len() < 9 {
        samples.push(host.sample().await);
    }
    let first = samples.iter().filter(|sample| sample.value == Some(Value::Uint(1))).count();
    assert_eq!(first, 3, "what the dropped poll read counts: {samples:?}");
}

#[tokio::test(start_paused = true)]
async fn a_command_that_stands_still_fails_the_poll_it_interrupted() {
    let world = World::new();
    let mut host = started(&world, &long_poll(1, 600_000)).await;
    request(&world, 1).await;
    world.writes.forget_permits(usize::MAX);
    let command = host.new_command("meter", write_w(1));
    host.send_command(command.clone()).await;
    // Longer than a test waits for one thing.
    while !matches!(host.next("its result").await, Some(Message::CommandResult(_))) {}
    assert_eq!(host.command(command).await.status(), Status::Unknown);
    let mut samples = host.taken();
    while samples.len() < 6 {
        samples.push(host.sample().await);
    }
    let good: Vec<bool> = samples.iter().map(|sample| sample.quality == Quality::Good).collect();
    assert_eq!(good, [true, true, true, false, false, false], "{samples:?}");
    world.writes.add_permits(1);
    request(&world, 5).await;
    assert_eq!(world.count("poll"), 2, "and it is made anew, from its beginning");
}

#[tokio::test(start_paused = true)]
async fn heartbeats_tell_how_busy_a_line_is_and_what_it_left_out() {
    let world = World::new();
    // 1.2 s of requests every second: one slot in six is lost.
    let mut host = started(&world, &long_poll(1, 1_000)).await;
    let heartbeat = loop {
        let heartbeat = host.heartbeat().await;
        if heartbeat.polls >= 50 {
            break heartbeat;
        }
    };
    let line = heartbeat.lines[0].clone();
    assert_eq!(line.connection, "bus");
    assert!(line.open && line.reason.is_empty(), "{line:?}");
    assert!(line.skipped.abs_diff(heartbeat.polls / 5) <= 1, "{heartbeat:?}");
    assert!(line.busy_ms.abs_diff(heartbeat.polls * 1_200) <= 1_200, "{heartbeat:?}");
    world.break_line(true);
    let broken = loop {
        let line = host.heartbeat().await.lines.remove(0);
        if !line.open {
            break line;
        }
    };
    assert_eq!(broken.reason, "connection refused");
    assert!(broken.skipped >= line.skipped && broken.busy_ms >= line.busy_ms);
    world.break_line(false);
    // Other settings make another line, and its counters go on.
    host.configure(&long_poll(2, 1_000)).await;
    let other = host.heartbeat().await.lines.remove(0);
    assert!(other.skipped >= broken.skipped && other.busy_ms >= broken.busy_ms, "{other:?}");
}

#[tokio::test(start_paused = true)]
async fn slots_left_out_for_a_silent_device_are_not_called_busy() {
    let world = World::new();
    world.silence("meter", true);
    let mut host = started(&world, &one_device()).await;
    let mut line = host.heartbeat().await.lines.remove(0);
    while world.count("poll") < 6 {
        line = host.heartbeat().await.lines.remove(0);
    }
    assert!(line.open, "the line is well: {line:?}");
    assert_eq!(line.skipped, 0);
}
