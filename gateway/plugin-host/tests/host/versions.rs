//! Application versions: several on either side, chosen as Go chooses, refused with a remedy.

use sagoo_edge_plugin_host::{Grace, StartFailure};

use crate::*;

/// The host's versions, the plugin's, and what comes of it.
const CASES: &[(&[u32], &str, Result<u32, &str>)] = &[
    (&[1], "1", Ok(1)),
    (&[1, 2, 3], "1", Ok(1)),
    (&[1], "1,2,3", Ok(1)),
    (&[2, 3], "3,2", Ok(3)),
    (&[3, 2], "1,2,4", Ok(2)),
    (&[0], "0,1", Ok(0)),
    // What a plugin without a match announces is its lowest.
    (&[1], "2,3", Err("application version 2, this gateway 1; update the gateway, or install an older")),
    (
        &[2, 1],
        "7",
        Err("application version 7, this gateway 1 and 2; update the gateway, or install an older"),
    ),
    (&[5, 7, 6], "1,2", Err("application version 1, this gateway 5, 6 and 7; update the driver, or go back")),
    (&[5, 7], "6", Err("application version 6, this gateway 5 and 7; install a version of the driver")),
];

#[tokio::test]
async fn both_sides_take_the_highest_version_they_share_or_say_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    for (host, plugin, expected) in CASES {
        let launch = Launch {
            app_versions: host.to_vec(),
            env: vec![("PEER_VERSIONS".into(), plugin.into())],
            ..peer("", dir.path())
        };
        match (Plugin::start(launch).await, expected) {
            (Ok(started), Ok(version)) => {
                assert_eq!(started.app_version(), *version, "{host:?} with {plugin:?}");
                started.stop(Grace::default()).await;
            }
            (Err(error), Err(said)) => {
                assert!(matches!(error.failure, StartFailure::Version { .. }), "{error}");
                let text = error.to_string();
                assert!(text.starts_with("driver tester (") && text.contains(said), "{text}");
            }
            (found, expected) => panic!("{host:?} with {plugin:?}: {found:?}, not {expected:?}"),
        }
        assert_eq!(files_in(dir.path()), Vec::<PathBuf>::new());
    }
}

#[tokio::test]
async fn a_plugin_that_ignores_our_versions_is_refused_like_one_that_has_none_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let says =
        |app: &str| shell(&format!("echo \"1|{app}|unix|$TMPDIR/p|grpc|\"; exec sleep 1000"), dir.path());
    let error = Plugin::start(Launch { app_versions: vec![], ..says("1") }).await.unwrap_err();
    assert!(error.to_string().contains("this gateway none; install a version"), "{error}");
    let error = Plugin::start(says("4294967295")).await.unwrap_err();
    assert!(error.to_string().contains("application version 4294967295, this gateway 1;"), "{error}");
    let error = Plugin::start(says("one")).await.unwrap_err();
    assert!(error.to_string().contains("\"one\" in the handshake is not a number"), "{error}");
}
