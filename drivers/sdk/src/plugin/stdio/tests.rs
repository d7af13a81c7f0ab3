//! Output between printers and hosts, without a process.

use std::io::Write as _;

use proptest::prelude::*;
use tokio::time::{Duration, advance};
use tokio_stream::StreamExt as _;

use super::*;

async fn take(reader: &mut Reader) -> (Channel, Vec<u8>) {
    let message = reader.next().await.expect("more comes").unwrap();
    (message.channel(), message.data)
}

async fn rest(mut reader: Reader) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(message) = reader.next().await {
        all.extend(message.unwrap().data);
    }
    all
}

fn counting(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|place| (place / 7) as u8).collect()
}

#[tokio::test]
async fn both_channels_arrive_in_the_order_of_printing() {
    let stdio = Stdio::default();
    let (mut out, mut err) = (stdio.output(Channel::Stdout), stdio.output(Channel::Stderr));
    write!(out, "a").unwrap();
    write!(out, "b").unwrap();
    write!(err, "c").unwrap();
    write!(out, "d").unwrap();
    let mut reader = stdio.read();
    assert_eq!(take(&mut reader).await, (Channel::Stdout, b"ab".to_vec()));
    assert_eq!(take(&mut reader).await, (Channel::Stderr, b"c".to_vec()));
    assert_eq!(take(&mut reader).await, (Channel::Stdout, b"d".to_vec()));
    stdio.close();
    assert!(reader.next().await.is_none());
}

#[tokio::test]
async fn ten_mebibytes_printed_at_once_reach_a_host_that_reads() {
    let stdio = Stdio::default();
    let reader = stdio.read();
    let printed = counting(10 * 1024 * 1024);
    stdio.output(Channel::Stdout).write_all(&printed).unwrap();
    stdio.close();
    assert!(rest(reader).await == printed, "byte for byte");
}

#[tokio::test]
async fn without_a_host_the_newest_is_kept_and_the_rest_is_counted() {
    let stdio = Stdio::default();
    let printed = counting(3 * UNREAD_BYTES);
    stdio.output(Channel::Stdout).write_all(&printed).unwrap();
    let dropped = stdio.state().dropped as usize;
    assert!(stdio.state().bytes <= UNREAD_BYTES);
    let reader = stdio.read();
    assert_eq!(stdio.state().dropped, 0, "it was said");
    stdio.close();
    let arrived = rest(reader).await;
    assert_eq!(arrived.len() + dropped, printed.len());
    assert!(arrived == printed[dropped..]);
}

#[tokio::test]
async fn a_host_that_is_attached_and_does_not_read_bounds_the_memory_too() {
    let stdio = Stdio::default();
    let _reader = stdio.read();
    let mut out = stdio.output(Channel::Stdout);
    for _ in 0..20 {
        out.write_all(&counting(1024 * 1024)).unwrap();
        assert!(stdio.state().bytes <= READ_BYTES);
    }
    let state = stdio.state();
    assert_eq!(state.bytes + state.dropped as usize, 20 * 1024 * 1024);
}

#[tokio::test]
async fn a_second_host_goes_on_where_the_first_was() {
    let stdio = Stdio::default();
    let mut out = stdio.output(Channel::Stdout);
    let mut first = stdio.read();
    write!(out, "one").unwrap();
    assert_eq!(take(&mut first).await.1, b"one");
    // It waits for more when the second comes.
    let waiting = tokio::spawn(async move { first.next().await.is_none() });
    tokio::task::yield_now().await;
    let mut second = stdio.read();
    assert!(waiting.await.unwrap(), "the first one ends");
    write!(out, "two").unwrap();
    assert_eq!(take(&mut second).await.1, b"two");
    drop(second);
    write!(out, "three").unwrap();
    assert_eq!(take(&mut stdio.read()).await.1, b"three");
}

#[tokio::test(start_paused = true)]
async fn sending_waits_for_a_host_that_reads_and_for_nobody_else() {
    let stdio = Stdio::default();
    let out = stdio.output(Channel::Stdout);
    out.send(&counting(3 * SEND_BYTES)).await;
    assert!(stdio.state().dropped > 0, "without a host nothing waits");
    let mut reader = stdio.read();
    let sent = counting(4 * SEND_BYTES);
    let sending = tokio::spawn({
        let (out, sent) = (out.clone(), sent.clone());
        async move { out.send(&sent).await }
    });
    advance(Duration::from_secs(60)).await;
    assert!(!sending.is_finished() && stdio.state().bytes <= SEND_BYTES + CHUNK_BYTES);
    let mut arrived = Vec::new();
    while !sending.is_finished() {
        arrived.extend(take(&mut reader).await.1);
    }
    stdio.close();
    arrived.extend(rest(reader).await);
    assert!(arrived.ends_with(&sent), "and nothing of it is lost");
    out.send(b"too late").await;
    assert_eq!(stdio.state().bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn draining_waits_for_a_host_that_reads_but_not_for_ever() {
    let stdio = Stdio::default();
    let limit = Duration::from_millis(150);
    let start = tokio::time::Instant::now();
    stdio.output(Channel::Stdout).write_all(b"x").unwrap();
    stdio.drained(limit).await;
    assert_eq!(start.elapsed(), Duration::ZERO, "nobody reads");
    let mut reader = stdio.read();
    stdio.drained(limit).await;
    assert!(start.elapsed() >= limit);
    take(&mut reader).await;
    let start = tokio::time::Instant::now();
    stdio.drained(limit).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
}

proptest! {
    /// Whatever is printed in whatever pieces arrives in order, and is counted if it was dropped.
    #[test]
    fn every_byte_arrives_or_is_counted(pieces in proptest::collection::vec((any::<bool>(), 0..70_000usize), 0..40)) {
        let stdio = Stdio::default();
        let (mut printed, mut sizes) = (0, [0, 0]);
        for (is_err, bytes) in pieces {
            let channel = if is_err { Channel::Stderr } else { Channel::Stdout };
            stdio.push(channel, &counting(bytes));
            printed += bytes;
            sizes[usize::from(is_err)] += bytes;
            let state = stdio.state();
            prop_assert!(state.bytes <= UNREAD_BYTES);
            prop_assert_eq!(state.bytes, state.waiting.iter().map(|(_, chunk)| chunk.len()).sum::<usize>());
            prop_assert_eq!(state.bytes + state.dropped as usize, printed);
            prop_assert!(state.waiting.iter().all(|(_, chunk)| (1..=CHUNK_BYTES).contains(&chunk.len())));
        }
    }
}
