//! Both sides of AutoMTLS against rustls, and who is turned away.

use rcgen::{BasicConstraints, Issuer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConnection, ProtocolVersion, RootCertStore, ServerConnection, SupportedProtocolVersion};

use super::*;

/// Runs a handshake in memory; the error is of the side that refused first.
fn meet(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> Result<ProtocolVersion, TlsError> {
    let (client, server) = handshaken(client, server)?;
    assert_eq!(client.alpn_protocol(), Some(ALPN));
    assert_eq!(server.alpn_protocol(), Some(ALPN));
    Ok(client.protocol_version().unwrap())
}

fn handshaken(
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
) -> Result<(ClientConnection, ServerConnection), TlsError> {
    let name = ServerName::try_from(SERVER_NAME).unwrap();
    let mut client = ClientConnection::new(client, name).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        let sent = wire.len();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        wire.clear();
        server.write_tls(&mut wire).unwrap();
        assert!(sent + wire.len() > 0, "the handshake stands still");
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    Ok((client, server))
}

/// Presents the first one's certificate, holds the second one's key.
fn impostor(shown: &Identity, held: &Identity) -> Identity {
    let certified = CertifiedKey::new(shown.certified.cert.clone(), Arc::clone(&held.certified.key));
    Identity { certified: Arc::new(certified), pem: shown.pem.clone(), key_pem: held.key_pem.clone() }
}

fn two() -> (Identity, Identity) {
    (Identity::generate().unwrap(), Identity::generate().unwrap())
}

fn only_tls12(config: &ServerConfig, verifier: Arc<Pin>, identity: &Identity) -> Arc<ServerConfig> {
    let mut old = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(identity.resolver());
    old.alpn_protocols.clone_from(&config.alpn_protocols);
    Arc::new(old)
}

#[test]
fn two_sides_that_know_each_other_meet() {
    let (host, plugin) = two();
    let server = server_config(&plugin, host.cert_der());
    let version = meet(client_config(&host, plugin.cert_der()), server.clone()).unwrap();
    assert_eq!(version, ProtocolVersion::TLSv1_3);
    let server = only_tls12(&server, Pin::new(host.cert_der()), &plugin);
    let version = meet(client_config(&host, plugin.cert_der()), server).unwrap();
    assert_eq!(version, ProtocolVersion::TLSv1_2);
}

#[test]
fn another_certificate_is_refused_by_either_side() {
    let (host, plugin) = two();
    let stranger = Identity::generate().unwrap();
    let refused = Err(CertificateError::ApplicationVerificationFailure.into());
    let server = server_config(&stranger, host.cert_der());
    assert_eq!(meet(client_config(&host, plugin.cert_der()), server), refused);
    let server = server_config(&plugin, host.cert_der());
    assert_eq!(meet(client_config(&stranger, plugin.cert_der()), server), refused);
}

#[test]
fn the_right_certificate_without_its_key_is_refused_by_either_side() {
    let (host, plugin) = two();
    let stranger = Identity::generate().unwrap();
    let refused = Err(CertificateError::BadSignature.into());

    let false_plugin = impostor(&plugin, &stranger);
    let server = server_config(&false_plugin, host.cert_der());
    assert_eq!(meet(client_config(&host, plugin.cert_der()), server.clone()), refused);
    let server = only_tls12(&server, Pin::new(host.cert_der()), &false_plugin);
    assert_eq!(meet(client_config(&host, plugin.cert_der()), server), refused);

    let false_host = impostor(&host, &stranger);
    let server = server_config(&plugin, host.cert_der());
    assert_eq!(meet(client_config(&false_host, plugin.cert_der()), server.clone()), refused);
    let server = only_tls12(&server, Pin::new(host.cert_der()), &plugin);
    assert_eq!(meet(client_config(&false_host, plugin.cert_der()), server), refused);
}

#[test]
fn a_client_without_a_certificate_is_refused() {
    let (host, plugin) = two();
    let mut client = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Pin::new(plugin.cert_der()))
        .with_no_client_auth();
    client.alpn_protocols = vec![ALPN.to_vec()];
    let server = server_config(&plugin, host.cert_der());
    assert_eq!(meet(Arc::new(client), server), Err(TlsError::NoCertificatesPresented));
}

