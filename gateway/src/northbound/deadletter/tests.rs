//! Letters survive, stay bounded, and make do without the small state.

use std::fs;
use std::thread::JoinHandle;

use super::*;

struct Rig {
    dir: tempfile::TempDir,
    letters: DeadLetters,
    thread: JoinHandle<()>,
}

impl Rig {
    async fn new() -> Self {
        Self::open(tempfile::tempdir().unwrap()).await
    }

    async fn open(dir: tempfile::TempDir) -> Self {
        let (state, thread) = state::start(dir.path().join("state"));
        let letters = DeadLetters::open(dir.path().join("letters"), state).await;
        Self { dir, letters, thread }
    }

    /// As after a kill: what was written is there, nobody said goodbye.
    async fn again(self) -> Self {
        let Self { dir, letters, thread } = self;
        drop(letters);
        tokio::task::spawn_blocking(|| thread.join().unwrap()).await.unwrap();
        Self::open(dir).await
    }

    fn file(&self, id: &str) -> PathBuf {
        self.dir.path().join("letters").join(id)
    }

    fn ids(&self) -> Vec<&str> {
        self.letters.all().into_iter().map(|(id, _)| id).collect()
    }
}

fn row(id: &str, message: &str) -> GivenUp {
    GivenUp {
        id: id.to_owned(),
        device: "meter".into(),
        topic: "/sys/p/m/thing/event/property/pack/post".to_owned(),
        samples: 3,
        tries: 3,
        message: message.to_owned(),
    }
}

#[tokio::test]
async fn letters_survive_a_restart_in_their_order_with_what_was_wanted() {
    let mut rig = Rig::new().await;
    let message = "{\"id\":\"gw-9-0\"}\n电";
    rig.letters.keep(&row("gw-9-0", message), 1_000).await.unwrap();
    rig.letters.keep(&row("gw-10-0", "{}"), 2_000).await.unwrap();
    rig.letters.want("gw-10-0", true).await;
    let mut rig = rig.again().await;
    assert_eq!(rig.ids(), ["gw-9-0", "gw-10-0"]);
    assert_eq!(rig.letters.message("gw-9-0").await.unwrap(), message);
    let entry = rig.letters.get("gw-10-0").unwrap();
    assert_eq!((entry.wanted, entry.since_ms, &*entry.device, entry.samples), (true, 2_000, "meter", 3));
    rig.letters.acknowledged("gw-10-0").await;
    rig.letters.drop_letter("gw-9-0").await.unwrap();
    let status = rig.letters.status();
    assert_eq!((status.letters, status.bytes, status.acknowledged, status.dropped), (0, 0, 1, 1));
    assert_eq!(rig.again().await.ids(), [""; 0]);
}

#[tokio::test]
async fn without_the_small_state_letters_are_kept_and_found_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("state"), "a file where a directory should be").unwrap();
    let mut rig = Rig::open(dir).await;
    rig.letters.keep(&row("gw-1-0", "{}"), 1).await.unwrap();
    rig.letters.want("gw-1-0", true).await;
    let rig = rig.again().await;
    assert_eq!(rig.ids(), ["gw-1-0"]);
    assert!(!rig.letters.get("gw-1-0").unwrap().wanted, "that it was wanted is forgotten");
    fs::remove_file(rig.dir.path().join("state")).unwrap();
    let rig = rig.again().await.again().await;
    assert_eq!(rig.ids(), ["gw-1-0"], "indexed again");
}

#[tokio::test]
async fn the_same_row_is_kept_once_and_another_one_under_its_id_takes_its_place() {
    let mut rig = Rig::new().await;
    for _ in 0..2 {
        rig.letters.keep(&row("gw-1-0", "one"), 1).await.unwrap();
    }
    let status = rig.letters.status();
    assert_eq!((status.letters, status.bytes, status.evicted), (1, 3, 0));
    rig.letters.keep(&row("gw-1-0", "other"), 2).await.unwrap();
    assert_eq!(rig.letters.message("gw-1-0").await.unwrap(), "other");
    let status = rig.letters.status();
    assert_eq!((status.letters, status.bytes, status.evicted), (1, 5, 1), "that is counted");
}

