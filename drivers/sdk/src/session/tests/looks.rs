//! Scans and captures of lines that run, and of one that does not.

use sagoo_edge_proto::driver::{Connection, ScanRequest};

use super::*;
use crate::connection::SCAN_BREAKS;

/// `count` devices with one poll of `poll_ms` each, all at this period.
fn busy(count: u64, period_ms: u64, poll_ms: u64) -> Configuration {
    let device = json!({ "connection": "bus", "period_ms": period_ms, "points": ["a"], "step_ms": poll_ms });
    let devices: serde_json::Map<String, serde_json::Value> =
        (0..count).map(|number| (format!("meter{number}"), device.clone())).collect();
    tables(json!({ "connection": { "bus": {} }, "device": devices }))
}

/// Polls made in `length`, while a scan goes on or not.
async fn polls_in(
    length: Duration,
    field: &Configuration,
    scan: Option<serde_json::Value>,
) -> (usize, usize) {
    let world = World::new();
    let mut host = started(&world, field).await;
    let mut scan = match scan {
        Some(options) => Some(host.scan("bus", &options).await.unwrap()),
        None => None,
    };
    let until = Instant::now() + length;
    while Instant::now() < until {
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(until) => {}
            _ = host.next("anything") => {}
            _ = async { scan.as_mut().unwrap().found().await }, if scan.is_some() => {}
        }
    }
    (world.count("poll"), world.count("scan"))
}

