//! The peer's side of TLS: AutoMTLS when the host asks for it, TLS of its own from files when the
//! variable [`OWN_TLS`] names their folder, and, by habit, not as it should be.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sagoo_edge_proto::handshake::PLUGIN_CLIENT_CERT;
use sagoo_edge_proto::mtls::{self, Identity};
use tokio_rustls::TlsAcceptor;

/// Folder with `ca.der`, `cert.der` and `key.der`.
const OWN_TLS: &str = "PEER_TLS";

/// The certificate to announce, and what to answer connections with.
pub type Tls = (Option<Vec<u8>>, Option<TlsAcceptor>);

pub fn of(habit: &str) -> Result<Tls, Box<dyn Error>> {
    if let Some(folder) = env::var_os(OWN_TLS) {
        let own = own(habit, &PathBuf::from(folder))?;
        let announced = (habit == "announces").then(|| vec![0; 300]);
        return Ok((announced, Some(TlsAcceptor::from(own))));
    }
    let Ok(pem) = env::var(PLUGIN_CLIENT_CERT) else { return Ok((None, None)) };
    let identity = Identity::generate()?;
    let host = mtls::cert_from_pem(&pem)?;
    let announced = match habit {
        // Presents another certificate than it announced.
        "impostor" => Identity::generate()?.cert_der().to_vec(),
        _ => identity.cert_der().to_vec(),
    };
    let config = match habit {
        "forger" | "forger-tls12" => {
            let key = rcgen::KeyPair::generate()?.serialize_der();
            config(habit, None, identity.cert_der().to_vec(), key)?
        }
        _ => mtls::server_config(&identity, &host),
    };
    Ok((Some(announced), Some(TlsAcceptor::from(config))))
}

fn own(habit: &str, folder: &Path) -> Result<Arc<ServerConfig>, Box<dyn Error>> {
    let file = |name: &str| fs::read(folder.join(name));
    config(habit, Some(file("ca.der")?), file("cert.der")?, file("key.der")?)
}

/// Presents a certificate and signs with a key, without asking whether one is the other's.
fn config(
    habit: &str,
    client_ca: Option<Vec<u8>>,
    cert: Vec<u8>,
    key: Vec<u8>,
) -> Result<Arc<ServerConfig>, Box<dyn Error>> {
    let provider: Arc<CryptoProvider> = Arc::new(aws_lc_rs::default_provider());
    let key = provider.key_provider.load_private_key(PrivateKeyDer::Pkcs8(key.into()))?;
    let certified = CertifiedKey::new(vec![CertificateDer::from(cert)], key);
    let versions = if habit.ends_with("tls12") { &[&TLS12] } else { &[&TLS13] };
    let config = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions)?;
    let config = match client_ca {
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from(ca))?;
            let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            config.with_client_cert_verifier(clients.build()?)
        }
        None => config.with_no_client_auth(),
    };
    let mut config = config.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    if habit != "no-alpn" {
        config.alpn_protocols = vec![b"h2".to_vec()];
    }
    Ok(Arc::new(config))
}
