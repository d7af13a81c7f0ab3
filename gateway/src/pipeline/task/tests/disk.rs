//! A disk that cannot be read, is damaged, or takes no data.

use super::*;

/// The only segment file of telemetry.
fn segment(dir: &std::path::Path) -> std::path::PathBuf {
    let files = std::fs::read_dir(dir.join("payload/telemetry")).unwrap();
    let segments = files.map(|file| file.unwrap().path());
    let mut segments = segments.filter(|path| path.extension().is_some_and(|end| end == "seg"));
    let segment = segments.next().unwrap();
    assert!(segments.next().is_none(), "more than one segment");
    segment
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_cannot_be_read_is_told_from_one_that_has_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (handle, thread) = start(&config(dir.path(), 1 << 22)).unwrap();
    assert!(
        handle.read(Class::Telemetry, 1, 1 << 16).await.unwrap().unwrap().is_empty(),
        "nothing is there yet"
    );
    handle.batch(batch(1, 0, 1)).await.unwrap();
    let (file, away) = (segment(dir.path()), dir.path().join("away"));
    std::fs::rename(&file, &away).unwrap();
    assert!(handle.read(Class::Telemetry, 1, 1 << 16).await.unwrap().is_none());
    let trouble = handle.snapshot().await.unwrap().buffer.trouble;
    assert!(trouble.contains(file.to_str().unwrap()), "{trouble}");
    std::fs::rename(&away, &file).unwrap();
    assert_eq!(handle.read(Class::Telemetry, 1, 1 << 16).await.unwrap().unwrap().len(), 1);
    assert_eq!(handle.snapshot().await.unwrap().buffer.trouble, "");
    handle.stop().await;
    thread.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_whose_set_is_lost_wait_until_they_are_settled_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), 1 << 22);
    let (handle, thread) = start(&config).unwrap();
    for seq in 1..=4 {
        handle.batch(batch(seq, 0, seq)).await.unwrap();
    }
    handle.stop().await;
    thread.join().unwrap();
    let file = segment(dir.path());
    let mut bytes = std::fs::read(&file).unwrap();
    let places = bytes.windows(3).enumerate().filter(|(_, bytes)| bytes == b"a-1").map(|(place, _)| place);
    let places: Vec<usize> = places.collect();
    assert_eq!(places.len(), 2, "two full rows name the device key");
    places.into_iter().for_each(|place| bytes[place] ^= 0x10);
    std::fs::write(&file, bytes).unwrap();

    let (handle, thread) = start(&config).unwrap();
    let ledger = handle.snapshot().await.unwrap().devices["a"].ledger;
    assert_eq!(
        (ledger.stored, ledger.waiting, ledger.evicted_damaged),
        (4, 2, 2),
        "two of four are still there, if unreadable"
    );
    let from = handle.resume().await.unwrap().telemetry.from;
    let mut decoder = Decoder::default();
    for record in handle.read(Class::Telemetry, from, 1 << 16).await.unwrap().unwrap() {
        let rows = decoder.decode(&record.payload).unwrap();
        let damaged = rows[0].as_ref().unwrap_err().damaged().unwrap().clone();
        let fate = Fate::Damaged;
        let class = Class::Telemetry;
        let settled =
            Settled { class, device: damaged.device, seq: record.seq, samples: damaged.samples, fate };
        handle.settle(vec![settled]).await.unwrap();
    }
    let ledger = handle.snapshot().await.unwrap().devices["a"].ledger;
    assert_eq!((ledger.stored, ledger.waiting, ledger.evicted_damaged), (4, 0, 4));
    let resume = handle.resume().await.unwrap().telemetry;
    assert_eq!(resume.positions["a"], 5, "nothing holds the floor any more");
    handle.stop().await;
    thread.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_counted_and_is_cut_off_is_taken_back_with_an_entry() {
    let dir = tempfile::tempdir().unwrap();
    let (handle, thread) = start(&config(dir.path(), 1 << 22)).unwrap();
    for seq in 1..=3 {
        handle.batch(batch(seq, 0, seq)).await.unwrap();
    }
    handle.settle(vec![settled("a", 1)]).await.unwrap();
    handle.stop().await;
    thread.join().unwrap();
    let file = segment(dir.path());
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();

    let (handle, thread) = start(&config(dir.path(), 1 << 22)).unwrap();
    let snapshot = handle.snapshot().await.unwrap();
    let ledger = snapshot.devices["a"].ledger;
    assert!(ledger.balances(), "{ledger:?}");
    assert_eq!((ledger.read, ledger.stored, ledger.acknowledged, ledger.waiting), (2, 2, 1, 1));
    assert_eq!(snapshot.restart.unwrap().missing_samples, 1);
    handle.stop().await;
    thread.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_on_the_clock_that_the_disk_refuses_is_kept_as_soon_as_it_takes_it() {
    let dir = tempfile::tempdir().unwrap();
    let in_its_way = dir.path().join("clock");
    std::fs::create_dir(&in_its_way).unwrap();
    let (handle, thread) = start(&config(dir.path(), 1 << 22)).unwrap();
    handle.batch(batch(1, 0, 1)).await.unwrap();
    assert_eq!(rows(&handle, 0).await.len(), 1, "nothing waits for it");
    std::fs::remove_dir(&in_its_way).unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    let boot = clock::boot_id().as_bytes();
    // read as it is: to open it as the pipeline does would write, too
    while !std::fs::read(&in_its_way).is_ok_and(|file| file.windows(boot.len()).any(|bytes| bytes == boot)) {
        assert!(std::time::Instant::now() < deadline, "it was not tried again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    handle.stop().await;
    thread.join().unwrap();
}

/// A filesystem of its own, gone with it; `None`: this machine does not let us.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = std::process::Command::new("mount");
        let status = mount.args(["-t", "tmpfs", "-o", "size=32m", "pipeline-test"]).arg(dir.path()).status();
        status.is_ok_and(|status| status.success()).then_some(Self(dir))
    }

    /// A stranger's file that takes all there is.
    fn fill_up(&self) -> std::path::PathBuf {
        let path = self.0.path().join("stranger");
        let mut file = std::fs::File::create(&path).unwrap();
        for len in [1 << 20, 4_096, 1] {
            while std::io::Write::write_all(&mut file, &vec![1; len]).is_ok() {}
        }
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

async fn values(handle: &Handle) -> Vec<Value> {
    rows(handle, 0).await.into_iter().map(|(_, row)| row.cells[0].value.clone()).collect()
}

fn counted(to: u64) -> Vec<Value> {
    (1..=to).map(Value::Uint).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn telemetry_goes_on_while_the_disk_takes_no_data_and_is_on_it_as_soon_as_it_does() {
    let disk = Disk::new();
    let fallback = tempfile::tempdir().unwrap();
    let place = disk.as_ref().map_or(fallback.path(), |disk| disk.0.path()).join("buffer");
    let mut config = config(&place, 4 << 20);
    // where nothing can be mounted, all there is is reserved, so that nothing is written from the start
    config.buffer.reserve = if disk.is_some() { 1 << 20 } else { 1 << 60 };
    let (handle, thread) = start(&config).unwrap();
    let mut sent = 0;
    let stranger = disk.as_ref().map(Disk::fill_up);
    while handle.snapshot().await.unwrap().buffer.trouble.is_empty() {
        sent += 1;
        assert!(sent < 10_000, "the disk is full and takes data");
        handle.batch(batch(sent, 0, sent)).await.unwrap();
    }
    let on_disk = sent;
    for _ in 0..200 {
        sent += 1;
        handle.batch(batch(sent, 0, sent)).await.unwrap();
    }
    // doubles are still told
    handle.batch(batch(sent, 0, sent)).await.unwrap();
    assert_eq!(values(&handle).await, counted(sent));
    let snapshot = handle.snapshot().await.unwrap();
    assert!(snapshot.buffer.classes.telemetry.memory_bytes > 0);
    let ledger = snapshot.devices["a"].ledger;
    assert_eq!((ledger.read, ledger.stored, ledger.waiting), (sent, sent, sent));
    // what memory holds can be settled
    let settling = rows(&handle, 0).await.into_iter().take(on_disk as usize + 5);
    handle.settle(settling.map(|(seq, _)| settled("a", seq)).collect()).await.unwrap();

    if let Some(stranger) = stranger {
        std::fs::remove_file(stranger).unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while !handle.snapshot().await.unwrap().buffer.trouble.is_empty() {
            assert!(std::time::Instant::now() < deadline, "the disk is well, and still in trouble");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(handle.snapshot().await.unwrap().buffer.classes.telemetry.memory_bytes, 0);
        sent += 1;
        handle.batch(batch(sent, 0, sent)).await.unwrap();
        assert_eq!(values(&handle).await.last(), Some(&Value::Uint(sent)));
        handle.stop().await;
        thread.join().unwrap();
        let (handle, thread) = start(&config).unwrap();
        let ledger = handle.snapshot().await.unwrap().devices["a"].ledger;
        assert!(ledger.balances(), "{ledger:?}");
        assert_eq!((ledger.acknowledged, ledger.waiting), (on_disk + 5, sent - on_disk - 5));
        assert_eq!(values(&handle).await.last(), Some(&Value::Uint(sent)));
        handle.stop().await;
        thread.join().unwrap();
        return;
    }
    handle.stop().await;
    thread.join().unwrap();
}
