//! A plugin that is no driver, with habits its host can ask for by variable or signal.
//!
//! SIGUSR1: prints `PLAIN_BYTES` bytes to file descriptor 1 at once, then makes a file `printed` in its
//! temporary directory. SIGUSR2: sends as many to both channels of the host.
//! `PLAIN_CHATTER=<lines>`: logs as many lines at its start, then makes a file `chatted`. `PLAIN_LAST_WORDS`: prints them when it is told to end. `PLAIN_OWN_TLS=<PEM>`:
//! TLS of its own for a host with this certificate; its own is in the file `PLAIN_OWN_CERT`.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "it is here to print")]

use std::env;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use sagoo_driver_sdk::plugin::{Plug, Plugin};
use sagoo_driver_sdk::tracing::info;
use sagoo_edge_proto::mtls::{Identity, cert_from_pem, client_config, server_config};
use tokio::signal::unix::{SignalKind, signal};
use tonic::service::Routes;

fn main() -> ExitCode {
    let mut plugin = Plugin::new("SAGOO_EDGE_PLUGIN", "sagoo_edge_driver")
        .by_hand("It is a test.")
        .version(2, |plug| version(2, plug))
        .version(3, |plug| version(3, plug));
    if let Ok(pem) = env::var("PLAIN_OWN_TLS") {
        let (host, own) = (cert_from_pem(&pem).unwrap(), Identity::generate().unwrap());
        std::fs::write(env::var("PLAIN_OWN_CERT").unwrap(), own.cert_der()).unwrap();
        let mut server = Arc::unwrap_or_clone(server_config(&own, &host));
        server.alpn_protocols.clear();
        plugin = plugin.tls(server, Some(Arc::unwrap_or_clone(client_config(&own, &host))));
    }
    plugin.serve()
}

fn version(version: u32, plug: &mut Plug) -> Routes {
    assert_eq!(plug.version(), version);
    info!(version, "built");
    let (end, stdout, stderr) = (plug.end(), plug.stdout(), plug.stderr());
    plug.work(async move {
        chatter();
        let mut prints = signal(SignalKind::user_defined1()).unwrap();
        let mut sends = signal(SignalKind::user_defined2()).unwrap();
        info!("ready");
        loop {
            tokio::select! {
                () = end.cancelled() => break,
                _ = prints.recv() => {
                    let mut stdout = std::io::stdout().lock();
                    stdout.write_all(&bytes()).unwrap();
                    stdout.flush().unwrap();
                    std::fs::write(env::temp_dir().join("printed"), "").unwrap();
                }
                _ = sends.recv() => {
                    let bytes = bytes();
                    tokio::join!(stdout.send(&bytes), stderr.send(&bytes));
                }
            }
        }
        if let Ok(words) = env::var("PLAIN_LAST_WORDS") {
            print!("{words}");
        }
        ExitCode::SUCCESS
    });
    Routes::default()
}

/// As the test expects them.
fn bytes() -> Vec<u8> {
    let many = env::var("PLAIN_BYTES").unwrap().parse().unwrap();
    (0..many).map(|place: usize| (place / 7) as u8).collect()
}

fn chatter() {
    let lines = env::var("PLAIN_CHATTER").ok().and_then(|lines| lines.parse().ok()).unwrap_or(0);
    for number in 0..lines {
        info!(number, padding = "x".repeat(100), "chatter");
    }
    if lines > 0 {
        std::fs::write(env::temp_dir().join("chatted"), "").unwrap();
    }
}
