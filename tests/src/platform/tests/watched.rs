//! What one message does not show: repetitions (R5) and signs of life (R6), each with a planted fault.

use super::*;

const S: Duration = Duration::from_secs(1);
const GATEWAY: Sender =
    Sender { device_key: "gw", ack_timeout: Duration::from_secs(2), heartbeat: Some(Duration::from_secs(5)) };

/// As [`core`], with a gateway that is held to its configuration.
fn watched() -> (Core, Instant) {
    let start = Instant::now();
    let mut core = Core::new(known(), Timing { gateway: Some(GATEWAY), ..Timing::default() });
    for key in ["a", "b"] {
        core.receive(probe(key), start - S, NOW);
    }
    (core, start)
}

/// The empty pack on a device's own topic, under an id of its own.
fn asked(key: &str) -> Message {
    Message { topic: probe(key).topic, ..pack(&format!("asked-{key}"), vec![]) }
}

/// The same message at these times after the start, none of them answered; what is wrong with the last.
fn repeated(at: &[Duration]) -> Vec<String> {
    let (mut core, start) = watched();
    core.never_answer(&["\"volt\""]);
    let mut before = 0;
    for at in at {
        before = core.violations.len();
        core.receive(pack("1", vec![sub("a", volt(1.0))]), start + *at, NOW);
    }
    core.violations[before..].iter().map(|violation| violation.why.clone()).collect()
}

#[test]
fn a_repetition_before_the_answer_can_be_missed_is_a_violation() {
    assert_eq!(repeated(&[S, S * 3]), Vec::<String>::new());
    assert_eq!(repeated(&[S, S * 3 - MS * 400]), Vec::<String>::new(), "the first was slow on its way");
    let hurry = repeated(&[S, S * 2 + MS * 400]);
    assert!(hurry.len() == 1 && hurry[0].contains("again after 1.4s; at least 2s"), "{hurry:?}");
    let close = repeated(&[S, S + MS * 20]);
    assert!(close.iter().any(|why| why.contains("again after 20ms")), "{close:?}");
}

#[test]
fn a_pause_that_does_not_grow_and_a_try_too_many_are_violations() {
    assert_eq!(repeated(&[S, S * 3, S * 6]), Vec::<String>::new());
    let steady = repeated(&[S, S * 3, S * 5]);
    assert!(steady.len() == 1 && steady[0].contains("again after 2s; at least 3s"), "{steady:?}");
    let often = repeated(&[S, S * 3, S * 6, S * 10]);
    assert!(often.len() == 1 && often[0].contains("for the 4. time"), "{often:?}");
}

#[test]
fn a_repetition_of_what_was_answered_is_a_violation_unless_the_answer_was_taken_away() {
    let again = |core: &mut Core, at: Instant| core.receive(pack("1", vec![sub("a", volt(1.0))]), at, NOW);
    let (mut core, start) = watched();
    again(&mut core, start);
    again(&mut core, start + S * 3);
    assert!(
        core.violations.len() == 1 && core.violations[0].why.contains("3s after its answer"),
        "{:?}",
        core.violations
    );
    for mishap in [Mishap::Lost, Mishap::Misplaced, Mishap::Late(MS * 2_500)] {
        let (mut core, start) = watched();
        core.mishaps([mishap]);
        again(&mut core, start);
        again(&mut core, start + S * 3);
        assert_eq!(core.violations, [], "{mishap:?}");
    }
    let (mut core, start) = watched();
    core.mishaps([Mishap::Late(MS * 1_500)]);
    again(&mut core, start);
    again(&mut core, start + S * 3);
    assert!(core.violations[0].why.contains("1.5s after its answer"), "{:?}", core.violations);
}

#[test]
fn a_new_connection_and_a_persons_wish_begin_anew_with_the_same_bytes() {
    let again = |core: &mut Core, at: Instant| core.receive(pack("1", vec![sub("a", volt(1.0))]), at, NOW);
    let (mut core, start) = watched();
    again(&mut core, start);
    core.connection_changed();
    again(&mut core, start + MS * 300);
    core.asked_for("1");
    again(&mut core, start + MS * 600);
    assert_eq!(core.violations, []);
    again(&mut core, start + MS * 900);
    assert!(
        core.violations.iter().any(|violation| violation.why.contains("again after 300ms")),
        "{:?}",
        core.violations
    );
    core.violations.clear();
    core.connection_changed();
    core.receive(pack("1", vec![sub("a", volt(2.0))]), start + S * 9, NOW);
    assert!(core.violations[0].why.contains("other bytes"), "{:?}", core.violations);
}

#[test]
fn who_sends_is_told_by_whole_words_of_the_brokers_log() {
    let (core, _) = watched();
    for line in [
        "1795961551: New client connected from 127.0.0.1:49724 as gw (p2, c1, k30).",
        "1795961551: Client gw disconnected.",
        "1795961551: Client gw closed its connection.",
        "1795961551: Socket error on client gw, disconnecting.",
    ] {
        assert!(core.is_of_gateway(line), "{line}");
    }
    assert!(!core.is_of_gateway("1795961551: Client gw-2 disconnected."));
    assert!(!super::core().is_of_gateway("1795961551: Client gw disconnected."), "nobody has said who it is");
}

