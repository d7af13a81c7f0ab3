//! The broker's rules as stories, and in any order of calls.

use proptest::prelude::*;

use super::super::words::signal;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn sockets() -> Routes<u32> {
    attached(Way::Sockets)
}

fn one_connection() -> Routes<u32> {
    attached(Way::OneConnection)
}

fn attached(way: Way) -> Routes<u32> {
    let mut routes = Routes::new(way);
    routes.attach(Instant::now());
    routes
}

fn at(id: u32, network: &str, address: &str) -> ConnInfo {
    ConnInfo { service_id: id, network: network.into(), address: address.into(), knock: None }
}

/// All that is to do, in words.
fn acts(routes: &mut Routes<u32>) -> Vec<String> {
    std::iter::from_fn(|| routes.effect())
        .map(|effect| match effect {
            Effect::Send(ConnInfo { service_id, address, knock: None, .. }) => {
                format!("send {service_id} at {address}")
            }
            Effect::Send(ConnInfo { service_id, knock: Some(Knock { ack, error, .. }), .. }) => {
                format!("send {} {service_id} {error}", if ack { "answer" } else { "knock" })
            }
            Effect::Connect(waiter, address) => format!("connect {waiter} to {address}"),
            Effect::Open(waiter) => format!("open for {waiter:?}"),
            Effect::Fail(waiter, error) => format!("fail {waiter}: {error}"),
        })
        .collect()
}

#[test]
fn an_info_is_taken_once_whether_it_comes_before_the_dial_or_after() {
    let (mut routes, now) = (sockets(), Instant::now());
    routes.received(at(7, "unix", "/run/a"), now);
    routes.dial(7, 1, now + 4 * SECOND);
    assert_eq!(acts(&mut routes), ["connect 1 to unix|/run/a"]);
    routes.dial(7, 2, now + 4 * SECOND);
    assert_eq!(acts(&mut routes), [""; 0]);
    routes.received(at(7, "tcp", "127.0.0.1:80"), now + 8 * SECOND);
    assert_eq!(acts(&mut routes), ["connect 2 to tcp|127.0.0.1:80"]);
}

#[test]
fn an_info_nobody_wants_is_kept_five_seconds_and_a_second_one_is_not() {
    let (mut routes, now) = (sockets(), Instant::now());
    routes.received(at(7, "unix", "/run/a"), now);
    routes.received(at(7, "unix", "/run/b"), now + SECOND);
    assert_eq!(routes.deadline(), Some(now + WAIT));
    routes.expire(now + WAIT);
    assert_eq!(routes.deadline(), None);
    routes.dial(7, 1, now + WAIT);
    routes.expire(now + WAIT + 4 * SECOND);
    assert_eq!(acts(&mut routes), [""; 0]);
    routes.expire(now + WAIT + WAIT);
    let said = acts(&mut routes);
    assert_eq!(
        said,
        ["fail 1: no connection info for id 7 within 5s; the other side must accept the id it named"]
    );
}

#[test]
fn addresses_open_to_others_and_addresses_of_no_kind_are_refused() {
    for (network, address, refused) in [
        ("unix", "/run/a", None),
        ("tcp", "[::1]:80", None),
        ("tcp", "0.0.0.0:80", Some("open to others")),
        ("tcp", "192.168.1.7:80", Some("open to others")),
        ("tcp", "box.example:80", Some("only unix and tcp")),
        ("unix", "", Some("only unix and tcp")),
        ("unix", "run/a", Some("only unix and tcp")),
        ("pipe", "/run/a", Some("only unix and tcp")),
    ] {
        let mut routes = sockets();
        routes.received(at(1, network, address), Instant::now());
        routes.dial(1, 1, Instant::now());
        let said = acts(&mut routes).concat();
        assert!(said.contains(refused.unwrap_or("connect 1")), "{network} {address}: {said}");
    }
}

#[test]
fn what_this_side_accepts_is_said_when_there_is_somebody_to_say_it_to() {
    let now = Instant::now();
    let mut routes: Routes<u32> = Routes::new(Way::Sockets);
    let socket = |name: &str| Some(Address::Unix(name.into()));
    routes.listen(1, socket("/run/a"), now).unwrap();
    assert_eq!(acts(&mut routes), [""; 0]);
    routes.attach(now);
    routes.listen(2, socket("/run/b"), now).unwrap();
    assert_eq!(acts(&mut routes), ["send 1 at /run/a", "send 2 at /run/b"]);
    assert!(matches!(routes.listen(2, socket("/run/c"), now), Err(BrokerError::InUse(2))));
    routes.unlisten(1);
    routes.detach(now);
    routes.attach(now);
    assert_eq!(acts(&mut routes), ["send 2 at /run/b"]);
}

