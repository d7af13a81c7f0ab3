//! The session against a gateway in the same process.

use sagoo_edge_proto::clock;
use sagoo_edge_proto::driver::{PointValue, Write, command::Action, driver_message::Message};
use sagoo_edge_proto::sample::{Quality, Value};
use serde_json::json;
use tokio::time::{Instant, sleep};

mod calls;
mod handover;
mod looks;
mod loss;
mod pauses;
mod standstill;

use super::fake::{Fake, SILENCE, World};
use super::*;
use crate::driver::Configuration;
use crate::outbox::KEPT_BATCHES;
use crate::testing::{Arrived, Command, Status, TestHost, tables};

fn one_device() -> Configuration {
    tables(json!({
        "connection": { "bus": {} },
        "device": { "meter": { "connection": "bus" } },
    }))
}

fn write_w(value: i64) -> Action {
    let value = Some(Value::Int(value).into());
    Action::Write(Write { values: vec![PointValue { point: "w".into(), value }] })
}

async fn started(world: &Arc<World>, tables: &Configuration) -> TestHost {
    let mut host = TestHost::new(Fake(world.clone())).await;
    assert_eq!(host.configure(tables).await, []);
    host
}

#[tokio::test(start_paused = true)]
async fn what_is_read_arrives_with_its_names() {
    let world = World::new();
    let mut host = started(&world, &one_device()).await;
    let sample = host.sample_of("meter", "b").await;
    assert_eq!((sample.value, sample.quality), (Some(Value::Uint(1)), Quality::Good));
    assert_eq!(host.sample_of("meter", "b").await.value, Some(Value::Uint(2)));
    let heartbeat = host.heartbeat().await;
    assert!(heartbeat.polls >= 2 && heartbeat.samples == 2 * heartbeat.polls);
    assert!(heartbeat.devices[0].online);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_device_is_told_and_the_others_run() {
    let world = World::new();
    let mut host = TestHost::new(Fake(world.clone())).await;
    let problems = host
        .configure(&tables(json!({
            "connection": { "bus": {} },
            "device": {
                "good": { "connection": "bus" },
                "bad": { "connection": "bus", "wrong": true },
            },
        })))
        .await;
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].path, ["device", "bad"]);
    assert_eq!(host.sample().await.device, "good");
}

