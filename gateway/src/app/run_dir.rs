//! The drivers' run directory belongs to one gateway at a time.
//!
//! Always true: what drivers leave there for the next gateway is never taken for left behind while the
//! gateway it belongs to lives; the lock goes with the process, however it ends.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tokio::time::sleep;

/// How often, and how long apart, it is tried: a gateway that was killed may not be gone yet.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(20);

/// Keeps the directory; `None`: it cannot be made, so that nothing is left there either.
pub async fn lock(run_dir: &Path) -> anyhow::Result<Option<File>> {
    let dir = run_dir.join("drivers");
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
    let Ok(file) = made.and_then(|()| File::open(&dir)) else { return Ok(None) };
    for _ in 0..TRIES {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => sleep(PAUSE).await,
            locked => {
                locked.with_context(|| format!("locking {}", dir.display()))?;
                return Ok(Some(file));
            }
        }
    }
    let shown = run_dir.display();
    bail!("another gateway keeps its drivers in {shown}: stop it, or set [drivers] run_dir to another place")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_second_gateway_is_told_and_the_next_one_gets_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock(dir.path()).await.unwrap();
        assert!(first.is_some());
        let error = lock(dir.path()).await.unwrap_err().to_string();
        assert!(error.contains("another gateway") && error.contains("run_dir"), "{error}");
        drop(first);
        assert!(lock(dir.path()).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn where_none_can_be_made_there_is_none_to_keep() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert!(lock(&dir.path().join("file")).await.unwrap().is_none());
    }
}