#[test]
fn a_stream_that_breaks_fails_who_waits_at_once_and_a_new_one_serves_the_next() {
    let (mut routes, now) = (sockets(), Instant::now());
    routes.dial(7, 1, now);
    routes.detach(now);
    assert!(acts(&mut routes).concat().starts_with("fail 1: broker stream broke"));
    routes.dial(7, 2, now);
    routes.attach(now);
    routes.received(at(7, "unix", "/run/a"), now);
    assert_eq!(acts(&mut routes), ["connect 2 to unix|/run/a"]);
    routes.dial(8, 3, now);
    routes.unsupported(now);
    routes.dial(9, 4, now);
    let said = acts(&mut routes);
    assert!(said.len() == 2 && said.iter().all(|said| said.contains("no broker service")), "{said:?}");
}

#[test]
fn knocks_are_one_after_the_other_and_each_granted_one_is_followed_by_one_stream() {
    let (mut routes, now) = (one_connection(), Instant::now());
    routes.dial(1, 11, now);
    routes.dial(2, 12, now);
    assert_eq!(acts(&mut routes), ["send knock 1 "]);
    routes.received(answer(1, ""), now);
    assert_eq!(acts(&mut routes), ["open for Some(11)"]);
    routes.dial_main(13, now);
    assert_eq!(acts(&mut routes), [""; 0]);
    routes.turn_over(now);
    assert_eq!(acts(&mut routes), ["open for Some(13)"]);
    routes.turn_over(now);
    assert_eq!(acts(&mut routes), ["send knock 2 "]);
    routes.expire(now + WAIT);
    let said =
        "fail 12: no answer to the knock for id 2 within 5s; the other side must accept the id it named";
    assert_eq!(acts(&mut routes), [said]);
    // too late, but the other side now waits for a stream
    routes.received(answer(2, ""), now + WAIT + SECOND);
    assert_eq!(acts(&mut routes), ["open for None"]);
    routes.dial(3, 14, now);
    routes.received(answer(3, "no listener for id 3"), now);
    let said = acts(&mut routes);
    assert_eq!(said[0], "send knock 3 ");
    assert!(said[1].starts_with("fail 14: the other side refused connection 3: \"no listener"), "{said:?}");
}

#[test]
fn a_stream_nobody_hears_from_holds_up_the_next_one_for_five_seconds_only() {
    let (mut routes, now) = (one_connection(), Instant::now());
    routes.dial_main(1, now);
    routes.dial(2, 2, now);
    assert_eq!(acts(&mut routes), ["open for Some(1)"]);
    assert_eq!(routes.deadline(), Some(now + WAIT));
    routes.expire(now + WAIT);
    assert_eq!(acts(&mut routes), ["send knock 2 "]);
}

#[test]
fn a_knock_waits_for_its_listener_and_is_answered_before_the_other_side_gives_up() {
    let (mut routes, now) = (one_connection(), Instant::now());
    routes.received(knock(1), now);
    routes.received(knock(2), now);
    assert_eq!(acts(&mut routes), [""; 0]);
    routes.listen(2, None, now + SECOND).unwrap();
    assert_eq!(acts(&mut routes), ["send answer 2 "]);
    assert_eq!(routes.deadline(), Some(now + EARLY));
    routes.expire(now + EARLY);
    assert_eq!(acts(&mut routes), ["send answer 1 nobody accepts id 1"]);
    assert_eq!(routes.stream_in(now + EARLY), Some(2));
    assert_eq!(routes.stream_in(now + EARLY), None);
}

#[test]
fn a_grant_without_its_stream_is_over_after_five_seconds() {
    let (mut routes, now) = (one_connection(), Instant::now());
    routes.listen(1, None, now).unwrap();
    routes.listen(2, None, now).unwrap();
    routes.received(knock(1), now);
    routes.received(knock(2), now + SECOND);
    assert_eq!(routes.stream_in(now + WAIT), Some(2));
    routes.received(knock(1), now);
    routes.new_session();
    assert_eq!(routes.stream_in(now), None);
}

