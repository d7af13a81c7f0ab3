//! Our host against HashiCorp's own plugin library: it runs the Go plugin of `tests/interop/go`.
//!
//! Every test does the same in each way the two may be connected, see [`WAYS`].

#![allow(clippy::unwrap_used, reason = "a test may; clippy does not see that what tests share is one")]

#[path = "../../../../tests/interop/kv.rs"]
mod kv;

mod broker;
mod life;
mod refused;
mod talk;

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kv::Client;
use sagoo_edge_plugin_host::{Launch, Plugin, Security};

/// Far above anything measured; a test that comes near it hangs.
const LONG: Duration = Duration::from_secs(20);
/// The version of the Go plugin that speaks gRPC.
const GRPC_VERSION: u32 = 3;

/// AutoMTLS or not, one connection for all or not.
const WAYS: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];

/// The Go plugin, which cargo does not build.
fn go_plugin() -> PathBuf {
    let tests = env::current_exe().expect("this is a program");
    let target = tests.ancestors().nth(3).expect("target/debug/deps/test");
    let program = target.join("interop/go-plugin");
    assert!(program.exists(), "{} is not built: run deploy/check.sh build", program.display());
    program
}

fn launch(way: (bool, bool), run_dir: &Path) -> Launch {
    let (secure, multiplex) = way;
    Launch {
        app_versions: vec![GRPC_VERSION],
        security: if secure { Security::AutoMtls } else { Security::Plain },
        multiplex,
        start_timeout: LONG,
        run_dir: Some(run_dir.to_owned()),
        ..Launch::new("go", go_plugin())
    }
}

async fn started(launch: Launch) -> (Plugin, Client) {
    let plugin = Plugin::start(launch).await.unwrap_or_else(|error| panic!("{error}"));
    let client = Client(plugin.channel());
    (plugin, client)
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(LONG, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}
