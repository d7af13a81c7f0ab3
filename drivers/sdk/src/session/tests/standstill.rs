//! Lines that stand still, and those that are only slow.

use super::*;
use crate::connection::STANDSTILL;

const SHARE: Duration = Duration::from_secs(8);

#[tokio::test(start_paused = true)]
async fn a_line_that_stands_still_is_told_cut_off_and_started_anew_alone() {
    let world = World::new();
    let field = tables(json!({
        "connection": { "bus": {}, "hall": {} },
        "device": {
            "meter": { "connection": "bus" },
            "fan": { "connection": "hall" },
        },
    }));
    let mut host = started(&world, &field).await;
    host.sample_of("meter", "a").await;
    let (fans, meters) = (world.count("poll fan"), world.count("poll meter"));
    // One request hangs for ever; those after it would not.
    world.stick("meter", true);
    while world.count("poll meter") == meters {
        sleep(Duration::from_millis(10)).await;
    }
    world.stick("meter", false);
    let start = Instant::now();
    let mut worst = 0;
    let bad = loop {
        let heartbeat = host.heartbeat().await;
        assert!(
            heartbeat.overdue_ms >= worst || heartbeat.overdue_ms < 5_000,
            "it only rises, until it is over"
        );
        worst = worst.max(heartbeat.overdue_ms);
        let bad = host.taken().into_iter().find(|sample| sample.quality != Quality::Good);
        if let Some(bad) = bad {
            break bad;
        }
    };
    assert_eq!(bad.quality, Quality::Bad("the driver did not come back from it for 60 s".to_owned()));
    let least = STANDSTILL - Duration::from_millis(10);
    assert!((least..STANDSTILL + SHARE).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert!(worst >= 55_000, "the gateway saw it: {worst} ms");
    assert!(world.count("poll fan") >= fans + 59, "the other line went on");
    while host.sample_of("meter", "a").await.quality != Quality::Good {}
    assert_eq!(
        (world.count("open"), world.count("close")),
        (3, 0),
        "a line that hangs is not asked to close"
    );
    while host.heartbeat().await.overdue_ms > 0 {}
}

#[tokio::test(start_paused = true)]
async fn a_slow_request_that_goes_on_is_not_cut_off() {
    let world = World::new();
    let field = tables(json!({
        "connection": { "bus": {} },
        "device": { "meter": { "connection": "bus", "points": ["a", "b", "c", "d", "e", "f"], "step_ms": 30_000 } },
    }));
    let mut host = started(&world, &field).await;
    let start = Instant::now();
    let mut arrived = 0;
    while arrived < 6 {
        let heartbeat = host.heartbeat().await;
        assert!(heartbeat.overdue_ms < 40_000, "{} ms", heartbeat.overdue_ms);
        let taken = host.taken();
        assert!(taken.iter().all(|sample| sample.quality == Quality::Good));
        arrived += taken.len();
    }
    assert!(start.elapsed() >= Duration::from_secs(180));
    assert_eq!(world.count("open"), 1);
}

#[tokio::test(start_paused = true)]
async fn silent_devices_and_broken_lines_are_not_called_standstill() {
    let world = World::new();
    world.silence("meter", true);
    let mut host = started(&world, &one_device()).await;
    for _ in 0..60 {
        assert!(host.heartbeat().await.overdue_ms <= SILENCE.as_millis() as u64);
    }
    world.break_line(true);
    for _ in 0..60 {
        assert!(host.heartbeat().await.overdue_ms <= SILENCE.as_millis() as u64);
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_has_until_its_deadline_and_is_then_cut_off_like_any_request() {
    let world = World::new();
    let mut host = started(&world, &one_device()).await;
    host.sample().await;
    world.stick("meter", true);
    world.writes.forget_permits(usize::MAX);
    let command = host.new_command("meter", write_w(7));
    let allowed = Deadline::at_boot_ns(command.deadline_boot_ns).left();
    let start = Instant::now();
    // A write waits for its permit, not for the stuck device: it hangs by itself.
    host.send_command(command.clone()).await;
    let result = loop {
        if let Some(Message::CommandResult(result)) = host.next("its result").await {
            break result;
        }
    };
    assert_eq!(result.status(), Status::Unknown, "{result:?}");
    assert_eq!(result.message, "the driver did not come back from it for 60 s");
    let took = start.elapsed();
    let least = allowed + STANDSTILL - Duration::from_secs(1);
    assert!((least..least + SHARE).contains(&took), "{took:?}");
    assert_eq!(host.command(command).await, result, "and it is remembered");
}

#[tokio::test(start_paused = true)]
async fn a_line_that_does_not_close_is_left_to_itself_and_the_next_one_starts() {
    let world = World::new();
    let field = |port: u64| {
        tables(json!({
            "connection": { "bus": { "port": port } },
            "device": { "meter": { "connection": "bus" } },
        }))
    };
    let mut host = started(&world, &field(1)).await;
    host.sample().await;
    world.stick("close", true);
    host.configure(&field(2)).await;
    let start = Instant::now();
    sleep(STANDSTILL / 2).await;
    world.stick("close", false);
    assert_eq!(world.count("open"), 1, "the line may still be open: no second one is");
    let mut worst = 0;
    while world.count("open") < 2 {
        worst = worst.max(host.heartbeat().await.overdue_ms);
    }
    assert!((STANDSTILL..STANDSTILL + SHARE).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert!(worst >= 50_000, "the gateway saw it: {worst} ms");
}