#[test]
fn a_gateway_that_is_silent_for_longer_than_its_heartbeat_is_a_violation() {
    let (mut core, start) = watched();
    core.receive(pack("1", vec![]), start, NOW);
    core.receive(pack("2", vec![]), start + S * 8, NOW);
    assert_eq!(core.violations, []);
    // Rows of a device on its own topic are no sign of life of the gateway.
    core.receive(asked("a"), start + S * 15, NOW);
    core.receive(pack("3", vec![]), start + S * 16 + MS, NOW);
    let why = |core: &Core| core.violations.iter().map(|one| one.why.clone()).collect::<Vec<_>>();
    assert!(
        why(&core).len() == 1 && why(&core)[0].contains("nothing of \"gw\" itself for 8.001s"),
        "{:?}",
        core.violations
    );
    // As long as nothing comes at all it is seen by whoever looks, once.
    core.violations.clear();
    core.settle(start + S * 24);
    assert_eq!(core.violations, []);
    core.settle(start + S * 25);
    core.settle(start + S * 26);
    assert_eq!(why(&core).len(), 1, "{:?}", core.violations);
}

#[test]
fn nothing_is_owed_without_a_connection_or_an_answer() {
    let (mut core, start) = watched();
    core.receive(pack("1", vec![]), start, NOW);
    core.connection_changed();
    core.receive(pack("2", vec![sub("a", json!({}))]), start + S * 20, NOW);
    // An answer that is taken away makes the gateway ask, with pauses, whether anybody is there.
    core.mishaps([Mishap::Lost]);
    core.receive(pack("3", vec![]), start + S * 22, NOW);
    core.receive(pack("4", vec![]), start + S * 40, NOW);
    core.settle(start + S * 41);
    assert_eq!((&core.violations[..], core.silences(start + S * 41)), (&[][..], vec![]));
    core.known.set_enabled("gw", false);
    core.receive(pack("5", vec![]), start + S * 42, NOW);
    core.settle(start + S * 60);
    assert_eq!(core.violations, []);
}

#[test]
fn nothing_is_owed_while_messages_are_taken_on_their_way_and_everything_is_afterwards() {
    let (mut core, start) = watched();
    core.receive(pack("1", vec![]), start, NOW);
    core.set_deaf(true);
    core.receive(pack("2", vec![]), start + S * 20, NOW);
    core.receive(pack("3", vec![]), start + S * 40, NOW);
    core.set_deaf(false);
    core.settle(start + S * 60);
    assert_eq!(core.violations, []);
    core.receive(pack("4", vec![]), start + S * 60, NOW);
    core.settle(start + S * 69);
    assert!(core.violations.len() == 1 && core.violations[0].why.contains("for 9s"), "{:?}", core.violations);
}

#[test]
fn a_device_that_is_silent_is_told_to_whoever_knows_whether_it_was_healthy() {
    let (mut core, start) = watched();
    for (second, about) in
        [(0, vec![sub("a", json!({})), sub("b", json!({}))]), (7, vec![]), (9, vec![sub("a", volt(1.0))])]
    {
        core.receive(pack(&second.to_string(), about), start + S * second, NOW);
    }
    let silence = |device: &str, lasted| Silence { device: device.into(), lasted: S * lasted };
    let mut silences = core.silences(start + S * 9);
    silences.sort_by(|one, other| one.device.cmp(&other.device));
    assert_eq!(silences, [silence("a", 9), silence("b", 9)]);
    assert_eq!(core.violations, []);
    // Nobody knows it (any more): it is asked for, and that is all.
    let (mut core, start) = watched();
    core.receive(asked("b"), start, NOW);
    core.known.forget("b");
    core.receive(probe("b"), start + S * 3, NOW);
    core.receive(pack("1", vec![sub("a", json!({}))]), start + S * 3, NOW);
    assert_eq!(core.silences(start + S * 10), []);
    assert_eq!(core.silences(start + S * 12), [silence("a", 9)]);
}

#[test]
fn a_sign_of_life_of_a_device_that_is_down_is_a_violation() {
    let told = |empty: Message, then: Option<Message>, after: u32| {
        let (mut core, start) = watched();
        core.set_down("b", true, start);
        core.receive(empty, start + MS * after, NOW);
        then.into_iter().for_each(|row| _ = core.receive(row, start + MS * (after + 400), NOW));
        core.settle(start + S * 6);
        core.settle(start + S * 6);
        core.violations.iter().map(|one| one.why.clone()).collect::<Vec<_>>()
    };
    let row = || pack("1", vec![sub("b", volt(1.0))]);
    for empty in [asked("b"), pack("2", vec![sub("b", json!({}))])] {
        let alive = told(empty.clone(), None, 1_500);
        assert!(alive.len() == 1 && alive[0].contains("1.5s after it was known to be down"), "{alive:?}");
        assert_eq!(told(empty.clone(), None, 900), Vec::<String>::new(), "it was under way");
        assert_eq!(
            told(empty, Some(row()), 1_500),
            Vec::<String>::new(),
            "it was asked for because of its row"
        );
    }
    assert_eq!(told(asked("a"), None, 1_500), Vec::<String>::new());
    let (mut core, start) = watched();
    core.set_down("b", true, start);
    core.set_down("b", false, start + S);
    core.receive(asked("b"), start + S * 2, NOW);
    core.settle(start + S * 6);
    assert_eq!(core.violations, []);
}

#[test]
fn a_reply_to_our_own_reply_is_a_violation() {
    let (mut core, start) = watched();
    let (_, id) = core.service_call("b", "open", &json!({}), start).unwrap();
    let body = json!({"id": id, "version": "1.0", "code": 200, "data": {"resp": 1}, "message": "success"});
    let reply = |tail: &str| Message::new(&format!("/sys/em24/b/thing/service/{tail}"), body.to_string());
    core.receive(reply("open_reply"), start + MS * 3, NOW);
    assert_eq!(core.violations, []);
    // The gateway's filter brings it its own replies; one that takes them for calls answers them.
    core.receive(reply("open_reply_reply"), start + MS * 4, NOW);
    assert!(core.violations[0].why.contains("expected on"), "{:?}", core.violations);
}