#[test]
fn everything_has_a_limit() {
    let (mut routes, now) = (sockets(), Instant::now());
    for id in 0..100 {
        let listening = routes.listen(id, None, now);
        assert_eq!(listening.is_ok(), id < MAX_LISTENERS as u32);
        routes.dial(id, id, now);
        routes.received(at(1_000 + id, "unix", "/run/a"), now);
    }
    assert!(acts(&mut routes).iter().all(|said| said.contains("already holds 64 waiting dials")));
    assert_eq!((routes.waiting.len(), routes.kept.len()), (MAX_DIALS, MAX_KEPT));
    let mut routes = one_connection();
    routes.listen(0, None, now).unwrap();
    for id in 0..100 {
        routes.received(knock(id), now);
        routes.received(knock(0), now);
    }
    assert_eq!((routes.expected.len(), routes.early.len()), (MAX_KEPT, MAX_KEPT));
    assert!(acts(&mut routes).last().unwrap().contains("already holds 64 granted knocks"));
}

#[derive(Debug, Clone)]
enum Step {
    Attach,
    Detach,
    Listen(u32),
    Unlisten(u32),
    Dial(u32),
    DialMain,
    Received(ConnInfo),
    StreamIn,
    TurnOver,
    Later(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let id = 0..4_u32;
    prop_oneof![
        Just(Step::Attach),
        Just(Step::Detach),
        id.clone().prop_map(Step::Listen),
        id.clone().prop_map(Step::Unlisten),
        id.clone().prop_map(Step::Dial),
        id.clone().prop_map(Step::Dial),
        Just(Step::DialMain),
        id.clone().prop_map(|id| Step::Received(at(id, "unix", "/run/a"))),
        (id, any::<(bool, bool)>(), "(|no)")
            .prop_map(|(id, (knock, ack), error)| Step::Received(signal(id, Knock { knock, ack, error }))),
        Just(Step::StreamIn),
        Just(Step::TurnOver),
        (0..3_000_u64).prop_map(Step::Later),
    ]
}

proptest! {
    #[test]
    fn whoever_dials_hears_exactly_once_and_never_later_than_its_turn(
        one in any::<bool>(),
        steps in proptest::collection::vec(step(), 0..120),
    ) {
        let way = if one { Way::OneConnection } else { Way::Sockets };
        let mut routes = Routes::new(way);
        let mut now = Instant::now();
        let mut heard: Vec<u32> = Vec::new();
        let (mut opened, mut granted, mut mains) = (0, 0, 0);
        let mut look = |routes: &mut Routes<usize>, heard: &mut Vec<u32>| {
            while let Some(effect) = routes.effect() {
                match effect {
                    Effect::Connect(waiter, _) | Effect::Fail(waiter, _) => heard[waiter] += 1,
                    Effect::Open(Some(waiter)) => { opened += 1; heard[waiter] += 1; }
                    Effect::Open(None) => opened += 1,
                    Effect::Send(_) => {}
                }
            }
        };
        for step in steps {
            match step {
                Step::Attach => routes.attach(now),
                Step::Detach => routes.detach(now),
                Step::Listen(id) => drop(routes.listen(id, None, now)),
                Step::Unlisten(id) => routes.unlisten(id),
                Step::Dial(id) => {
                    heard.push(0);
                    routes.dial(id, heard.len() - 1, now);
                }
                Step::DialMain if one => {
                    heard.push(0);
                    mains += 1;
                    routes.dial_main(heard.len() - 1, now);
                }
                Step::DialMain => {}
                Step::Received(info) => {
                    let grant = |knock: &Knock| knock.knock && knock.ack && knock.error.is_empty();
                    granted += usize::from(one && info.knock.as_ref().is_some_and(grant));
                    routes.received(info, now);
                }
                Step::StreamIn => drop(routes.stream_in(now)),
                Step::TurnOver => routes.turn_over(now),
                Step::Later(ms) => {
                    now += Duration::from_millis(ms);
                    if routes.deadline().is_some_and(|deadline| deadline <= now) {
                        routes.expire(now);
                    }
                }
            }
            look(&mut routes, &mut heard);
        }
        while let Some(deadline) = routes.deadline() {
            now = now.max(deadline);
            routes.expire(now);
            look(&mut routes, &mut heard);
        }
        prop_assert!(heard.iter().all(|&times| times == 1), "{heard:?}");
        prop_assert_eq!(opened, granted + mains);
    }
}
