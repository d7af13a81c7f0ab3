//! What plugins that pour out far too much cost their host: little time, and memory that does not
//! grow with what they say.

use std::time::Instant;

use crate::*;

/// What a plugin may make its host hold, whatever it says. Far below what each of them pours out.
const MOST_GROWTH_KIB: u64 = 16 << 10;
/// Far above anything measured, with room for a machine that is busy with other tests.
const MOST_TIME: Duration = Duration::from_secs(40);

/// Runs a host of its own for the plugin. Gives its outcome.
fn cost(program: &Path, args: &[&str]) -> String {
    let begun = Instant::now();
    let host = std::process::Command::new(example("host")).arg(program).args(args).output().unwrap();
    assert!(host.status.success(), "{}", String::from_utf8_lossy(&host.stderr));
    assert!(begun.elapsed() < MOST_TIME, "{args:?} took {:?}", begun.elapsed());
    let output = String::from_utf8(host.stdout).unwrap();
    let (outcome, memory) = output.trim_end().rsplit_once('\n').unwrap();
    let (before, peak) = memory.split_once(' ').unwrap();
    let growth = peak.parse::<u64>().unwrap() - before.parse::<u64>().unwrap();
    assert!(growth < MOST_GROWTH_KIB, "{args:?} costs {growth} KiB");
    outcome.to_owned()
}

const HUNDRED_MB: &str = "104857600";

#[test]
fn a_hundred_megabytes_after_the_handshake_in_one_line_on_both_pipes() {
    assert_eq!(cost(&example("peer"), &["flood", HUNDRED_MB]), "started");
}

#[test]
fn a_hundred_megabytes_after_the_handshake_in_short_and_empty_lines() {
    assert_eq!(cost(&example("peer"), &["flood-of-lines", HUNDRED_MB]), "started");
}

#[test]
fn a_hundred_megabytes_instead_of_the_handshake() {
    let outcome = cost(Path::new("/bin/sh"), &["-c", "head -c 104857600 /dev/zero; exec sleep 1000"]);
    assert!(outcome.contains("refused") && outcome.contains("too long for a handshake"), "{outcome}");
    let outcome = cost(Path::new("/bin/sh"), &["-c", "yes banner | head -c 104857600; exec sleep 1000"]);
    assert!(outcome.contains("refused") && outcome.contains("not a plugin handshake"), "{outcome}");
}

#[test]
fn a_hundred_megabytes_on_stderr_before_the_handshake() {
    let outcome = cost(Path::new("/bin/sh"), &["-c", "head -c 104857600 /dev/zero >&2; exit 3"]);
    assert!(outcome.contains("refused") && outcome.contains("exit status 3"), "{outcome}");
    assert!(outcome.len() < 8_000, "{} bytes", outcome.len());
}

#[test]
fn a_message_of_a_gibibyte_in_answer_to_the_health_check() {
    let outcome = cost(&example("peer"), &["giant-health"]);
    assert!(outcome.contains("refused") && outcome.contains("health check"), "{outcome}");
    assert!(outcome.contains("message length too large"), "{outcome}");
}

#[test]
fn a_message_of_a_gibibyte_as_printed_output() {
    assert_eq!(cost(&example("peer"), &["giant-stdio"]), "started");
}
