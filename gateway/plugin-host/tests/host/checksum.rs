//! Programs that must be exactly what was installed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use sagoo_edge_plugin_host::{Checksum, ChecksumError, Grace, StartError, StartFailure};

use crate::*;

fn sha256(program: &Path) -> Checksum {
    let bytes = fs::read(program).unwrap();
    Checksum::Sha256(digest(&SHA256, &bytes).as_ref().try_into().unwrap())
}

/// A copy of a program under another name.
fn copied(program: &Path, to: &Path) {
    // by another process, see `a_file_that_cannot_run_says_what_is_wrong_with_it`
    let status = std::process::Command::new("cp").args([program, to]).status().unwrap();
    assert!(status.success());
}

async fn refused(launch: Launch) -> StartError {
    let run_dir = launch.run_dir.clone().unwrap();
    let error = Plugin::start(launch).await.expect_err("it is not what it must be");
    if run_dir.exists() {
        assert_eq!(files_in(&run_dir), Vec::<PathBuf>::new());
    }
    error
}

#[tokio::test]
async fn a_verified_program_runs_under_its_own_name_and_path() {
    let dir = tempfile::tempdir().unwrap();
    let program = fs::canonicalize(example("peer")).unwrap();
    let sha512 = Checksum::Sha512(digest(&SHA512, &fs::read(&program).unwrap()).as_ref().try_into().unwrap());
    for checksum in [sha256(&program), sha512] {
        let args = ["probe", "exe", "name"].map(OsString::from).to_vec();
        let launch =
            Launch { program: program.clone(), args, checksum: Some(checksum), ..peer("", dir.path()) };
        let plugin = started(launch).await;
        let comm = fs::read_to_string(format!("/proc/{}/comm", plugin.pid())).unwrap();
        assert_eq!(comm.trim(), "peer");
        until("it has looked", || plugin.last_lines().contains(&"probes are over".into())).await;
        let path = program.display();
        assert_eq!(
            plugin.last_lines()[..2],
            [format!("probe exe: ok {path}"), format!("probe name: ok {path}")]
        );
        assert_eq!(plugin.stop(Grace::default()).await.exit.unwrap().code, Some(0));
    }
}

#[tokio::test]
async fn another_program_than_the_expected_one_does_not_run() {
    let dir = tempfile::tempdir().unwrap();
    let expected = sha256(&example("mortal"));
    let error = refused(Launch { checksum: Some(expected), ..peer("", dir.path()) }).await;
    let both = matches!(&error.failure, StartFailure::Checksum(ChecksumError::Mismatch { .. }));
    assert!(both, "{error}");
    assert!(error.to_string().contains(&expected.to_string()), "{error}");
    assert!(error.to_string().contains(&sha256(&example("peer")).to_string()), "{error}");
}

#[tokio::test]
async fn a_script_cannot_be_verified_and_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("driver");
    fs::write(&script, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let run = dir.path().join("run");
    let checksum = Some(sha256(&script));
    let error = refused(Launch { checksum, ..launch(script, &[], &run) }).await;
    assert!(matches!(error.failure, StartFailure::Checksum(ChecksumError::Script)), "{error}");
    assert!(error.to_string().contains("start its interpreter with the script"), "{error}");
}

#[tokio::test]
async fn a_missing_or_unrunnable_verified_program_says_so_as_any_other() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let missing = dir.path().join("missing");
    let checksum = Some(Checksum::Sha256([0; 32]));
    let error = refused(Launch { checksum, ..launch(missing, &[], &run) }).await;
    assert!(matches!(error.failure, StartFailure::Missing), "{error}");
    let plain = dir.path().join("plain");
    copied(&example("peer"), &plain);
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o644)).unwrap();
    let checksum = Some(sha256(&plain));
    let error = refused(Launch { checksum, ..launch(plain, &[], &run) }).await;
    assert!(matches!(error.failure, StartFailure::NotExecutable { .. }), "{error}");
}

/// The path leads now to the right program, now to another one, thousands of times a second: what
/// starts is the right one, or nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_is_swapped_while_it_is_started_never_runs() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    copied(&example("peer"), &at("good"));
    let trace = at("the other one ran");
    // a program of its own, not a script, and one that leaves a trace
    copied(Path::new("/bin/touch"), &at("evil"));
    let checksum = sha256(&at("good"));

    let stop = AtomicBool::new(false);
    let (mut ran, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for turn in 0.. {
                let (new, next) = (at("new"), at(if turn % 2 == 0 { "evil" } else { "good" }));
                fs::hard_link(next, &new).unwrap();
                fs::rename(&new, at("driver")).unwrap();
                // a rename between two names of one file leaves both
                let _ = fs::remove_file(&new);
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                until("the program is there", || at("driver").exists()).await;
                while ran < 20 || refused < 20 {
                    let args = vec![trace.clone().into_os_string()];
                    let run = at("run");
                    let launch = Launch { args, checksum: Some(checksum), ..launch(at("driver"), &[], &run) };
                    match Plugin::start(launch).await {
                        Ok(plugin) => {
                            ran += 1;
                            drop(plugin);
                        }
                        Err(error) => {
                            let swapped = matches!(
                                error.failure,
                                StartFailure::Checksum(ChecksumError::Mismatch { .. })
                            );
                            assert!(swapped, "{error}");
                            refused += 1;
                        }
                    }
                    assert!(!trace.exists(), "the other program ran");
                }
            });
            stop.store(true, Ordering::Relaxed);
        });
    });
}
