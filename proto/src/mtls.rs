//! AutoMTLS: one throw-away certificate per process, pinned by the other side.
//!
//! The certificates travel in the open (environment and stdout), so holding one proves nothing.
//! Always true: a peer is accepted exactly when it presents the pinned certificate byte for byte
//! *and* signs the handshake with its key. Names, dates and issuers are not looked at: Go's
//! certificates are CA certificates used as leaves, which stock verifiers refuse, and a box
//! without a clock battery may believe it is 1970.

use std::fmt;
use std::io;
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, CommonState, DigitallySignedStruct, DistinguishedName, Error as TlsError,
    ServerConfig, SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

/// The name in every certificate, and the one to ask for when connecting.
pub const SERVER_NAME: &str = "localhost";
/// HTTP/2; Go's gRPC refuses a connection that did not agree on it.
const ALPN: &[u8] = b"h2";

/// What can go wrong before any peer is involved.
#[derive(Debug, thiserror::Error)]
pub enum MtlsError {
    /// The certificate could not be made.
    #[error("cannot make a certificate for the plugin connection: {0}")]
    Generate(#[from] rcgen::Error),
    /// The key just made is of no use to TLS.
    #[error("cannot use the certificate made for the plugin connection: {0}")]
    Key(#[from] TlsError),
    /// The other side's PEM text is not a certificate.
    #[error(
        "the certificate in {variable} is not PEM: {source}; start the driver through the gateway",
        variable = crate::handshake::PLUGIN_CLIENT_CERT
    )]
    Pem {
        /// What the PEM reader found.
        source: rustls_pki_types::pem::Error,
    },
    /// What was written down is not an identity.
    #[error("the stored certificate and key are not PEM: {source}; start the driver anew")]
    Stored {
        /// What the PEM reader found.
        source: rustls_pki_types::pem::Error,
    },
}

/// One side's certificate and key. The key never leaves this process, unless its owner writes it
/// down ([`Identity::key_pem`]) to be able to come back as the same peer.
pub struct Identity {
    certified: Arc<CertifiedKey>,
    pem: String,
    key_pem: String,
}

impl Identity {
    /// Makes a new P-256 key and a self-signed certificate for it, as go-plugin wants it.
    pub fn generate() -> Result<Self, MtlsError> {
        let mut params = CertificateParams::new([SERVER_NAME.to_owned()])?;
        params.distinguished_name.push(DnType::OrganizationName, "HashiCorp");
        params.distinguished_name.push(DnType::CommonName, SERVER_NAME);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        // Go checks the dates, and the clock may be years wrong now or jump later. The certificate
        // lives as long as the process, so its dates are made to never matter.
        params.not_before = rcgen::date_time_ymd(1970, 1, 1);
        params.not_after = rcgen::date_time_ymd(9999, 12, 31);
        Self::sign(&params, &KeyPair::generate()?)
    }

    fn sign(params: &CertificateParams, key: &KeyPair) -> Result<Self, MtlsError> {
        let cert = params.self_signed(key)?;
        let private = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let certified = CertifiedKey::from_der(vec![cert.der().clone()], private, &provider())?;
        Ok(Self { certified: Arc::new(certified), pem: cert.pem(), key_pem: key.serialize_pem() })
    }

    /// An identity that was written down. Fails on anything else, and on a key of another certificate.
    pub fn from_pem(cert_pem: &str, key_pem: &str) -> Result<Self, MtlsError> {
        let stored = |source| MtlsError::Stored { source };
        let cert = CertificateDer::from_pem_slice(cert_pem.as_bytes()).map_err(stored)?;
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(stored)?;
        let certified = CertifiedKey::from_der(vec![cert], key, &provider())?;
        Ok(Self { certified: Arc::new(certified), pem: cert_pem.to_owned(), key_pem: key_pem.to_owned() })
    }

    /// The certificate as PEM text, for [`PLUGIN_CLIENT_CERT`](crate::handshake::PLUGIN_CLIENT_CERT).
    pub fn cert_pem(&self) -> &str {
        &self.pem
    }

    /// The key as PEM text (PKCS #8). Whoever has it is this peer: for a file of its owner alone.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// The certificate as DER, for the handshake line.
    pub fn cert_der(&self) -> &[u8] {
        self.certified.end_entity_cert().expect("made with one certificate")
    }

    fn resolver(&self) -> Arc<SingleCertAndKey> {
        Arc::new(SingleCertAndKey::from(Arc::clone(&self.certified)))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// Reads the certificate a host put into the environment; returns its DER.
pub fn cert_from_pem(pem: &str) -> Result<Vec<u8>, MtlsError> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|source| MtlsError::Pem { source })?;
    Ok(der.to_vec())
}

/// TLS for the side that connects. Every connection proves both sides anew: nothing is resumed.
pub fn client_config(identity: &Identity, peer_der: &[u8]) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("aws-lc-rs serves TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Pin::new(peer_der))
        .with_client_cert_resolver(identity.resolver());
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// TLS for the side that listens; a client without the pinned certificate is refused.
pub fn server_config(identity: &Identity, peer_der: &[u8]) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("aws-lc-rs serves TLS 1.2 and 1.3")
        .with_client_cert_verifier(Pin::new(peer_der))
        .with_cert_resolver(identity.resolver());
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Arc::new(config)
}

/// A caller's own TLS for the side that connects, bound to HTTP/2. Its server's certificate must be
/// good for the name [`SERVER_NAME`], unless the caller's verifier does not ask.
pub fn own_client_config(config: &ClientConfig) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Arc::new(config)
}

/// A caller's own TLS for the side that listens, bound to HTTP/2.
pub fn own_server_config(config: &ServerConfig) -> Arc<ServerConfig> {
    let mut config = config.clone();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Arc::new(config)
}

/// Whether a connection that is through its handshake may carry gRPC. A peer that does not take part
/// in the agreement passes the handshake, so this has to be asked.
pub fn require_h2(connection: &CommonState) -> io::Result<()> {
    if connection.alpn_protocol() == Some(ALPN) {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        "the peer did not agree on HTTP/2 in its TLS handshake; it must offer the protocol h2 (ALPN)",
    ))
}

/// Named, not the process default: two providers in one binary make the default ambiguous, and
/// `ring` cannot verify Go's P-521.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Accepts one certificate from either role, and only from the holder of its key.
#[derive(Debug)]
struct Pin {
    expected: Vec<u8>,
    provider: Arc<CryptoProvider>,
}

impl Pin {
    fn new(expected: &[u8]) -> Arc<Self> {
        Arc::new(Self { expected: expected.to_vec(), provider: provider() })
    }

    fn check(&self, presented: &CertificateDer<'_>) -> Result<(), TlsError> {
        if presented.as_ref() == self.expected {
            return Ok(());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn tls12(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn tls13(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        self.check(end_entity).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.tls12(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.tls13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ClientCertVerifier for Pin {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        self.check(end_entity).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.tls12(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.tls13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, Issuer};
    use rustls::server::WebPkiClientVerifier;
    use rustls::version::{TLS12, TLS13};
    use rustls::{
        ClientConnection, ProtocolVersion, RootCertStore, ServerConnection, SupportedProtocolVersion,
    };

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
            matches!(
                refused,
                Err(TlsError::InvalidCertificate(CertificateError::NotValidForNameContext { .. }))
            ),
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
}
