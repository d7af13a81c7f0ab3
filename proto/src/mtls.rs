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
mod tests;
