//! The variables a plugin gets, and no others.
//!
//! Always true: nothing of the host's own environment passes except [`PASSED`] and the `LC_`
//! family. An inherited `PLUGIN_` variable would make a plugin that is itself a host fail, an
//! inherited cookie would let it start drivers as if it were us.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use sagoo_edge_proto::handshake;

use crate::Launch;

/// What every program needs, and nothing that configures one.
const PASSED: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];
/// Locale categories, passed like `LANG`.
const PASSED_PREFIX: &str = "LC_";
/// The ports go-plugin's own host offers to plugins without unix sockets.
const PORTS: (u16, u16) = (10_000, 25_000);

/// The whole environment of a plugin: of `inherited` what is allowed, then what the launch asks
/// for, then go-plugin's own. Later entries win.
pub(crate) fn variables(
    inherited: impl IntoIterator<Item = (OsString, OsString)>,
    launch: &Launch,
    socket_dir: &Path,
    host_cert_pem: Option<&str>,
) -> Vec<(OsString, OsString)> {
    let mut all: Vec<(OsString, OsString)> =
        inherited.into_iter().filter(|(key, _)| is_passed(key)).collect();
    all.extend(launch.env.iter().filter(|(key, _)| !is_go_plugins(key)).cloned());

    let versions: Vec<String> = launch.app_versions.iter().map(u32::to_string).collect();
    let mut set = |key: &str, value: &OsStr| all.push((key.into(), value.into()));
    set("TMPDIR", socket_dir.as_os_str());
    set(&launch.cookie.0, launch.cookie.1.as_ref());
    set(handshake::PLUGIN_MIN_PORT, PORTS.0.to_string().as_ref());
    set(handshake::PLUGIN_MAX_PORT, PORTS.1.to_string().as_ref());
    set(handshake::PLUGIN_PROTOCOL_VERSIONS, versions.join(",").as_ref());
    if launch.multiplex {
        set(handshake::PLUGIN_MULTIPLEX_GRPC, "true".as_ref());
    }
    if let Some(pem) = host_cert_pem {
        set(handshake::PLUGIN_CLIENT_CERT, pem.as_ref());
    }
    all
}

fn is_passed(key: &OsStr) -> bool {
    key.to_str().is_some_and(|key| PASSED.contains(&key) || key.starts_with(PASSED_PREFIX))
}

fn is_go_plugins(key: &OsStr) -> bool {
    key.to_string_lossy().starts_with(handshake::PLUGIN_ENV_PREFIX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn pair(key: &str, value: &str) -> (OsString, OsString) {
        (key.into(), value.into())
    }

    #[test]
    fn only_the_allowed_the_asked_for_and_our_own_reach_a_plugin() {
        let launch = Launch {
            env: vec![
                pair("RUST_BACKTRACE", "1"),
                pair("LANG", "C"),
                pair("PLUGIN_MULTIPLEX_GRPC", "true"),
                pair("TMPDIR", "/elsewhere"),
            ],
            cookie: ("COOKIE".into(), "value".into()),
            app_versions: vec![1, 3],
            ..Launch::new("modbus", "/bin/true")
        };
        let inherited = [
            pair("PATH", "/bin"),
            pair("LANG", "de_DE"),
            pair("LC_TIME", "C"),
            pair("COOKIE", "of another"),
            pair("PLUGIN_CLIENT_CERT", "of another"),
            pair("MQTT_PASSWORD", "secret"),
            pair("RUST_LOG", "trace"),
        ];
        let all = variables(inherited, &launch, Path::new("/run/x"), Some("PEM"));
        let all: BTreeMap<_, _> = all.into_iter().collect();
        let expected = [
            pair("COOKIE", "value"),
            pair("LANG", "C"),
            pair("LC_TIME", "C"),
            pair("PATH", "/bin"),
            pair("PLUGIN_CLIENT_CERT", "PEM"),
            pair("PLUGIN_MAX_PORT", "25000"),
            pair("PLUGIN_MIN_PORT", "10000"),
            pair("PLUGIN_PROTOCOL_VERSIONS", "1,3"),
            pair("RUST_BACKTRACE", "1"),
            pair("TMPDIR", "/run/x"),
        ];
        assert_eq!(all, BTreeMap::from(expected));
    }
}
