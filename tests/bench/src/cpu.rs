//! What a process has used of the processor, from `/proc/PID/stat`.
//!
//! Always true: user and system time of all its threads, ended ones included; in steps of a hundredth
//! of a second, so measure long enough.

use std::fs;

use anyhow::{Context, Result};

/// Ticks of a second in `/proc/PID/stat`; Linux fixed it for everything outside the kernel.
const TICKS: f64 = 100.0;
/// Fields after the name in brackets: `utime` is the 14th field altogether, `stime` the 15th.
const USER: usize = 11;
const SYSTEM: usize = 12;

/// Seconds of CPU time since its start.
pub fn used(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    seconds(&text).with_context(|| format!("{path} is not what Linux writes: {text:?}"))
}

/// Times its threads have waited for something, those of threads that have ended left out.
pub fn wake_ups(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/task");
    let threads = fs::read_dir(&path).with_context(|| format!("reading {path}"))?;
    let statuses =
        threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok());
    Ok(statuses.filter_map(|status| waits(&status)).sum())
}

fn waits(status: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?.trim().parse().ok()
}

fn seconds(text: &str) -> Option<f64> {
    // The second field is a name in brackets and may hold anything, brackets and spaces included.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |place: usize| fields.get(place)?.parse::<f64>().ok();
    Some((ticks(USER)? + ticks(SYSTEM)?) / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_found_behind_any_name() {
        let text = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 100 1000 10";
        assert_eq!(seconds(text), Some(3.0));
        assert_eq!(seconds("7 (a) S 1"), None);
        assert_eq!(seconds(""), None);
    }

    #[test]
    fn waits_are_counted_over_all_threads() {
        assert_eq!(
            waits("Name:\tx\nvoluntary_ctxt_switches:\t17\nnonvoluntary_ctxt_switches:\t3\n"),
            Some(17)
        );
        assert!(wake_ups(std::process::id()).is_ok() && wake_ups(u32::MAX).is_err());
    }

    #[test]
    fn our_own_process_has_used_some() {
        let before = used(std::process::id()).unwrap();
        let mut sum = 0u64;
        while used(std::process::id()).unwrap() <= before {
            sum = sum.wrapping_add(std::hint::black_box(1));
        }
        assert!(used(u32::MAX).is_err());
    }
}
