//! Programs that are no plugins, or not ours: each gives one clear error and leaves nothing.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Instant;

use sagoo_edge_plugin_host::{Exit, Grace, StartError, StartFailure as F, Stopped};

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
    shell(&format!("echo \"{line}\"; exec sleep 1000"), dir)
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
    assert!(matches!(plain.failure, F::NotExecutable { .. }), "{plain}");
    let said = plain.to_string();
    assert!(said.contains("the file is a script for \"/bin/sh\", mode 0644, of user "), "{said}");
    let garbage = refused(file("garbage", 0o755, "\u{7f}ELF of another machine")).await;
    assert!(matches!(garbage.failure, F::NotAProgram { .. }), "{garbage}");
    assert!(garbage.to_string().contains("it is a damaged or cut off program; install"), "{garbage}");
    let mut foreign = std::fs::read(example("peer")).unwrap();
    foreign[18] ^= 0xff;
    foreign.truncate(4096);
    std::fs::write(dir.path().join("foreign.bytes"), &foreign).unwrap();
    let copy = r#"cat "$0" > "$1""#;
    let (bytes, path) = (dir.path().join("foreign.bytes"), dir.path().join("foreign"));
    let copied = std::process::Command::new("/bin/sh").arg("-c").arg(copy).arg(bytes).arg(&path).status();
    assert!(copied.unwrap().success());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let foreign = refused(launch(path, &[], &run)).await;
    assert!(matches!(foreign.failure, F::NotAProgram { .. }), "{foreign}");
    assert!(foreign.to_string().contains("it is a program for an unknown machine (64 bit)"), "{foreign}");
    let script = refused(file("script", 0o755, "#!/no/such/interpreter\n")).await;
    assert!(matches!(script.failure, F::Interpreter { .. }), "{script}");
    assert!(script.to_string().contains("a script for \"/no/such/interpreter\""), "{script}");
    // Never handed to a shell by the C library.
    let mark = dir.path().join("was-run");
    let text = refused(file("text", 0o755, &format!("touch {}\n", mark.display()))).await;
    assert!(matches!(text.failure, F::NotAProgram { .. }), "{text}");
    assert!(text.to_string().contains("text without a first line like #!"), "{text}");
    assert!(!mark.exists());
    let folder = refused(launch(dir.path().to_owned(), &[], &run)).await;
    assert!(folder.to_string().contains("the file is a directory"), "{folder}");
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
    let with_cert = format!("1|1|unix|$TMPDIR/p|grpc|{cert}");
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
    for open in ["[::]:9", "192.0.2.1:9", "[2001:db8::1]:9", "[::ffff:127.0.0.1]:9"] {
        let error = refused(announcing(&format!("1|1|tcp|{open}|grpc|"), dir.path())).await;
        assert!(matches!(error.failure, F::NotLoopback(_)), "{error}");
        assert!(error.to_string().contains("loopback"), "{error}");
    }
    let error = refused(announcing(&with_cert, dir.path())).await;
    assert!(matches!(error.failure, F::UnaskedCertificate), "{error}");
    let without =
        async |line| refused(Launch { security: Security::AutoMtls, ..announcing(line, dir.path()) }).await;
    let error = without("1|1|unix|$TMPDIR/p|grpc|").await;
    assert!(matches!(error.failure, F::NoCertificate), "{error}");
    let error = without("1|1|unix|/nowhere|grpc|").await;
    assert!(matches!(error.failure, F::Elsewhere { .. }), "the address is the first cause: {error}");
    let error = without("1|1|tcp|0.0.0.0:9|grpc|").await;
    assert!(matches!(error.failure, F::NotLoopback(_)), "the address is the first cause: {error}");
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = refused(announcing("1|1|unix|$TMPDIR/nobody|grpc|", dir.path())).await;
    assert!(matches!(error.failure, F::Connect { .. }), "{error}");
    assert!(error.to_string().contains("/nobody: "), "{error}");
    assert!(error.to_string().contains("No such file"), "{error}");
}

#[tokio::test]
async fn a_plugin_that_dies_after_its_handshake_is_reported_as_dead() {
    let dir = tempfile::tempdir().unwrap();
    let error = refused(shell("echo \"1|1|unix|$TMPDIR/p|grpc|\"; exit 5", dir.path())).await;
    assert!(matches!(error.failure, F::Ended { exit, .. } if exit.code == Some(5)), "{error}");
}

#[tokio::test]
async fn a_socket_elsewhere_is_not_connected_to() {
    let dir = tempfile::tempdir().unwrap();
    let other = dir.path().join("other");
    let listener = std::os::unix::net::UnixListener::bind(&other).unwrap();
    listener.set_nonblocking(true).unwrap();
    let run = dir.path().join("run");
    let scripts = [
        format!("echo '1|1|unix|{}|grpc|'; exec sleep 1000", other.display()),
        "echo \"1|1|unix|$TMPDIR/../../other|grpc|\"; exec sleep 1000".to_owned(),
        format!("ln -s {} $TMPDIR/p; echo \"1|1|unix|$TMPDIR/p|grpc|\"; exec sleep 1000", other.display()),
        "echo '1|1|unix|@abstract|grpc|'; exec sleep 1000".to_owned(),
    ];
    for script in scripts {
        let error = refused(shell(&script, &run)).await;
        assert!(matches!(error.failure, F::Elsewhere { .. }), "{error}");
        assert!(
            error.to_string().contains("its own directory") && error.to_string().contains("TMPDIR"),
            "{error}"
        );
    }
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "nobody knocked");
}

#[tokio::test]
async fn a_program_that_ends_as_if_all_were_well_is_no_driver() {
    let dir = tempfile::tempdir().unwrap();
    let error = refused(shell("exit 0", dir.path())).await;
    assert!(matches!(error.failure, F::Ended { exit, .. } if exit.code == Some(0)), "{error}");
    assert!(
        error.to_string().contains("(exit status 0) before its handshake line; it is not a driver"),
        "{error}"
    );
    let error = refused(shell("kill -9 $$", dir.path())).await;
    assert!(error.to_string().contains("(killed by signal 9)"), "{error}");
    assert!(error.to_string().contains("out of memory"), "{error}");
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

#[tokio::test]
async fn a_program_that_freezes_after_its_handshake_is_given_up_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let limit = Duration::from_secs(2);
    let error = refused(Launch { start_timeout: limit, ..peer("frozen", dir.path()) }).await;
    assert!(matches!(error.failure, F::TimedOut { .. }), "{error}");
    assert!(error.to_string().contains("after 2s: no answer to the health check"), "{error}");
    assert!(begun.elapsed() >= limit && begun.elapsed() < LONG, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_plugin_that_agrees_to_stop_and_goes_on_is_killed_after_its_grace() {
    let dir = tempfile::tempdir().unwrap();
    let plugin = started(peer("deaf", dir.path())).await;
    let id = plugin.pid();
    let begun = Instant::now();
    let grace = Grace { shutdown_rpc: LONG, exit: Duration::from_millis(300) };
    let stopped = plugin.stop(grace).await;
    assert_eq!(stopped, Stopped { exit: Some(Exit { code: None, signal: Some(9) }), killed: true });
    assert!(begun.elapsed() >= grace.exit && begun.elapsed() < LONG, "{:?}", begun.elapsed());
    assert!(!exists(id), "a zombie");
    assert_eq!(files_in(dir.path()), Vec::<PathBuf>::new());
}
