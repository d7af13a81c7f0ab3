//! Lines given up, on hold, and used again.

use super::*;

fn two_lines() -> Configuration {
    tables(json!({
        "connection": { "bus": {}, "hall": {} },
        "device": {
            "meter": { "connection": "bus" },
            "fan": { "connection": "hall" },
        },
    }))
}

/// What a heartbeat says of a device, by its number: `fan` and `meter` are 0 and 1, or the other way.
async fn reasons(host: &mut TestHost) -> Vec<(bool, String)> {
    let heartbeat = host.heartbeat().await;
    heartbeat.devices.into_iter().map(|state| (state.online, state.reason)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_connection_on_hold_is_configured_but_closed_and_opens_at_once_when_it_is_taken_out() {
    let world = World::new();
    let mut host = TestHost::new(Fake(world.clone())).await;
    assert_eq!(host.configure_holding(&one_device(), &["bus", "elsewhere"]).await, []);
    sleep(Duration::from_secs(30)).await;
    assert_eq!((world.count("open"), world.count("poll")), (0, 0));
    while reasons(&mut host).await != [(false, "on hold".to_owned())] {}
    assert_eq!(host.heartbeat().await.overdue_ms, 0, "nothing is due on a line on hold");
    let refused = host.write("meter", &[("w", Value::Int(1))]).await;
    assert_eq!(refused.message, "connection \"bus\" is on hold");

    let start = Instant::now();
    host.configure(&one_device()).await;
    let sample = host.sample().await;
    assert_eq!(sample.quality, Quality::Good);
    assert!(start.elapsed() <= BATCH_WAIT + Duration::from_millis(1), "{:?}", start.elapsed());
    while reasons(&mut host).await != [(true, String::new())] {}
}

#[tokio::test(start_paused = true)]
async fn a_line_put_on_hold_closes_and_its_neighbours_notice_nothing() {
    let world = World::new();
    let mut host = started(&world, &two_lines()).await;
    host.sample_of("meter", "a").await;
    host.sample_of("fan", "a").await;
    host.configure_holding(&two_lines(), &["bus"]).await;
    let mut held = reasons(&mut host).await;
    held.sort();
    assert_eq!(held, [(false, "on hold".to_owned()), (true, String::new())]);
    assert_eq!((world.count("open"), world.count("close")), (2, 1));
    let (meter, fan) = (world.count("poll meter"), world.count("poll fan"));
    let start = Instant::now();
    while world.count("poll fan") < fan + 20 {
        host.sample_of("fan", "a").await;
    }
    assert!(start.elapsed() <= Duration::from_secs(20), "{:?}", start.elapsed());
    assert_eq!(world.count("poll meter"), meter);
    host.configure(&two_lines()).await;
    host.sample_of("meter", "a").await;
    assert_eq!((world.count("open"), world.count("close")), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_released_line_stays_closed_while_configurations_hold_it() {
    let world = World::new();
    let mut host = started(&world, &one_device()).await;
    host.sample().await;
    host.release(&["bus"]).await;
    host.configure_holding(&one_device(), &["bus"]).await;
    let polls = world.count("poll");
    sleep(Duration::from_secs(20)).await;
    assert_eq!((world.count("open"), world.count("poll")), (1, polls));
    assert_eq!(host.release(&["bus"]).await, ["bus"], "on hold it is given up already");
    host.configure(&one_device()).await;
    host.sample().await;
    assert_eq!((world.count("open"), world.count("close")), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_hand_over_between_two_drivers_costs_no_poll_and_the_line_is_never_open_twice() {
    let world = World::new();
    let mut old = started(&world, &one_device()).await;
    old.sample_of("meter", "a").await;
    let mut new = TestHost::new(Fake(world.clone())).await;
    new.configure_holding(&one_device(), &["bus"]).await;
    old.release(&["bus"]).await;
    let start = Instant::now();
    new.configure(&one_device()).await;
    new.sample_of("meter", "b").await;
    assert!(start.elapsed() <= Duration::from_millis(100), "{:?}", start.elapsed());
    // And back, because the new one is no good.
    new.release(&[]).await;
    let start = Instant::now();
    old.configure(&one_device()).await;
    while old.sample_of("meter", "a").await.value != Some(Value::Uint(2)) {}
    assert!(start.elapsed() <= Duration::from_millis(100), "{:?}", start.elapsed());
    assert_eq!(world.order(&["open", "close"]), ["open", "close", "open", "close", "open"]);
}

#[tokio::test(start_paused = true)]
async fn released_comes_after_every_batch_that_was_read_on_the_line() {
    let world = World::new();
    let field = tables(json!({
        "connection": { "bus": {}, "hall": {} },
        "device": {
            "meter": { "connection": "bus", "period_ms": 10 },
            "fan": { "connection": "hall", "period_ms": 10 },
        },
    }));
    let mut host = started(&world, &field).await;
    // The gateway does not read for a while: far more batches wait than the transport takes.
    sleep(Duration::from_secs(5)).await;
    host.release_without_waiting(&["bus"]).await;
    let mut before = 0;
    loop {
        match host.next("released").await.expect("the session goes on") {
            Message::Released(released) => {
                assert_eq!(released.connections, ["bus"]);
                break;
            }
            Message::Batch(_) => before += 1,
            _ => {}
        }
    }
    assert!(before > 2 * OUTBOUND, "only {before} batches waited");
    let polled = world.count("poll meter");
    let told = host.taken().iter().filter(|sample| sample.device == "meter").count();
    assert_eq!(told, 2 * polled, "all that was read on the line was told before");
    for _ in 0..100 {
        host.sample().await;
    }
    assert!(host.taken().iter().all(|sample| sample.device == "fan"), "and nothing after");
}

#[tokio::test(start_paused = true)]
async fn a_line_that_is_still_on_its_way_out_is_not_called_released() {
    let world = World::new();
    world.writes.forget_permits(usize::MAX);
    let mut host = started(&world, &one_device()).await;
    let command = host.new_command("meter", write_w(1));
    host.send_command(command).await;
    while world.count("write") == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    // The line hangs in a write; its connection leaves the configuration.
    host.configure(&tables(json!({}))).await;
    host.release_without_waiting(&["bus"]).await;
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until {
        let message = host.next("more").await;
        assert!(!matches!(message, Some(Message::Released(_))), "the line is open");
    }
    assert_eq!(world.count("close"), 0);
    world.writes.add_permits(1);
    while !matches!(host.next("released").await, Some(Message::Released(_))) {}
    assert_eq!(world.count("close"), 1);
}
