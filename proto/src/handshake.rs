//! How a host and a plugin meet: the cookie, the environment and the one line a plugin prints.
//!
//! ```text
//! CORE|APP|NETWORK|ADDRESS|PROTOCOL|CERT[|MUX]
//! 1|1|unix|/run/sagoo-edge/plugin3598961913|grpc|
//! ```
//! `CERT` is the plugin's certificate (DER, base64 without padding) or empty, `MUX` is there only
//! when the host asked for multiplexing. Always true: any text is a [`Handshake`] or an error,
//! never a panic; a printed handshake reads back as itself; there is no escaping, so a socket path
//! that [does not fit the line](Address::fits_the_line) must not be announced.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// Environment variable that tells a driver a gateway started it.
pub const COOKIE_KEY: &str = "SAGOO_EDGE_PLUGIN";
/// Value of [`COOKIE_KEY`]. It guards against starting a driver by hand, it is no secret.
pub const COOKIE_VALUE: &str = "sagoo_edge_driver";
/// Version of the contract in `driver.proto`.
pub const APP_VERSION: u32 = 1;
/// Version of go-plugin's line itself.
pub const CORE_VERSION: u32 = 1;

/// Comma-separated application versions the host speaks, in no order.
pub const PLUGIN_PROTOCOL_VERSIONS: &str = "PLUGIN_PROTOCOL_VERSIONS";
/// The host's certificate, PEM. Its presence asks for AutoMTLS.
pub const PLUGIN_CLIENT_CERT: &str = "PLUGIN_CLIENT_CERT";
/// First TCP port a plugin that cannot use unix sockets may take.
pub const PLUGIN_MIN_PORT: &str = "PLUGIN_MIN_PORT";
/// Last such port.
pub const PLUGIN_MAX_PORT: &str = "PLUGIN_MAX_PORT";
/// Asks for one connection that carries all others.
pub const PLUGIN_MULTIPLEX_GRPC: &str = "PLUGIN_MULTIPLEX_GRPC";
/// Directory for a plugin's sockets.
pub const PLUGIN_UNIX_SOCKET_DIR: &str = "PLUGIN_UNIX_SOCKET_DIR";
/// Group that may open a plugin's sockets.
pub const PLUGIN_UNIX_SOCKET_GROUP: &str = "PLUGIN_UNIX_SOCKET_GROUP";
/// Every variable of go-plugin starts so; a host never lets inherited ones through.
pub const PLUGIN_ENV_PREFIX: &str = "PLUGIN_";

/// Milliseconds a driver goes on without its gateway before it ends itself. A gateway that can take
/// drivers over again sets it; without it a driver ends soon after its gateway.
pub const ORPHAN_GRACE_MS: &str = "SAGOO_EDGE_ORPHAN_GRACE_MS";
/// The ability, in `Describe`, of a driver that a new gateway may take over.
pub const ABILITY_REATTACH: &str = "reattach";

/// The `PROTOCOL` field of a gRPC plugin.
pub const PROTOCOL_GRPC: &str = "grpc";
/// The `PROTOCOL` field of an old net/rpc plugin, and what a line without the field means.
pub const PROTOCOL_NETRPC: &str = "netrpc";

/// A sixth field up to this length is not a certificate: very old plugins put other data there.
const LONGEST_NON_CERTIFICATE: usize = 50;
/// How much of a wrong line an error repeats.
const SHOWN_CHARS: usize = 200;

/// What a plugin says about itself in its first line on stdout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    /// Version of the line; always [`CORE_VERSION`] in a parsed one.
    pub core: u32,
    /// The application version the plugin chose.
    pub app: u32,
    /// Where it listens.
    pub address: Address,
    /// [`PROTOCOL_GRPC`], or something a gRPC host cannot use.
    pub protocol: String,
    /// Its certificate, DER; present exactly when it speaks AutoMTLS.
    pub server_cert: Option<Vec<u8>>,
    /// Its answer to a host that asked for multiplexing, as printed.
    pub multiplex: Option<String>,
}

/// Where a plugin listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A unix socket.
    Unix(PathBuf),
    /// A TCP port.
    Tcp(SocketAddr),
}

