//! Files that connections name for their drivers: the gateway reads them, confined drivers cannot.
//!
//! ```text
//! [connection.hall]
//! tls = { host = "…", key = { file = "secrets/hall.key" } }     is asked for as  connection.hall.tls.key
//! ```
//! Always true: a driver gets the files that its own connections name, and no others; a file is read at
//! each call, so that it can be replaced; what is in it is never logged.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::config::DriverProblem;
use crate::config::types::{Config, ConnectionConfig};

/// Longest file: a chain of certificates fits many times.
const MAX_BYTES: u64 = 256 * 1024;

/// Name → file, of one driver.
#[derive(Clone, Default)]
pub struct Secrets(BTreeMap<String, PathBuf>);

impl Secrets {
    /// Those that the connections of driver `id` name.
    pub fn new(config: &Config, id: &str) -> Self {
        let mine = config.connections.iter().filter(|(_, connection)| connection.driver == id);
        Self(mine.flat_map(|(name, connection)| named(name, connection)).collect())
    }

    /// What is in the file of this name.
    pub async fn read(&self, name: &str) -> Result<Vec<u8>, String> {
        let Some(path) = self.0.get(name).cloned() else {
            return Err(format!("the configuration gives this driver no secret named {name:?}"));
        };
        let read = tokio::task::spawn_blocking(move || read(&path).map_err(|error| shown(&path, &error)));
        match read.await {
            Ok(read) => read.map_err(|why| format!("{name}: {why}")),
            Err(broken) => Err(format!("{name}: reading it broke: {broken}")),
        }
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Files that connections name and that cannot be read, each at its place.
pub fn missing(config: &Config) -> Vec<DriverProblem> {
    let files = config
        .connections
        .iter()
        .flat_map(|(name, connection)| connection.files.iter().map(move |(path, file)| (name, path, file)));
    let unreadable = files.filter_map(|(name, path, file)| {
        let error = read(file).err()?;
        let place = ["connection", name].into_iter().chain(path.iter().map(String::as_str));
        Some(DriverProblem {
            path: place.map(str::to_owned).collect(),
            message: shown(file, &error),
            hint:
                "the gateway reads it for the driver: relative paths begin at the configuration's directory"
                    .to_owned(),
            warning: false,
        })
    });
    unreadable.collect()
}

fn named<'a>(
    name: &'a str,
    connection: &'a ConnectionConfig,
) -> impl Iterator<Item = (String, PathBuf)> + 'a {
    let files = connection.files.iter();
    files.map(move |(path, file)| (format!("connection.{name}.{}", path.join(".")), file.clone()))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // opening a pipe waits for its writer
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut content = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut content)?;
    match content.len() as u64 {
        0..=MAX_BYTES => Ok(content),
        _ => Err(io::Error::other(format!("it has more than {} KiB", MAX_BYTES / 1_024))),
    }
}

fn shown(path: &Path, error: &io::Error) -> String {
    format!("{} cannot be read: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn site() -> (tempfile::TempDir, Config) {
        let dir = tempfile::tempdir().unwrap();
        let text = r#"
            gateway = { product_key = "edge", device_key = "gw" }
            sagoo = { broker = "mqtt://127.0.0.1" }
            [connection.a]
            driver = "one"
            file = "not a secret"
            tls = { host = "h", key = { file = "secrets/a.key" }, more = { file = "x", format = "pem" } }
            chain = [{ file = "gone.pem" }]
            [connection.b]
            driver = "two"
            key = { file = "secrets/b.key" }
        "#;
        fs::write(dir.path().join("gateway.toml"), text).unwrap();
        fs::create_dir(dir.path().join("secrets")).unwrap();
        fs::write(dir.path().join("secrets/a.key"), "of a").unwrap();
        fs::write(dir.path().join("secrets/b.key"), "of b").unwrap();
        let config = crate::config::load(dir.path()).config.unwrap();
        (dir, config)
    }

    #[tokio::test]
    async fn a_driver_gets_what_its_connections_name_as_it_is_now_and_nothing_else() {
        let (dir, config) = site();
        let secrets = Secrets::new(&config, "one");
        assert_eq!(secrets.read("connection.a.tls.key").await.unwrap(), b"of a");
        fs::write(dir.path().join("secrets/a.key"), "replaced").unwrap();
        assert_eq!(secrets.read("connection.a.tls.key").await.unwrap(), b"replaced");
        for name in
            ["connection.b.key", "connection.a", "connection.a.file", "connection.a.tls.more", "../a", ""]
        {
            let error = secrets.read(name).await.unwrap_err();
            assert!(error.contains("no secret named"), "{name}: {error}");
        }
        let error = secrets.read("connection.a.chain.0").await.unwrap_err();
        assert!(error.contains("gone.pem cannot be read"), "{error}");
        assert!(!format!("{secrets:?}").contains("secrets/"));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_a_problem_at_its_place() {
        let (_dir, config) = site();
        let problems = missing(&config);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].path, ["connection", "a", "chain", "0"]);
        assert!(problems[0].message.contains("gone.pem cannot be read: No such file"), "{problems:?}");
    }

    #[test]
    fn what_is_too_large_or_no_file_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let large = dir.path().join("large");
        fs::write(&large, vec![b'x'; MAX_BYTES as usize]).unwrap();
        assert_eq!(read(&large).unwrap().len() as u64, MAX_BYTES);
        fs::write(&large, vec![b'x'; MAX_BYTES as usize + 1]).unwrap();
        assert!(read(&large).unwrap_err().to_string().contains("more than 256 KiB"));
        assert!(read(dir.path()).unwrap_err().to_string().contains("no file"));
    }
}
