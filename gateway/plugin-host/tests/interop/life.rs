//! Start, versions, calls, end.

use std::fs;
use std::time::Instant;

use sagoo_edge_plugin_host::{Grace, MAX_MESSAGE_BYTES, StartFailure};
use tonic::Code;

use crate::kv::{Entry, MOST_BYTES};
use crate::*;

/// Go's own limit for what a plugin takes in one message.
const GO_TAKES: usize = 4 << 20;

#[tokio::test]
async fn calls_go_through_and_the_plugin_ends_without_a_trace_in_each_way() {
    assert_eq!(MOST_BYTES, MAX_MESSAGE_BYTES);
    for way in WAYS {
        let dir = tempfile::tempdir().unwrap();
        let (plugin, client) = started(launch(way, dir.path())).await;
        assert_eq!(plugin.app_version(), GRPC_VERSION);
        plugin.health(LONG).await.unwrap();
        let value = vec![7; GO_TAKES - 1024];
        client.put(Entry { key: "a".into(), value: value.clone() }).await.unwrap();
        assert!(client.get("a").await.unwrap().value == value);
        let too_large = client.put(Entry { key: "b".into(), value: vec![7; GO_TAKES] }).await.unwrap_err();
        assert_eq!(too_large.code(), Code::ResourceExhausted, "{too_large}");
        assert!(client.get("a").await.unwrap().value == value, "a refused message harms nothing");

        let pid = plugin.pid();
        let stopping = Instant::now();
        let stopped = plugin.stop(Grace::default()).await;
        assert_eq!((stopped.exit.unwrap().code, stopped.killed), (Some(0), false), "{way:?}");
        assert!(stopping.elapsed() < Duration::from_secs(2), "{way:?}: {:?}", stopping.elapsed());
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{way:?} leaves its socket");
    }
}

#[tokio::test]
async fn of_several_versions_both_take_the_highest_and_a_wrong_one_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let with = |app_versions: &[u32]| Launch {
        app_versions: app_versions.to_vec(),
        ..launch((true, false), dir.path())
    };
    for versions in [&[3][..], &[2, 3], &[3, 2, 1], &[1, 3, 7]] {
        let (plugin, _) = started(with(versions)).await;
        assert_eq!(plugin.app_version(), 3, "{versions:?}");
        plugin.stop(Grace::default()).await;
    }
    let refused = async |versions: &[u32]| Plugin::start(with(versions)).await.unwrap_err();
    for versions in [&[2][..], &[1, 2]] {
        let error = refused(versions).await;
        assert!(matches!(&error.failure, StartFailure::Protocol(spoken) if spoken == "netrpc"), "{error}");
    }
    for versions in [&[1][..], &[7, 1]] {
        let error = refused(versions).await;
        assert!(matches!(&error.failure, StartFailure::Version { plugin: 2, .. }), "{error}");
        assert!(error.to_string().contains("version of the driver"), "{error}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_plugin_of_go_that_is_dropped_or_ends_itself_leaves_nothing() {
    for way in WAYS {
        let dir = tempfile::tempdir().unwrap();
        let (plugin, _) = started(launch(way, dir.path())).await;
        let mut exited = plugin.exited();
        drop(plugin);
        exited.wait_for(Option::is_some).await.unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{way:?}");

        let (plugin, client) = started(launch(way, dir.path())).await;
        assert!(client.say("panic", 0).await.is_err());
        let exit = plugin.exited().wait_for(Option::is_some).await.unwrap().unwrap();
        assert_eq!(exit.code, Some(2), "{way:?}");
        assert!(
            plugin.last_lines().iter().any(|line| line.starts_with("goroutine ")),
            "{:?}",
            plugin.last_lines()
        );
        drop(plugin);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{way:?}");
    }
}
