//! What a process keeps in memory, from `/proc/PID/status`.
//!
//! Always true: resident pages, shared ones included, in mebibytes, as `ps` and `top` show them.

use std::fs;

use anyhow::{Context, Result};

/// Resident memory in MiB.
pub fn resident(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    mebibytes(&text).with_context(|| format!("{path} does not tell the resident memory"))
}

fn mebibytes(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok()? / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_found_among_the_rest() {
        assert_eq!(mebibytes("Name:\tx\nVmHWM:\t 4096 kB\nVmRSS:\t   2048 kB\n"), Some(2.0));
        assert_eq!(mebibytes("Name:\tx\n"), None);
        assert!(resident(std::process::id()).unwrap() > 1.0);
        assert!(resident(u32::MAX).is_err());
    }
}
