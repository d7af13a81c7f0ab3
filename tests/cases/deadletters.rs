//! A row the platform never answers is set aside, kept, and sent again or dropped when somebody asks.

use std::time::Duration;

use e2e::rig::{Interrupted, Plan, Site, eventually};
use serde_json::{Value as Json, json};

/// Three tries of a row take about ten seconds.
const GIVEN_UP: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(30);
/// Samples in a row of a meter.
const SAMPLES: u64 = 3;

fn letters(site: &Site) -> Vec<Json> {
    let told = site.gateway.command(&["deadletter"]);
    assert_eq!(told.code, 0, "{}", told.err);
    told.json["letters"].as_array().expect("a list").clone()
}

fn await_letters(site: &Site, count: usize) -> Vec<Json> {
    eventually(&format!("{count} dead letters"), GIVEN_UP, || {
        let found = letters(site);
        if found.len() == count { Ok(found) } else { Err(format!("{found:?}")) }
    })
}

fn parked(site: &Site) -> u64 {
    site.gateway.device("meter-a")["ledger"]["parked"].as_u64().expect("a number")
}

#[test]
fn a_row_that_is_never_answered_is_kept_over_a_kill_and_sent_again_or_dropped() {
    let plan = Plan::meters(&["meter-a"])
        .must_log("a row is given up and counted as parked")
        .must_log("a dead letter is not answered again and is back in the list")
        // with nothing else under way it is not known at first whether the platform is there; it is
        .must_log("a message is not answered; the platform is asked whether it is there");
    let mut site = Site::prepare(&plan);
    site.platform.never_answer(&["\"count\":{\"value\":3,", "\"count\":{\"value\":5,"]);
    site.gateway.start();
    let kept = await_letters(&site, 2);
    for letter in &kept {
        let expected = (json!("meter-a"), json!(3), json!(SAMPLES), json!(false));
        let said = (&letter["device"], &letter["tries"], &letter["samples"], &letter["sending"]);
        assert_eq!(said, (&expected.0, &expected.1, &expected.2, &expected.3), "{letter}");
    }
    assert_eq!(parked(&site), 2 * SAMPLES);
    site.await_count("meter-a", 7, SOON);
    eventually("the platform hears of it", SOON, || {
        site.platform.look(|core| core.events.iter().filter(|event| event.name == "rowParked").count() == 2)
    });

    let before = site.kept("meter-a");
    site.gateway.kill_nine();
    site.gateway.start();
    assert_eq!(letters(&site), kept, "a kill costs no letter");
    assert_eq!(site.gateway.status()["northbound"]["dead_letters"]["letters"], json!(2));
    let [first, second] = [&kept[0], &kept[1]].map(|letter| letter["id"].as_str().expect("an id"));
    let shown = site.gateway.command(&["deadletter", "show", first]);
    let message = shown.json["letters"][0]["message"].as_str().expect("a message").to_owned();
    let sent = site.platform.arrivals().into_iter().find(|arrival| arrival.id == first).expect("it arrived");
    assert_eq!(message, sent.message.text(), "byte for byte as it was sent");

    // Asked for while it still is not answered, it comes back.
    site.platform.asked_for(first);
    assert_eq!(site.gateway.command(&["deadletter", "send", first]).code, 0);
    eventually("it is back in the list", GIVEN_UP, || {
        let found = letters(&site);
        (found[0]["sending"] == json!(false)).then_some(()).ok_or(format!("{found:?}"))
    });
    assert_eq!(parked(&site), 2 * SAMPLES);

    site.platform.never_answer(&[]);
    let told = site.gateway.command(&["deadletter", "drop", second]);
    assert_eq!(told.code, 0, "{}", told.out);
    site.platform.asked_for(first);
    assert_eq!(site.gateway.command(&["deadletter", "send", "--all"]).code, 0);
    await_letters(&site, 0);
    assert_eq!(parked(&site), SAMPLES, "what was dropped stays parked, what was answered does not");
    let told = site.gateway.command(&["deadletter", "send", first]);
    assert_eq!((told.code, told.json["letters"][0]["error"].is_string()), (1, true), "{}", told.out);
    for (id, what) in [(first, "Send"), (second, "Drop")] {
        let line = format!("a dead letter was asked for id=\"{id}\"");
        let log = site.gateway.log();
        let audited = log.lines().any(|said| said.contains(&line) && said.contains(&format!("what={what}")));
        assert!(audited, "{line} {what}");
    }
    let read = u64::from(site.device("meter-a").register(0));
    site.await_count("meter-a", read + 2, SOON);
    site.assert_kept("meter-a", Interrupted::by_a_kill(before), SOON);
    site.assert_unharmed();
}