#[test]
fn a_certificate_as_go_makes_it_is_accepted_in_both_roles() {
    let ours = Identity::generate().unwrap();
    let mut params = CertificateParams::new([SERVER_NAME.to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap();
    let go = Identity::sign(&params, &key).unwrap();
    meet(client_config(&ours, go.cert_der()), server_config(&go, ours.cert_der())).unwrap();
    meet(client_config(&go, ours.cert_der()), server_config(&ours, go.cert_der())).unwrap();
}

/// A CA of a caller's own, and what it signs.
struct Ca {
    issuer: Issuer<'static, KeyPair>,
    roots: Arc<RootCertStore>,
}

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(params.self_signed(&key).unwrap().der().clone()).unwrap();
        Self { issuer: Issuer::new(params, key), roots: Arc::new(roots) }
    }

    /// A certificate, and its key or that of somebody else.
    fn leaf(&self, name: &str, own_key: bool) -> Arc<SingleCertAndKey> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let held = if own_key { key } else { KeyPair::generate().unwrap() };
        let held = PrivateKeyDer::Pkcs8(held.serialize_der().into());
        let held = provider().key_provider.load_private_key(held).unwrap();
        Arc::new(SingleCertAndKey::from(CertifiedKey::new(vec![cert.der().clone()], held)))
    }

    fn client(&self, own: Arc<SingleCertAndKey>) -> ClientConfig {
        ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_client_cert_resolver(own)
    }

    fn server(
        &self,
        own: Arc<SingleCertAndKey>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ServerConfig {
        let clients = WebPkiClientVerifier::builder_with_provider(self.roots.clone(), provider());
        ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .unwrap()
            .with_client_cert_verifier(clients.build().unwrap())
            .with_cert_resolver(own)
    }
}

const VERSIONS: [&[&SupportedProtocolVersion]; 2] = [&[&TLS13], &[&TLS12]];

#[test]
fn tls_of_the_callers_own_is_bound_to_http2_and_otherwise_as_it_was() {
    let ca = Ca::new();
    for versions in VERSIONS {
        let client = own_client_config(&ca.client(ca.leaf("host", true)));
        let server = own_server_config(&ca.server(ca.leaf(SERVER_NAME, true), versions));
        assert_eq!(meet(client, server).unwrap(), versions[0].version);
    }
    let client = own_client_config(&ca.client(ca.leaf("host", true)));
    let server = own_server_config(&ca.server(ca.leaf("elsewhere", true), VERSIONS[0]));
    let refused = meet(client.clone(), server);
    assert!(
        matches!(refused, Err(TlsError::InvalidCertificate(CertificateError::NotValidForNameContext { .. }))),
        "{refused:?}"
    );
    let other = Ca::new();
    let server = own_server_config(&other.server(other.leaf(SERVER_NAME, true), VERSIONS[0]));
    let refused = meet(client, server);
    assert!(matches!(refused, Err(TlsError::InvalidCertificate(_))), "{refused:?}");
}

#[test]
fn a_good_certificate_of_the_callers_own_without_its_key_is_refused_by_either_side() {
    let ca = Ca::new();
    for versions in VERSIONS {
        for (host_is_true, plugin_is_true) in [(true, false), (false, true)] {
            let client = own_client_config(&ca.client(ca.leaf("host", host_is_true)));
            let server = ca.server(ca.leaf(SERVER_NAME, plugin_is_true), versions);
            let refused = meet(client, own_server_config(&server));
            assert_eq!(refused, Err(CertificateError::BadSignature.into()), "{versions:?}");
        }
    }
}

#[test]
fn a_peer_that_does_not_agree_on_http2_is_noticed() {
    let ca = Ca::new();
    let mut old = ca.server(ca.leaf(SERVER_NAME, true), VERSIONS[0]);
    let client = own_client_config(&ca.client(ca.leaf("host", true)));
    let silent = handshaken(client.clone(), Arc::new(old.clone())).unwrap();
    assert!(require_h2(&silent.0).unwrap_err().to_string().contains("h2"));
    let agreed = handshaken(client.clone(), own_server_config(&old)).unwrap();
    require_h2(&agreed.0).unwrap();
    require_h2(&agreed.1).unwrap();
    old.alpn_protocols = vec![b"http/1.1".to_vec()];
    let refused = handshaken(client, Arc::new(old)).map(drop);
    assert_eq!(refused, Err(TlsError::NoApplicationProtocol));
}

#[test]
fn the_certificate_survives_the_environment() {
    let identity = Identity::generate().unwrap();
    assert_eq!(cert_from_pem(identity.cert_pem()).unwrap(), identity.cert_der());
    assert!(matches!(cert_from_pem("no certificate"), Err(MtlsError::Pem { .. })));
}

#[test]
fn an_identity_that_was_written_down_is_the_same_peer_again() {
    let (host, plugin) = two();
    let again = Identity::from_pem(host.cert_pem(), host.key_pem()).unwrap();
    let server = server_config(&plugin, host.cert_der());
    meet(client_config(&again, plugin.cert_der()), server).unwrap();
    assert!(matches!(Identity::from_pem(host.cert_pem(), "no key"), Err(MtlsError::Stored { .. })));
    assert!(matches!(Identity::from_pem("", host.key_pem()), Err(MtlsError::Stored { .. })));
    assert!(matches!(Identity::from_pem(host.cert_pem(), plugin.key_pem()), Err(MtlsError::Key(_))));
}