#[tokio::test(start_paused = true)]
async fn a_repeated_command_is_never_executed_again() {
    let world = World::new();
    let mut host = started(&world, &one_device()).await;
    let command = host.new_command("meter", write_w(7));
    let first = host.command(command.clone()).await;
    assert_eq!(first.status(), Status::Applied, "{first:?}");
    assert_eq!(host.command(command.clone()).await, first);
    host.reopen().await;
    assert_eq!(host.command(command).await, first, "not in a new session either");
    assert_eq!(world.count("write"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_command_repeated_while_it_runs_is_executed_and_answered_once() {
    let world = World::new();
    world.writes.forget_permits(usize::MAX);
    let mut host = started(&world, &one_device()).await;
    let command = host.new_command("meter", write_w(7));
    host.send_command(command.clone()).await;
    while world.count("write") == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    host.send_command(command.clone()).await;
    host.send_command(command.clone()).await;
    sleep(Duration::from_millis(1)).await;
    world.writes.add_permits(10);
    assert_eq!(host.result(&command.id).await.status(), Status::Applied);
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until {
        let message = host.next("more").await;
        assert!(!matches!(message, Some(Message::CommandResult(_))), "a second result: {message:?}");
    }
    assert_eq!(world.count("write"), 1);
}

// Deadlines are boot time, which no test can pause: these three run by the real clock.
#[tokio::test]
async fn an_expired_command_is_never_executed() {
    let world = World::new();
    let mut host = started(&world, &one_device()).await;
    let late = Command { deadline_boot_ns: clock::boot_ns() - 1, ..host.new_command("meter", write_w(1)) };
    assert_eq!(host.command(late).await.status(), Status::Expired);
    assert_eq!(world.count("write"), 0);
}

#[tokio::test]
async fn a_command_that_waits_is_answered_at_its_deadline_while_its_line_is_taken() {
    let world = World::new();
    world.writes.forget_permits(usize::MAX);
    let mut host = started(&world, &one_device()).await;
    let first = host.new_command("meter", write_w(2));
    host.send_command(first.clone()).await;
    while world.count("write") == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    let soon = || clock::boot_ns() + 50_000_000;
    let waits = Command { deadline_boot_ns: soon(), ..host.new_command("meter", write_w(3)) };
    let patient = host.new_command("meter", write_w(4));
    host.send_command(waits.clone()).await;
    host.send_command(patient.clone()).await;
    let expired = host.result(&waits.id).await;
    assert_eq!(expired.status(), Status::Expired, "{expired:?}");
    assert_eq!(expired.message, "its deadline passed while it waited for its line");
    assert!(clock::boot_ns() >= waits.deadline_boot_ns);
    assert_eq!(host.command(waits.clone()).await, expired, "asked again it says so again");
    world.writes.add_permits(10);
    assert_eq!(host.result(&first.id).await.status(), Status::Applied);
    assert_eq!(host.result(&patient.id).await.status(), Status::Applied);
    assert_eq!(world.count("write"), 2, "the expired one was passed over");
}

#[tokio::test]
async fn a_command_its_line_has_begun_with_is_the_lines_to_call_expired() {
    let world = World::new();
    world.writes.forget_permits(usize::MAX);
    let mut host = started(&world, &one_device()).await;
    let deadline_boot_ns = clock::boot_ns() + 1_000_000_000;
    let begun = Command { deadline_boot_ns, ..host.new_command("meter", write_w(2)) };
    host.send_command(begun.clone()).await;
    while clock::boot_ns() <= deadline_boot_ns || world.count("write") == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    world.writes.add_permits(1);
    let result = host.result(&begun.id).await;
    assert_eq!(result.status(), Status::Expired);
    assert_eq!(result.message, "w: its deadline passed before it was sent");
    assert_eq!(result.points[0].status(), Status::Expired);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_done_is_refused_by_name() {
    let world = World::new();
    let mut host = started(&world, &one_device()).await;
    let refused = host.write("metre", &[("w", Value::Int(1))]).await;
    assert_eq!(
        (refused.status(), refused.message.as_str()),
        (Status::Refused, "no device \"metre\"; did you mean \"meter\"?")
    );
    let refused = host.write("meter", &[("a", Value::Int(1))]).await;
    assert_eq!(
        (refused.status(), refused.message.as_str()),
        (Status::Refused, "point \"a\" is not writable")
    );
    let refused = host.invoke("meter", "reset", &json!({})).await;
    assert_eq!(refused.message, "this driver has no function \"reset\"");
    let read = host.read("meter", &["b"]).await;
    assert_eq!(read.points[0].value, Some(Value::Text("1".into()).into()));
    assert_eq!(world.count("write"), 0);
}

#[tokio::test(start_paused = true)]
async fn more_commands_than_may_wait_are_refused() {
    let world = World::new();
    world.writes.forget_permits(usize::MAX);
    let mut host = started(&world, &one_device()).await;
    let mut ids = Vec::new();
    for value in 0..80 {
        let command = host.new_command("meter", write_w(value));
        ids.push(command.id.clone());
        host.send_command(command).await;
    }
    let refused = host.result(ids.last().unwrap()).await;
    assert_eq!(refused.message, "64 commands wait for connection \"bus\" already");
    world.writes.add_permits(100);
    assert_eq!(host.result(&ids[63]).await.status(), Status::Applied);
}

#[tokio::test(start_paused = true)]
async fn unacknowledged_batches_come_again_in_order_and_acknowledged_ones_do_not() {
    let world = World::new();
    let mut host = started(&world, &one_device()).await;
    host.acknowledge_batches(false);
    let mut last = 0;
    while last < 6 {
        last = host.sample().await.seq;
    }
    host.acknowledge(3).await;
    // An acknowledgement that a new session overtakes is lost, and the batches are doubles.
    host.heartbeat().await;
    let instance = host.reopen().await;
    host.configure(&one_device()).await;
    let mut seqs = Vec::new();
    while seqs.last() != Some(&12) {
        let seq = host.sample().await.seq;
        if seqs.last() != Some(&seq) {
            seqs.push(seq);
        }
    }
    assert_eq!(seqs, [4, 5, 6, 7, 8, 9, 10, 11, 12]);
    assert_eq!(host.reopen().await, instance, "the instance is the process");
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_does_not_read_stalls_no_poll_and_every_drop_is_counted() {
    let world = World::new();
    let fast = tables(json!({
        "connection": { "bus": {} },
        "device": { "meter": { "connection": "bus", "period_ms": 10 } },
    }));
    let mut host = started(&world, &fast).await;
    let polls = KEPT_BATCHES + 1_000;
    while world.count("poll") < polls {
        sleep(Duration::from_secs(1)).await;
    }
    let heartbeat = loop {
        let heartbeat = host.heartbeat().await;
        if heartbeat.dropped > 0 {
            break heartbeat;
        }
    };
    assert!(heartbeat.unacked as usize <= KEPT_BATCHES);
    assert_eq!(heartbeat.dropped, heartbeat.devices[0].dropped);
    let arrived = host.stop().await.len() as u64;
    assert_eq!(arrived + heartbeat.dropped, 2 * world.count("poll") as u64, "read = arrived + dropped");
}

#[tokio::test(start_paused = true)]
async fn a_new_configuration_leaves_what_did_not_change_alone() {
    let world = World::new();
    let field = |period: u64, port: u64| {
        tables(json!({
            "connection": { "bus": {}, "hall": { "port": port } },
            "device": {
                "meter": { "connection": "bus" },
                "pump": { "connection": "bus", "period_ms": period },
                "fan": { "connection": "hall" },
            },
        }))
    };
    let mut host = started(&world, &field(1_000, 1)).await;
    host.sample_of("pump", "a").await;
    host.sample_of("meter", "a").await;
    host.sample_of("fan", "a").await;
    assert_eq!((world.count("open"), world.count("close")), (2, 0));
    assert_eq!(host.configure(&field(500, 1)).await, []);
    let before = host.sample_of("meter", "a").await;
    assert_eq!((world.count("open"), world.count("close")), (2, 0), "no line was touched");
    assert_eq!(host.configure(&field(500, 2)).await, []);
    let after = host.sample_of("meter", "a").await;
    host.sample_of("fan", "a").await;
    assert_eq!((world.count("open"), world.count("close")), (3, 1), "only the changed line was opened anew");
    assert!(matches!((before.value, after.value), (Some(Value::Uint(a)), Some(Value::Uint(b))) if b > a));
}

#[tokio::test(start_paused = true)]
async fn a_silent_device_goes_offline_and_does_not_slow_the_others() {
    let world = World::new();
    let field = tables(json!({
        "connection": { "bus": {} },
        "device": {
            "meter": { "connection": "bus" },
            "dead": { "connection": "bus" },
        },
    }));
    world.silence("dead", true);
    let mut host = started(&world, &field).await;
    let bad = host.sample_of("dead", "a").await;
    assert_eq!(bad.quality, Quality::Bad("no answer".into()));
    let start = Instant::now();
    for _ in 0..100 {
        host.sample_of("meter", "a").await;
    }
    assert!(start.elapsed() <= Duration::from_secs(101) + SILENCE, "{:?}", start.elapsed());
    let heartbeat = host.heartbeat().await;
    let dead = heartbeat.devices.iter().find(|state| !state.online).expect("one is offline");
    assert_eq!(dead.reason, "no answer");
    assert!(world.count("poll dead") <= 7, "{} polls of a silent device", world.count("poll dead"));
    world.silence("dead", false);
    loop {
        let sample = host.sample().await;
        if sample.device == "dead" && sample.quality == Quality::Good {
            break;
        }
    }
    let until = Instant::now() + 2 * HEARTBEAT;
    while Instant::now() < until && !host.heartbeat().await.devices.iter().all(|state| state.online) {}
    assert!(host.heartbeat().await.devices.iter().all(|state| state.online));
}

#[tokio::test(start_paused = true)]
async fn a_command_to_an_offline_device_is_tried_all_the_same() {
    let world = World::new();
    world.silence("meter", true);
    let mut host = started(&world, &one_device()).await;
    while host.heartbeat().await.devices[0].reason != "no answer" {}
    assert_eq!(host.write("meter", &[("w", Value::Int(1))]).await.status(), Status::Applied);
    let read = host.read("meter", &["a"]).await;
    assert_eq!((read.status(), read.message.as_str()), (Status::Unknown, "a: no answer"));
}

#[tokio::test(start_paused = true)]
async fn a_broken_line_takes_its_devices_offline_and_brings_them_back_at_once() {
    let world = World::new();
    let mut host = started(&world, &one_device()).await;
    host.sample().await;
    world.break_line(true);
    while host.heartbeat().await.devices[0].online {}
    assert!(world.count("close") >= 1);
    world.break_line(false);
    let start = Instant::now();
    while host.sample_of("meter", "a").await.quality != Quality::Good {}
    assert!(start.elapsed() <= Duration::from_secs(11), "{:?}", start.elapsed());
    while !host.heartbeat().await.devices[0].online {}
}

#[tokio::test(start_paused = true)]
async fn a_released_line_is_closed_and_quiet_until_configured_again() {
    let world = World::new();
    let mut host = started(&world, &one_device()).await;
    host.sample().await;
    assert_eq!(host.release(&["bus", "elsewhere"]).await, ["bus", "elsewhere"]);
    assert_eq!(host.release(&[]).await, ["bus"], "asked again it says so again");
    assert_eq!((world.count("open"), world.count("close")), (1, 1));
    let polls = world.count("poll");
    let refused = host.write("meter", &[("w", Value::Int(1))]).await;
    assert_eq!(refused.message, "connection \"bus\" is released");
    sleep(Duration::from_secs(20)).await;
    assert_eq!(world.count("poll"), polls);
    host.configure(&one_device()).await;
    host.sample_of("meter", "a").await;
    assert_eq!((world.count("open"), world.count("close")), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn stop_closes_the_lines_and_sends_what_is_left() {
    let world = World::new();
    let mut host = started(&world, &one_device()).await;
    let mut arrived = 0;
    while arrived < 5 {
        host.sample().await;
        arrived += 1;
    }
    arrived += host.stop().await.len();
    assert_eq!(arrived, 2 * world.count("poll"));
    assert_eq!((world.count("open"), world.count("close")), (1, 1));
    host.reopen().await;
    host.configure(&one_device()).await;
    host.sample().await;
    assert_eq!(world.count("open"), 2, "it can be configured again");
}

#[tokio::test(start_paused = true)]
async fn stop_does_not_wait_for_a_line_that_hangs() {
    let world = World::new();
    world.writes.forget_permits(usize::MAX);
    let mut host = started(&world, &one_device()).await;
    let command = host.new_command("meter", write_w(1));
    host.send_command(command.clone()).await;
    while world.count("write") == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    let waits = host.new_command("meter", write_w(2));
    host.send_command(waits.clone()).await;
    let start = Instant::now();
    host.stop().await;
    assert!(start.elapsed() <= STOP_GRACE + DRAIN_GRACE, "{:?}", start.elapsed());
    host.reopen().await;
    let result = host.command(command).await;
    assert_eq!(result.status(), Status::Unknown, "it may have happened: {result:?}");
    let result = host.command(waits).await;
    assert_eq!(result.status(), Status::Refused, "it never began: {result:?}");
    assert_eq!(world.count("write"), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_read_at_the_same_moment_travels_together() {
    let world = World::new();
    let field = tables(json!({
        "connection": { "bus": {}, "hall": {} },
        "device": {
            "meter": { "connection": "bus" },
            "fan": { "connection": "hall" },
        },
    }));
    let mut host = started(&world, &field).await;
    let mut devices: Vec<(u64, String)> = Vec::new();
    while devices.len() < 8 {
        let sample = host.sample().await;
        devices.push((sample.seq, sample.device));
    }
    for seq in 1..=2 {
        let together = devices.iter().filter(|(of, _)| *of == seq);
        let mut names: Vec<&str> = together.map(|(_, name)| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["fan", "fan", "meter", "meter"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_session_supersedes_the_first() {
    let world = World::new();
    let mut host = started(&world, &one_device()).await;
    let mut other = TestHost::new(Fake(World::new())).await;
    other.share(&host);
    other.reopen().await;
    other.configure(&one_device()).await;
    other.sample().await;
    while host.next("the end of the first session").await.is_some() {}
}

#[tokio::test(start_paused = true)]
async fn a_lost_gateway_ends_the_driver_after_its_lines_are_free() {
    let world = World::new();
    let mut host = started(&world, &one_device()).await;
    host.sample().await;
    let start = Instant::now();
    assert_eq!(host.ended().await, Ended::Orphaned);
    assert!(start.elapsed() <= Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!((world.count("open"), world.count("close")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_line_ends_the_driver() {
    let world = World::new();
    let field = tables(json!({
        "connection": { "bus": {} },
        "device": { "meter": { "connection": "bus", "panics": true } },
    }));
    let mut host = started(&world, &field).await;
    while host.next("the end").await.is_some() {}
    assert_eq!(host.ended().await, Ended::Panicked);
}

#[tokio::test(start_paused = true)]
async fn numbers_keep_their_meaning_so_that_old_batches_can_be_sent_again() {
    let world = World::new();
    let field = |points: &[&str]| {
        tables(json!({
            "connection": { "bus": {} },
            "device": { "meter": { "connection": "bus", "points": points } },
        }))
    };
    let mut host = started(&world, &field(&["x", "y"])).await;
    host.acknowledge_batches(false);
    let first = [host.sample().await, host.sample().await];
    host.reopen().await;
    host.configure(&field(&["z", "y"])).await;
    let again = [host.sample().await, host.sample().await];
    assert_eq!(again, first);
    assert_eq!(host.sample_of("meter", "z").await.quality, Quality::Good);
}
