//! Programs that are no plugins, or not ours: each gives one clear error and leaves nothing.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Instant;

use sagoo_edge_plugin_host::{StartError, StartFailure as F};

use crate::*;

/// Starts what cannot start. Checks what is true for every failure.
async fn refused(launch: Launch) -> StartError {
    let run_dir = launch.run_dir.clone().unwrap();
    let program = launch.program.display().to_string();
    let error = Plugin::start(launch).await.expect_err("this is no plugin");
    let text = error.to_string();
    assert!(text.contains("driver tester"), "{text}");
    assert!(text.contains(&program), "{text}");
    if run_dir.exists() {
        assert_eq!(files_in(&run_dir), Vec::<PathBuf>::new());
    }
    error
}

/// A script that says it listens where nobody does.
fn announcing(line: &str, dir: &Path) -> Launch {
    shell(&format!("echo '{line}'; exec sleep 1000"), dir)
}

#[tokio::test]
async fn a_file_that_cannot_run_says_what_is_wrong_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let file = |name: &str, mode: u32, text: &str| {
        let path = dir.path().join(name);
        // Written by another process: a file this one still had open for writing, even through a
        // child of another test, could not be run.
        let write = ["-c", r#"printf %s "$1" > "$0""#, path.to_str().unwrap(), text];
        assert!(std::process::Command::new("/bin/sh").args(write).status().unwrap().success());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        launch(path, &[], &run)
    };
    let missing = refused(launch(dir.path().join("missing"), &[], &run)).await;
    assert!(matches!(missing.failure, F::Missing), "{missing}");
    let plain = refused(file("plain", 0o644, "#!/bin/sh\n")).await;
    assert!(matches!(plain.failure, F::NotExecutable), "{plain}");
    let garbage = refused(file("garbage", 0o755, "\u{7f}ELF of another machine")).await;
    assert!(matches!(garbage.failure, F::NotAProgram), "{garbage}");
    let script = refused(file("script", 0o755, "#!/no/such/interpreter\n")).await;
    assert!(matches!(script.failure, F::Interpreter), "{script}");
}

#[tokio::test]
async fn a_program_that_ends_at_once_is_quoted() {
    let dir = tempfile::tempdir().unwrap();
    let error = refused(shell("echo one >&2; echo 'no such line: ttyUSB7' >&2; exit 4", dir.path())).await;
    assert!(matches!(error.failure, F::Ended { exit, .. } if exit.code == Some(4)), "{error}");
    assert_eq!(error.last_lines, ["one", "no such line: ttyUSB7"]);
    assert!(error.to_string().contains("no such line: ttyUSB7"), "{error}");
}

#[tokio::test]
async fn a_plugin_of_another_host_is_recognised() {
    let dir = tempfile::tempdir().unwrap();
    let says = "echo 'This binary is a plugin. These are not meant to be executed directly.' >&2; exit 1";
    let error = refused(shell(says, dir.path())).await;
    assert!(matches!(error.failure, F::WrongCookie), "{error}");
}

#[tokio::test]
async fn a_banner_is_no_handshake() {
    let dir = tempfile::tempdir().unwrap();
    for banner in ["welcome to my driver", "", "a | b | c | d"] {
        let error = refused(announcing(banner, dir.path())).await;
        assert!(matches!(error.failure, F::Handshake(_)), "{error}");
        assert!(error.to_string().contains(banner), "{error}");
    }
    let error = refused(shell("head -c 200000 /dev/zero; exec sleep 1000", dir.path())).await;
    assert!(matches!(error.failure, F::LongLine), "{error}");
}

#[tokio::test]
async fn a_plugin_we_cannot_speak_with_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let cert = "A".repeat(80);
    let with_cert = format!("1|1|unix|/nowhere|grpc|{cert}");
    let error = refused(announcing("2|1|unix|/nowhere|grpc|", dir.path())).await;
    assert!(matches!(error.failure, F::Handshake(_)), "{error}");
    let error = refused(announcing("1|7|unix|/nowhere|grpc|", dir.path())).await;
    assert!(matches!(error.failure, F::Version { plugin: 7, .. }), "{error}");
    for netrpc in ["1|1|unix|/nowhere|netrpc|", "1|1|unix|/nowhere"] {
        let error = refused(announcing(netrpc, dir.path())).await;
        assert!(matches!(&error.failure, F::Protocol(spoken) if spoken == "netrpc"), "{error}");
    }
    let error = refused(announcing("1|1|tcp|0.0.0.0:9|grpc|", dir.path())).await;
    assert!(matches!(error.failure, F::NotLoopback(_)), "{error}");
    let error = refused(announcing(&with_cert, dir.path())).await;
    assert!(matches!(error.failure, F::UnaskedCertificate), "{error}");
    let plain = announcing("1|1|unix|/nowhere|grpc|", dir.path());
    let error = refused(Launch { auto_mtls: true, ..plain }).await;
    assert!(matches!(error.failure, F::NoCertificate), "{error}");
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = refused(announcing("1|1|unix|/nowhere/p|grpc|", dir.path())).await;
    assert!(matches!(error.failure, F::Connect { .. }), "{error}");
    assert!(error.to_string().contains("/nowhere/p"), "{error}");
    assert!(error.to_string().contains("No such file"), "{error}");
}

#[tokio::test]
async fn a_plugin_that_dies_after_its_handshake_is_reported_as_dead() {
    let dir = tempfile::tempdir().unwrap();
    let error = refused(shell("echo '1|1|unix|/nowhere/p|grpc|'; exit 5", dir.path())).await;
    assert!(matches!(error.failure, F::Ended { exit, .. } if exit.code == Some(5)), "{error}");
}

#[tokio::test]
async fn an_impostor_without_the_announced_key_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = refused(Launch { auto_mtls: true, ..peer("impostor", dir.path()) }).await;
    assert!(matches!(error.failure, F::Connect { .. }), "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn a_plugin_that_is_not_well_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let error = refused(peer("sick", dir.path())).await;
    assert!(matches!(error.failure, F::Health(_)), "{error}");
}

#[tokio::test]
async fn a_program_that_says_nothing_is_given_up_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let limit = Duration::from_millis(100);
    let error = refused(Launch { start_timeout: limit, ..shell("exec sleep 1000", dir.path()) }).await;
    assert!(matches!(error.failure, F::TimedOut { .. }), "{error}");
    assert!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
    let error = refused(shell("exec sleep 1000 >&-", dir.path())).await;
    assert!(matches!(error.failure, F::Silent), "{error}");
}
