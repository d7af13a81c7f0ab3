//! Who is spoken with: the holder of the announced key, or of one the caller's own TLS trusts.

use std::fs;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::PrivateKeyDer;
use sagoo_edge_plugin_host::{Grace, StartError, StartFailure as F, Stopped};

use crate::*;

/// A CA of the caller's own.
struct Ca {
    issuer: Issuer<'static, KeyPair>,
    cert: Vec<u8>,
}

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap().der().to_vec();
        Self { issuer: Issuer::new(params, key), cert }
    }

    fn leaf(&self, name: &str) -> (Vec<u8>, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().der().to_vec(), key)
    }

    /// What the peer answers with: `cert.der`, `key.der`, and the CA of its clients.
    fn files(&self, dir: &Path, name: &str, own_key: bool) -> PathBuf {
        let (cert, key) = self.leaf(name);
        let key = if own_key { key } else { KeyPair::generate().unwrap() };
        let folder = tempfile::tempdir_in(dir).unwrap().keep();
        for (name, der) in [("ca.der", &self.cert), ("cert.der", &cert), ("key.der", &key.serialize_der())] {
            fs::write(folder.join(name), der).unwrap();
        }
        folder
    }

    /// What the host connects with.
    fn host(&self) -> Security {
        let (cert, key) = self.leaf("host");
        let mut roots = RootCertStore::empty();
        roots.add(self.cert.clone().into()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![cert.into()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
            .unwrap();
        Security::Own(Arc::new(config))
    }
}

fn own_tls(habit: &str, security: Security, files: &Path, run_dir: &Path) -> Launch {
    Launch { security, env: vec![("PEER_TLS".into(), files.into())], ..peer(habit, run_dir) }
}

async fn refused(launch: Launch) -> StartError {
    let run_dir = launch.run_dir.clone().unwrap();
    let error = Plugin::start(launch).await.expect_err("nobody to speak with");
    assert_eq!(files_in(&run_dir), Vec::<PathBuf>::new());
    error
}

async fn cannot_connect(launch: Launch, why: &str) {
    let error = refused(launch).await;
    assert!(matches!(error.failure, F::Connect { .. }), "{error}");
    assert!(error.to_string().contains(why), "{error}");
}

#[tokio::test]
async fn an_impostor_with_another_certificate_than_it_announced_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let launch = Launch { security: Security::AutoMtls, ..peer("impostor", dir.path()) };
    cannot_connect(launch, "invalid peer certificate").await;
}

#[tokio::test]
async fn a_forger_with_the_announced_certificate_and_another_key_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for habit in ["forger", "forger-tls12"] {
        let launch = Launch { security: Security::AutoMtls, ..peer(habit, dir.path()) };
        cannot_connect(launch, "invalid peer certificate: BadSignature").await;
    }
}

#[tokio::test]
async fn tls_of_the_callers_own_carries_a_whole_life() {
    let (dir, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let ca = Ca::new();
    let files = ca.files(dir.path(), "localhost", true);
    for habit in ["", "tls12"] {
        let plugin = started(own_tls(habit, ca.host(), &files, run.path())).await;
        plugin.health(LONG).await.unwrap();
        let stopped = plugin.stop(Grace::default()).await;
        assert!(matches!(stopped, Stopped { killed: false, .. }), "{stopped:?}");
    }
}

#[tokio::test]
async fn tls_of_the_callers_own_refuses_who_it_does_not_trust() {
    let (dir, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (ca, other) = (Ca::new(), Ca::new());
    for habit in ["", "tls12"] {
        let with = |files: &Path, host: &Ca| own_tls(habit, host.host(), files, run.path());
        cannot_connect(with(&ca.files(dir.path(), "localhost", false), &ca), "BadSignature").await;
        cannot_connect(with(&ca.files(dir.path(), "elsewhere", true), &ca), "not valid for name").await;
        cannot_connect(with(&other.files(dir.path(), "localhost", true), &ca), "invalid peer certificate")
            .await;
    }
    // A host the plugin does not trust: TLS 1.3 tells it with its first answer.
    let files = ca.files(dir.path(), "localhost", true);
    let mut host = ca.host();
    if let (Security::Own(config), Security::Own(stranger)) = (&mut host, other.host()) {
        let config = Arc::make_mut(config);
        config.client_auth_cert_resolver = stranger.client_auth_cert_resolver.clone();
    }
    let error = refused(own_tls("", host, &files, run.path())).await;
    assert!(matches!(error.failure, F::Connect { .. } | F::Health(_)), "{error}");
}

#[tokio::test]
async fn a_peer_that_does_not_agree_on_http2_is_refused() {
    let (dir, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let ca = Ca::new();
    let files = ca.files(dir.path(), "localhost", true);
    cannot_connect(own_tls("no-alpn", ca.host(), &files, run.path()), "did not agree on HTTP/2").await;
}

#[tokio::test]
async fn with_tls_of_the_callers_own_nothing_is_exchanged_at_the_start() {
    let (dir, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let ca = Ca::new();
    let files = ca.files(dir.path(), "localhost", true);
    let error = refused(own_tls("announces", ca.host(), &files, run.path())).await;
    assert!(matches!(error.failure, F::UnaskedCertificate), "{error}");
    assert!(error.to_string().contains("although AutoMTLS is off"), "{error}");
    // The plugin was not told to do AutoMTLS either, and has nothing else.
    let error = refused(Launch { security: ca.host(), ..peer("", run.path()) }).await;
    assert!(matches!(error.failure, F::Connect { .. }), "{error}");
}
