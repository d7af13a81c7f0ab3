//! Gateways that die and come back, while the driver goes on.

use std::collections::BTreeMap;

use super::*;

pub(super) const GRACE: Duration = Duration::from_secs(600);

/// What a gateway keeps across its own deaths: the buffer, which drops doubles by number.
#[derive(Default)]
struct Buffer {
    last_seq: u64,
    doubles: u64,
    values: BTreeMap<String, Vec<u64>>,
}

impl Buffer {
    fn take(&mut self, samples: Vec<Arrived>) {
        let mut newest = self.last_seq;
        for sample in samples {
            if sample.seq <= self.last_seq {
                self.doubles += 1;
                continue;
            }
            assert!(sample.seq == newest || sample.seq == newest + 1, "{} after {newest}", sample.seq);
            newest = sample.seq;
            let Some(Value::Uint(value)) = sample.value else { panic!("{sample:?}") };
            self.values.entry(format!("{}.{}", sample.device, sample.point)).or_default().push(value);
        }
        self.last_seq = newest;
    }

    fn is_complete(&self) -> bool {
        self.values.values().all(|values| values.iter().copied().eq(1..=values.len() as u64))
    }
}

#[tokio::test(start_paused = true)]
async fn twenty_gateways_die_and_not_one_sample_is_lost_or_doubled() {
    let world = World::new();
    let field = tables(json!({
        "connection": { "bus": {}, "hall": {} },
        "device": {
            "meter": { "connection": "bus", "period_ms": 100 },
            "fan": { "connection": "hall", "period_ms": 70 },
        },
    }));
    let mut host = TestHost::start(Fake(world.clone()), Patience::AnotherMayCome(GRACE)).await;
    host.acknowledge_batches(false);
    let mut rng = fastrand::Rng::with_seed(7);
    let mut buffer = Buffer::default();
    for _ in 0..20 {
        assert_eq!(host.configure(&field).await, []);
        for _ in 0..rng.usize(0..40) {
            host.next("anything").await;
            buffer.take(host.taken());
            // An acknowledgement says what is stored, some are lost with the gateway, some late.
            if rng.u8(..4) == 0 {
                host.acknowledge(buffer.last_seq).await;
            }
        }
        host.die();
        sleep(Duration::from_millis(rng.u64(0..3_000))).await;
        host.reopen().await;
    }
    host.configure(&field).await;
    host.acknowledge_batches(true);
    let rest = host.stop().await;
    buffer.take(host.taken().into_iter().chain(rest).collect());
    assert!(buffer.doubles > 0, "nothing was sent again, so nothing is shown");
    assert!(buffer.is_complete(), "{:?}", buffer.values);
    let polls = world.count("poll meter") + world.count("poll fan");
    assert_eq!(buffer.values.values().map(Vec::len).sum::<usize>(), 2 * polls);
    assert_eq!(world.count("open"), 2, "no line was touched");
}

#[tokio::test(start_paused = true)]
async fn an_orphan_polls_on_for_its_grace_and_then_ends_itself() {
    let world = World::new();
    let mut host = TestHost::start(Fake(world.clone()), Patience::AnotherMayCome(GRACE)).await;
    host.configure(&one_device()).await;
    host.sample().await;
    host.die();
    let start = Instant::now();
    let polls = world.count("poll");
    sleep(GRACE - Duration::from_secs(1)).await;
    assert!(world.count("poll") >= polls + 598, "it went on");
    host.reopen().await;
    host.configure(&one_device()).await;
    host.sample().await;
    let returned = Instant::now();
    assert_eq!(host.ended().await, Ended::Orphaned);
    assert!((GRACE..GRACE + END_GRACE).contains(&returned.elapsed()), "{:?}", start.elapsed());
    assert_eq!((world.count("open"), world.count("close")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_never_gets_a_session_ends_after_the_grace_too() {
    let (_sessions, opens) = mpsc::channel(1);
    let start = Instant::now();
    let driver = Arc::new(Fake(World::new()));
    let ended = run(driver, opens, Patience::AnotherMayCome(GRACE), CancellationToken::new()).await;
    assert_eq!((ended, start.elapsed().as_secs()), (Ended::Orphaned, GRACE.as_secs()));
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_was_stopped_does_not_wait_for_ever_either() {
    let mut host = TestHost::start(Fake(World::new()), Patience::AnotherMayCome(GRACE)).await;
    host.configure(&one_device()).await;
    host.stop().await;
    let start = Instant::now();
    assert_eq!(host.ended().await, Ended::Orphaned);
    assert_eq!(start.elapsed().as_secs(), GRACE.as_secs());
}