#[tokio::test(start_paused = true)]
async fn devices_keep_their_rate_while_their_line_is_scanned_whatever_its_load() {
    let minutes = Duration::from_secs(240);
    // (devices, period, one poll, one step): idle, half busy, fast polls, full, overloaded.
    for (count, period, poll, step, least) in [
        (1, 1_000, 20, 300, 600),
        (10, 1_000, 50, 300, 200),
        (1, 100, 20, 300, 25),
        (10, 1_000, 95, 300, 25),
        (12, 1_000, 100, 300, 25),
    ] {
        let field = busy(count, period, poll);
        let (alone, none) = polls_in(minutes, &field, None).await;
        let options = json!({ "units": 1_000_000, "step_ms": step });
        let (beside, steps) = polls_in(minutes, &field, Some(options)).await;
        let case = format!("{count} devices every {period} ms: {beside} of {alone} polls, {steps} steps");
        assert_eq!(none, 0);
        assert!(beside * 100 >= alone * 95, "{case}");
        assert!(steps >= least, "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_scan_tells_what_it_finds_and_how_far_it_is() {
    let world = World::new();
    let mut host = started(&world, &one_device()).await;
    let options = json!({ "units": 32, "there": [3, 17], "step_ms": 50 });
    let mut scan = host.scan("bus", &options).await.unwrap();
    let again = host.scan("bus", &options).await.unwrap_err();
    assert_eq!(again, "a scan of connection \"bus\" runs already; one at a time");
    let found = scan.all().await.unwrap();
    let found: Vec<_> = found.iter().map(|one| (one.address.as_str(), one.settings.as_str())).collect();
    assert_eq!(found, [("unit 3", r#"{"unit":3}"#), ("unit 17", r#"{"unit":17}"#)]);
    assert_eq!((scan.progress.done, scan.progress.total), (32, 32));
    assert_eq!(scan.progress.now, "unit 31");
    let steps: Vec<String> = (0..32).map(|step| format!("scan {step}")).collect();
    let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
    assert_eq!(world.order(&steps), steps);
    assert_eq!(world.count("open"), 1, "it is the line that is polled");
    assert!(host.scan("bus", &options).await.is_ok(), "the next may begin");
}

#[tokio::test(start_paused = true)]
async fn a_scan_that_cannot_be_is_refused_with_the_reason() {
    let world = World::new();
    let mut host = started(&world, &one_device()).await;
    let error = host.scan("buss", &json!({ "units": 1 })).await.unwrap_err();
    assert_eq!(error, "no connection \"buss\"; did you mean \"bus\"?");
    assert_eq!(host.scan("bus", &json!({})).await.unwrap_err(), "no \"units\" to look for");
    let error = host.scan_with("bus", &json!({ "port": 7 }), &json!({ "units": 1 })).await.unwrap_err();
    assert_eq!(error, "connection \"bus\" runs with other settings; scan it as it runs, without settings");
    let connection = Connection { name: "bus".into(), settings: String::new() };
    let options = "[]".to_owned();
    let error = host.scan_as(ScanRequest { connection: Some(connection), deadline_ms: 0, options }).await;
    assert_eq!(error.unwrap_err(), "options of the scan: not a JSON object");
    host.release(&["bus"]).await;
    let error = host.scan("bus", &json!({ "units": 1 })).await.unwrap_err();
    assert_eq!(error, "connection \"bus\" is released");
    host.configure_holding(&one_device(), &["bus"]).await;
    let error = host.scan("bus", &json!({ "units": 1 })).await.unwrap_err();
    assert_eq!(error, "connection \"bus\" is on hold");
    assert_eq!(world.count("scan"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_scan_ends_with_its_deadline_its_caller_and_its_line() {
    let world = World::new();
    let mut host = started(&world, &one_device()).await;
    let options = json!({ "units": 1_000, "step_ms": 50 });
    let connection = Connection { name: "bus".into(), settings: String::new() };
    let request =
        ScanRequest { connection: Some(connection), deadline_ms: 2_000, options: options.to_string() };
    let begun = Instant::now();
    let mut scan = host.scan_as(request).await.unwrap();
    assert_eq!(scan.all().await, Ok(Vec::new()));
    let took = begun.elapsed();
    assert!((2_000..2_100).contains(&took.as_millis()), "{took:?}");
    assert!(scan.progress.done < 1_000);

    let mut scan = host.scan("bus", &options).await.unwrap();
    host.release(&["bus"]).await;
    assert_eq!(scan.all().await.unwrap_err(), "connection \"bus\" is released");
    host.configure(&one_device()).await;

    drop(host.scan("bus", &options).await.unwrap());
    let before = world.count("scan");
    sleep(Duration::from_secs(5)).await;
    assert!(world.count("scan") <= before + 1, "a caller that left is noticed at the next step");
    assert!(host.scan("bus", &options).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_does_not_read_holds_its_scan_and_nothing_else() {
    let world = World::new();
    let mut host = started(&world, &one_device()).await;
    let scan = host.scan("bus", &json!({ "units": 1_000 })).await.unwrap();
    sleep(Duration::from_secs(60)).await;
    let steps = world.count("scan");
    assert!(steps < 50, "{steps} steps");
    assert!(world.count("poll") >= 59);
    let mut scan = scan;
    assert_eq!(scan.all().await, Ok(Vec::new()));
    assert_eq!((scan.progress.done, world.count("scan")), (1_000, 1_000), "nothing was left out");
}

#[tokio::test(start_paused = true)]
async fn a_line_that_breaks_again_and_again_ends_its_scan() {
    let world = World::new();
    let mut host = started(&world, &one_device()).await;
    world.break_line(true);
    let mut scan = host.scan("bus", &json!({ "units": 1_000 })).await.unwrap();
    assert_eq!(scan.all().await.unwrap_err(), "connection \"bus\": connection refused");
    assert_eq!(world.count("scan"), SCAN_BREAKS as usize);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_does_not_run_is_opened_for_its_scan_only() {
    let world = World::new();
    let mut host = started(&world, &one_device()).await;
    host.sample().await;
    let options = json!({ "units": 20, "there": [7], "step_ms": 50 });
    let mut scan = host.scan_with("hall", &json!({ "port": 502 }), &options).await.unwrap();
    host.configure(&one_device()).await;
    assert_eq!(scan.all().await.unwrap().len(), 1, "a reload does not end it");
    while world.count("close") == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(world.count("open"), 2);
    while host.heartbeat().await.lines.len() != 1 {}
    // One that comes into the configuration meanwhile is taken over as it is.
    let mut scan = host.scan_with("hall", &json!({ "port": 502 }), &options).await.unwrap();
    let field = json!({
        "connection": { "bus": {}, "hall": { "port": 502 } },
        "device": { "meter": { "connection": "bus" }, "fan": { "connection": "hall" } },
    });
    host.configure(&tables(field)).await;
    assert_eq!(scan.all().await.unwrap().len(), 1);
    host.sample_of("fan", "a").await;
    assert_eq!((world.count("open"), world.count("close")), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_scan_gives_way_to_commands() {
    let world = World::new();
    let mut host = started(&world, &one_device()).await;
    let scan = host.scan("bus", &json!({ "units": 1_000, "step_ms": 300 })).await.unwrap();
    for value in 0..20 {
        sleep(Duration::from_millis(77)).await;
        let asked = Instant::now();
        assert_eq!(host.write("meter", &[("w", Value::Int(value))]).await.status(), Status::Applied);
        assert!(asked.elapsed() <= Duration::from_millis(301), "{:?}", asked.elapsed());
    }
    drop(scan);
}

#[tokio::test]
async fn a_capture_shows_what_passes_and_ends_with_its_line() {
    let world = World::new();
    let field = |called: &str| {
        tables(json!({
            "connection": { "bus": { "called": called } },
            "device": { "meter": { "connection": "bus", "period_ms": 10 } },
        }))
    };
    let mut host = started(&world, &field("serial 9600-8E1")).await;
    let error = host.capture("bsu").await.unwrap_err();
    assert_eq!(error, "no connection \"bsu\"; did you mean \"bus\"?");
    let mut capture = host.capture("bus").await.unwrap();
    let mut lines = capture.lines().await.unwrap();
    assert_eq!(lines[0], "# sagoo-edge capture 1 fake serial 9600-8E1");
    while lines.len() < 9 {
        lines.extend(capture.lines().await.unwrap());
    }
    let begun = lines.iter().position(|line| line.ends_with(" > 00 00")).unwrap();
    let ways: Vec<&str> =
        lines[begun..begun + 4].iter().map(|line| line.split_once(' ').unwrap().1).collect();
    assert_eq!(ways, ["> 00 00", "< 01 00", "> 00 01", "< 01 01"]);
    host.configure(&field("serial 19200-8N1")).await;
    let gone = loop {
        if let Err(gone) = capture.lines().await {
            break gone;
        }
    };
    assert_eq!(gone, "connection \"bus\" was stopped, or has new settings");
}