/// A first line that is not a handshake this host can use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// Fewer than four fields: a banner, a log line, or no plugin at all.
    #[error(
        "first line on stdout is not a plugin handshake: {0:?}; \
         a driver must print the handshake first and log to stderr only"
    )]
    NotAHandshake(String),
    /// The line's own version is not ours.
    #[error(
        "plugin protocol core version {0:?} is not {CORE_VERSION}; \
         rebuild the driver with a go-plugin library of core version {CORE_VERSION}"
    )]
    CoreVersion(String),
    /// The application version is not a number.
    #[error("application version {0:?} in the handshake is not a number; fix the driver's handshake line")]
    AppVersion(String),
    /// Neither `unix` nor `tcp`.
    #[error("network {0:?} in the handshake is unknown; a driver must listen on unix or tcp")]
    Network(String),
    /// An address nothing can connect to.
    #[error(
        "address {0:?} in the handshake is unusable; announce a socket path, or an IP address with a port"
    )]
    Address(String),
    /// The certificate field is not base64.
    #[error(
        "certificate in the handshake is not base64 ({0}); print the DER in standard base64 without padding"
    )]
    Certificate(base64::DecodeError),
}

impl Handshake {
    /// Reads a plugin's first line, as go-plugin's own host does.
    pub fn parse(line: &str) -> Result<Self, HandshakeError> {
        let line = line.trim();
        let fields: Vec<&str> = line.split('|').collect();
        let [core, app, network, address, rest @ ..] = fields.as_slice() else {
            return Err(HandshakeError::NotAHandshake(shown(line)));
        };
        // The version comes first: a later core may mean the other fields differently.
        let core = match core.parse() {
            Ok(CORE_VERSION) => CORE_VERSION,
            Ok(_) => return Err(HandshakeError::CoreVersion(shown(core))),
            // Text with three bars in it is a banner, not a version.
            Err(_) => return Err(HandshakeError::NotAHandshake(shown(line))),
        };
        let app = app.parse().map_err(|_| HandshakeError::AppVersion(shown(app)))?;
        let address = Address::parse(network, address)?;
        let protocol = rest.first().copied().unwrap_or(PROTOCOL_NETRPC).to_owned();
        let server_cert = match rest.get(1) {
            Some(cert) if cert.len() > LONGEST_NON_CERTIFICATE => {
                Some(STANDARD_NO_PAD.decode(cert).map_err(HandshakeError::Certificate)?)
            }
            _ => None,
        };
        let multiplex = rest.get(2).map(|&answer| answer.to_owned());
        Ok(Self { core, app, address, protocol, server_cert, multiplex })
    }
}

/// The line, without its newline. The certificate field is always there, empty without AutoMTLS.
impl fmt::Display for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}|{}|{}|", self.core, self.app, self.address, self.protocol)?;
        if let Some(cert) = &self.server_cert {
            f.write_str(&STANDARD_NO_PAD.encode(cert))?;
        }
        match &self.multiplex {
            Some(answer) => write!(f, "|{answer}"),
            None => Ok(()),
        }
    }
}

impl Address {
    /// Whether the handshake line can carry this address: UTF-8 without `|` or control characters.
    pub fn fits_the_line(&self) -> bool {
        match self {
            Self::Unix(path) => path
                .to_str()
                .is_some_and(|path| !path.is_empty() && !path.contains(|c: char| c == '|' || c.is_control())),
            Self::Tcp(_) => true,
        }
    }

    pub(crate) fn parse(network: &str, address: &str) -> Result<Self, HandshakeError> {
        let unusable = || HandshakeError::Address(shown(address));
        match network {
            "unix" if address.is_empty() => Err(unusable()),
            "unix" => Ok(Self::Unix(PathBuf::from(address))),
            "tcp" => {
                // Go resolves names here; for the loopback ones no resolver is needed.
                let local = address.strip_prefix("localhost:").or_else(|| address.strip_prefix(':'));
                let parsed = match local {
                    Some(port) => port.parse().map(|port| (Ipv4Addr::LOCALHOST, port).into()).ok(),
                    None => address.parse().ok(),
                };
                parsed.map(Self::Tcp).ok_or_else(unusable)
            }
            _ => Err(HandshakeError::Network(shown(network))),
        }
    }
}

