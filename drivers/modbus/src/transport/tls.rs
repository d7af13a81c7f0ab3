//! Modbus/TCP Security: the framing of Modbus TCP inside TLS.
//!
//! Always true: the device's certificate is verified, against `ca` and the name that is expected, and
//! nothing turns that off; what proves who we are comes from the gateway and is not kept.

use std::sync::Arc;

use sagoo_driver_sdk::{Host, LineError};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::connection::ends::Tls;

/// What proves who is who, as PEM.
#[derive(Clone)]
pub(super) struct Proof {
    pub(super) ca: Vec<u8>,
    /// Our certificate and its key.
    pub(super) identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Proof {
    /// Asks the gateway for it: the driver is confined and reads no files of others.
    pub(super) async fn ask(tls: &Tls, host: Option<&Host>) -> Result<Self, LineError> {
        let ca = secret(tls, host, &tls.ca).await?;
        let identity = match &tls.identity {
            Some((certificate, key)) => {
                Some((secret(tls, host, certificate).await?, secret(tls, host, key).await?))
            }
            None => None,
        };
        Ok(Self { ca, identity })
    }
}

async fn secret(tls: &Tls, host: Option<&Host>, name: &str) -> Result<Vec<u8>, LineError> {
    let told = |error: &str| LineError::Broken(format!("cannot open {}: {name}: {error}", tls.endpoint));
    let host = host.ok_or_else(|| told("no gateway to ask for it"))?;
    host.secret(name).await.map_err(|error| told(&error.to_string()))
}

/// Puts TLS on an open connection. Whoever calls keeps the time.
pub(super) async fn secure(
    stream: TcpStream,
    tls: &Tls,
    proof: &Proof,
) -> Result<TlsStream<TcpStream>, LineError> {
    let broken = |reason: String| LineError::Broken(format!("cannot open {}: {reason}", tls.endpoint));
    let config = configure(tls, proof).map_err(broken)?;
    let name = ServerName::try_from(tls.server_name.clone())
        .map_err(|_| broken(format!("{:?} is no name that a certificate can carry", tls.server_name)))?;
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .map_err(|error| broken(format!("TLS with the device: {error}")))
}

fn configure(tls: &Tls, proof: &Proof) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&tls.ca, &proof.ca)? {
        roots.add(certificate).map_err(|error| format!("{}: {error}", tls.ca))?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    match (&tls.identity, &proof.identity) {
        (Some((chain_name, key_name)), Some((chain, key))) => {
            let chain = certificates(chain_name, chain)?;
            let key = PrivateKeyDer::from_pem_slice(key)
                .map_err(|_| format!("{key_name} is no private key in PEM"))?;
            config.with_client_auth_cert(chain, key).map_err(|error| format!("{chain_name}: {error}"))
        }
        _ => Ok(config.with_no_client_auth()),
    }
}

fn certificates(name: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    match CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>() {
        Ok(all) if !all.is_empty() => Ok(all),
        _ => Err(format!("{name} has no certificate in PEM")),
    }
}
