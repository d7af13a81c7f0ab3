//! A real broker for the tests; `deploy/check.sh` installs it, and the tests fail without it.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(20);

/// A running broker, killed when dropped.
pub struct Mosquitto {
    child: Child,
    /// Where its files are.
    pub dir: TempDir,
    /// On 127.0.0.1.
    pub port: u16,
}

impl Mosquitto {
    /// `more` adds to its configuration, given its directory.
    ///
    /// Another process may take the port before the broker does; then another port is tried.
    pub async fn start(more: impl Fn(&Path) -> String) -> Self {
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let dir = tempfile::tempdir().unwrap();
            let settings = format!("user root\nlistener {port} 127.0.0.1\n{}\n", more(dir.path()));
            fs::write(dir.path().join("mosquitto.conf"), settings).unwrap();
            let mut broker = Self { child: launch(dir.path()), dir, port };
            if broker.answers().await {
                return broker;
            }
        }
        panic!("mosquitto does not start");
    }

    async fn answers(&mut self) -> bool {
        let connect = async {
            while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
                if self.child.try_wait().unwrap().is_some() {
                    return false;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            true
        };
        timeout(SOON, connect).await.unwrap_or(false)
    }

    /// As `kill -9` would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// On the same port, after [`Mosquitto::kill`].
    pub async fn restart(&mut self) {
        self.child = launch(self.dir.path());
        assert!(self.answers().await, "mosquitto does not come back");
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn launch(dir: &Path) -> Child {
    Command::new("mosquitto")
        .env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()))
        .arg("-c")
        .arg(dir.join("mosquitto.conf"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("mosquitto is installed")
}
