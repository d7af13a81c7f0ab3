//! Whom the gateway trusts, and as whom it shows up.
//!
//! Always true: the broker's certificate is verified; there is no way to switch that off.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::trouble::Trouble;

/// The system's certificates or those of `ca`, and the client certificate with its key if there is one.
pub(super) fn client_config(
    ca: Option<PathBuf>,
    client_certificate: Option<(PathBuf, PathBuf)>,
) -> Result<ClientConfig, Trouble> {
    let mut roots = RootCertStore::empty();
    match &ca {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| file(path, error))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(Trouble::NoRoots);
            }
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Trouble::Other(error.to_string()))?
        .with_root_certificates(roots);
    let Some((certificate, key)) = client_certificate else { return Ok(config.with_no_client_auth()) };
    let chain = certificates(&certificate)?;
    let secret = PrivateKeyDer::from_pem_file(&key).map_err(|error| file(&key, error))?;
    config.with_client_auth_cert(chain, secret).map_err(|error| file(&certificate, error))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Trouble> {
    let found: Vec<_> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|error| file(path, error))?;
    if found.is_empty() { Err(file(path, "no certificate in it")) } else { Ok(found) }
}

fn file(path: &Path, error: impl ToString) -> Trouble {
    Trouble::File { path: path.display().to_string(), error: error.to_string() }
}
