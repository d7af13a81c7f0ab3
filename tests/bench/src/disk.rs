//! What a process has written to disk, from `/proc/PID/io`, and what lies in a folder.
//!
//! Always true: bytes are those of the pages that were made dirty, whoever writes them out later; a page
//! that is written to twice between two syncs counts once, as it does on the disk.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Bytes since its start.
pub fn written(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/io");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    bytes(&text).with_context(|| format!("{path} does not tell what was written"))
}

fn bytes(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("write_bytes:"))?.trim().parse().ok()
}

/// Lengths of all files below, together; what goes away meanwhile does not count.
pub fn lying(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(about) if about.is_dir() => lying(&entry.path()),
            Ok(about) => about.len(),
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_and_lies_is_counted() {
        assert_eq!(bytes("rchar: 1\nwrite_bytes: 4096\ncancelled_write_bytes: 0\n"), Some(4096));
        assert_eq!(bytes("rchar: 1\n"), None);
        assert!(written(std::process::id()).is_ok() && written(u32::MAX).is_err());
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("below")).unwrap();
        fs::write(dir.path().join("a"), [0; 10]).unwrap();
        fs::write(dir.path().join("below/b"), [0; 7]).unwrap();
        assert_eq!(lying(dir.path()), 17);
    }
}