#[tokio::test]
async fn the_oldest_goes_when_there_are_too_many_bytes() {
    let mut rig = Rig::new().await;
    let third = "x".repeat(MAX_BYTES as usize / 3);
    for id in ["gw-30-0", "gw-20-0", "gw-10-0", "gw-5-0"] {
        rig.letters.keep(&row(id, &third), 1).await.unwrap();
    }
    assert_eq!(rig.ids(), ["gw-20-0", "gw-10-0", "gw-5-0"]);
    assert!(!rig.file("gw-30-0").exists());
    assert_eq!(rig.letters.status().evicted, 1);
    let all = "x".repeat(MAX_BYTES as usize);
    rig.letters.keep(&row("gw-40-0", &all), 1).await.unwrap();
    assert_eq!(rig.ids(), ["gw-40-0"]);
    let more = rig.letters.keep(&row("gw-41-0", &(all + "x")), 1).await;
    assert!(matches!(more, Err(KeepError::TooLarge(_))), "{more:?}");
    assert_eq!(rig.ids(), ["gw-40-0"], "what cannot be kept costs nothing that is");
}

#[tokio::test]
async fn the_oldest_goes_when_there_are_too_many() {
    let mut rig = Rig::new().await;
    rig.letters.keep(&row("gw-0-0", "{}"), 1).await.unwrap();
    let first = rig.letters.get("gw-0-0").unwrap().clone();
    for number in 2..=MAX_LETTERS as u64 {
        rig.letters.entries.insert(format!("gw-{number}-0"), Entry { number, ..first.clone() });
    }
    rig.letters.numbers = MAX_LETTERS as u64;
    rig.letters.keep(&row("gw-new-0", "{}"), 1).await.unwrap();
    assert_eq!(rig.letters.status().letters, MAX_LETTERS as u64);
    let ids = rig.ids();
    assert_eq!((ids.first(), ids.last()), (Some(&"gw-2-0"), Some(&"gw-new-0")));
}

#[tokio::test]
async fn a_letter_that_was_being_written_is_no_letter_and_a_damaged_one_is_not_sent() {
    let mut rig = Rig::new().await;
    rig.letters.keep(&row("gw-1-0", "as it was"), 1).await.unwrap();
    let (half, file) = (rig.file("gw-2-0.new"), rig.file("gw-1-0"));
    fs::write(&half, "{\"number\":2").unwrap();
    let damaged = fs::read_to_string(&file).unwrap().replace("as it was", "as it is!");
    fs::write(&file, damaged).unwrap();
    let rig = rig.again().await;
    assert_eq!(rig.ids(), ["gw-1-0"]);
    assert!(!half.exists());
    let error = rig.letters.message("gw-1-0").await.unwrap_err();
    assert!(error.to_string().contains("is damaged: its message"), "{error}");
    // one whose own words are not readable is left where it is
    fs::write(rig.file("gw-3-0"), [0xff, 0xfe]).unwrap();
    let rig = rig.again().await;
    assert_eq!(rig.ids(), ["gw-1-0"]);
    assert!(rig.file("gw-3-0").exists());
}

#[tokio::test]
async fn a_disk_that_takes_nothing_is_said_and_over_when_it_takes_something() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("letters"), "in the way").unwrap();
    let mut rig = Rig::open(dir).await;
    let error = rig.letters.keep(&row("gw-1-0", "{}"), 1).await.unwrap_err();
    assert!(error.to_string().contains("letters/gw-1-0"), "{error}");
    assert!(!rig.letters.status().trouble.is_empty());
    fs::remove_file(rig.dir.path().join("letters")).unwrap();
    rig.letters.keep(&row("gw-1-0", "{}"), 1).await.unwrap();
    assert_eq!((rig.letters.status().letters, rig.letters.status().trouble.as_str()), (1, ""));
}

#[tokio::test]
async fn an_id_never_leaves_the_directory() {
    let mut rig = Rig::new().await;
    for odd in ["", ".", "../up", "a/b", "a.new", "a\0b", &"x".repeat(MAX_ID_BYTES + 1)] {
        let refused = rig.letters.keep(&row(odd, "{}"), 1).await;
        assert!(matches!(refused, Err(KeepError::Id(_))), "{odd:?}: {refused:?}");
    }
}