/// Network and address, as two fields of the line.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix|{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp|{address}"),
        }
    }
}

/// The plugin's choice of application version: the highest of its own that the host lists
/// ([`PLUGIN_PROTOCOL_VERSIONS`]). Without a match it is the plugin's lowest, and the host tells the user.
/// Items that are no numbers are passed over; a plugin without versions is version 0.
pub fn negotiate(host_list: Option<&str>, plugin_versions: &[u32]) -> u32 {
    let offered: Vec<u32> =
        host_list.unwrap_or_default().split(',').filter_map(|item| item.parse().ok()).collect();
    let lowest = plugin_versions.iter().copied().min().unwrap_or(0);
    plugin_versions.iter().copied().filter(|version| offered.contains(version)).max().unwrap_or(lowest)
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address() -> impl Strategy<Value = Address> {
        prop_oneof![
            "/[a-zA-Z0-9 ./_-]{1,100}".prop_map(|path| Address::Unix(path.into())),
            any::<(std::net::IpAddr, u16)>().prop_map(|at| Address::Tcp(at.into())),
        ]
    }

    fn handshake() -> impl Strategy<Value = Handshake> {
        let cert = proptest::option::of(proptest::collection::vec(any::<u8>(), 38..700));
        let mux = proptest::option::of(prop_oneof![Just("true".to_owned()), Just("false".to_owned())]);
        (any::<u32>(), address(), "(grpc|netrpc)", cert, mux).prop_map(
            |(app, address, protocol, server_cert, multiplex)| Handshake {
                core: CORE_VERSION,
                app,
                address,
                protocol,
                server_cert,
                multiplex,
            },
        )
    }

    proptest! {
        #[test]
        fn a_printed_handshake_reads_back_as_itself(handshake in handshake()) {
            prop_assert!(handshake.address.fits_the_line());
            prop_assert_eq!(Handshake::parse(&format!("{handshake}\n")), Ok(handshake));
        }

        #[test]
        fn any_text_is_an_error_or_a_line(text in any::<String>()) {
            let _ = Handshake::parse(&text);
        }

        #[test]
        fn any_fields_are_an_error_or_a_line(text in "1\\|[0-9a-z-]{0,3}\\|(unix|tcp|[a-z]{0,3})\\|[\\PC]{0,20}(\\|[\\PC]{0,60}){0,4}") {
            if let Ok(read) = Handshake::parse(&text) {
                prop_assert_eq!(read.core, CORE_VERSION);
            }
        }
    }

    #[test]
    fn lines_seen_in_the_field_are_read() {
        let plain = Handshake::parse("1|1|unix|/tmp/plugin3598961913|grpc|\n").unwrap();
        assert_eq!(plain.address, Address::Unix("/tmp/plugin3598961913".into()));
        assert_eq!(plain.to_string(), "1|1|unix|/tmp/plugin3598961913|grpc|");
        assert_eq!((plain.app, plain.protocol.as_str(), &plain.server_cert), (1, "grpc", &None));

        let old = Handshake::parse("  1|2|tcp|:1234 ").unwrap();
        assert_eq!(old.address, Address::Tcp("127.0.0.1:1234".parse().unwrap()));
        assert_eq!(old.protocol, PROTOCOL_NETRPC);

        let named = Handshake::parse("1|2|tcp|localhost:80|grpc").unwrap();
        assert_eq!(named.address, Address::Tcp("127.0.0.1:80".parse().unwrap()));

        let mux = Handshake::parse("1|1|unix|/tmp/p|grpc||true").unwrap();
        assert_eq!(mux.multiplex.as_deref(), Some("true"));

        let short = Handshake::parse("1|1|unix|/tmp/p|grpc|not a certificate").unwrap();
        assert_eq!(short.server_cert, None);
    }

    #[test]
    fn a_wrong_line_says_what_is_wrong() {
        use HandshakeError::{
            Address as BadAddress, AppVersion, Certificate, CoreVersion, Network, NotAHandshake,
        };
        let error = |line: &str| Handshake::parse(line).unwrap_err();
        assert!(matches!(error(""), NotAHandshake(_)));
        assert!(matches!(error("starting up ..."), NotAHandshake(_)));
        assert!(matches!(error("a | table | of | things"), NotAHandshake(_)));
        assert_eq!(error("2|1|unix|/tmp/p|grpc|"), CoreVersion("2".into()));
        assert_eq!(error("1|x|unix|/tmp/p|grpc|"), AppVersion("x".into()));
        assert_eq!(error("1|-1|unix|/tmp/p|grpc|"), AppVersion("-1".into()));
        assert_eq!(error("1|1|pipe|/tmp/p|grpc|"), Network("pipe".into()));
        assert_eq!(error("1|1|unix||grpc|"), BadAddress("".into()));
        assert_eq!(error("1|1|tcp|127.0.0.1|grpc|"), BadAddress("127.0.0.1".into()));
        assert_eq!(error("1|1|tcp|box.example:1|grpc|"), BadAddress("box.example:1".into()));
        assert!(matches!(error(&format!("1|1|unix|/p|grpc|{}", "?".repeat(51))), Certificate(_)));
        assert!(error(&"x".repeat(100_000)).to_string().len() < 1_000);
    }

    #[test]
    fn the_plugin_takes_the_highest_version_both_speak() {
        // The first eight are as a Go plugin of versions 2 and 3 was seen to choose.
        let cases: &[(Option<&str>, &[u32], u32)] = &[
            (None, &[2, 3], 2),
            (Some("1"), &[2, 3], 2),
            (Some("7"), &[2, 3], 2),
            (Some("2"), &[2, 3], 2),
            (Some("3"), &[2, 3], 3),
            (Some("2,3"), &[2, 3], 3),
            (Some("3,2"), &[2, 3], 3),
            (Some("x,3"), &[2, 3], 3),
            // In no order, several of which neither is the other's highest.
            (Some("2,3"), &[3, 2], 3),
            (Some("5,1,3,9"), &[1, 3, 4, 7], 3),
            (Some("1,2,3"), &[1], 1),
            (Some("3,3,2,2"), &[2, 2, 3, 3], 3),
            (Some("0,1"), &[0], 0),
            // Items that are no numbers to Go are none to us, and cost only themselves.
            (Some(""), &[2, 3], 2),
            (Some(","), &[2, 3], 2),
            (Some("2,3,"), &[2, 3], 3),
            (Some("2, 3"), &[2, 3], 2),
            (Some("2;3"), &[2, 3], 2),
            (Some("3.0"), &[2, 3], 2),
            (Some("+3,03"), &[2, 3], 3),
            (Some("-3,2"), &[2, 3], 2),
            (Some("4294967299,99999999999999999999"), &[2, 3], 2),
            (Some("4294967295"), &[2, u32::MAX], u32::MAX),
            // A plugin that has none.
            (Some("1"), &[], 0),
        ];
        for (host, plugin, chosen) in cases {
            assert_eq!(negotiate(*host, plugin), *chosen, "{host:?} against {plugin:?}");
        }
    }

    proptest! {
        #[test]
        fn the_choice_is_the_plugins_and_the_hosts_if_there_is_one(
            host in proptest::collection::vec(0u32..12, 0..8),
            plugin in proptest::collection::vec(0u32..12, 1..8),
        ) {
            let list = host.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
            let chosen = negotiate(Some(&list), &plugin);
            prop_assert!(plugin.contains(&chosen));
            match plugin.iter().filter(|version| host.contains(version)).max() {
                Some(highest) => prop_assert_eq!(chosen, *highest),
                None => prop_assert_eq!(Some(&chosen), plugin.iter().min()),
            }
        }
    }

    #[test]
    fn a_path_with_a_bar_does_not_fit() {
        for path in ["/tmp/a|b", "/tmp/a\nb", ""] {
            assert!(!Address::Unix(path.into()).fits_the_line(), "{path:?}");
        }
    }
}
