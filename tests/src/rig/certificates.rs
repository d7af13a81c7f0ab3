//! A certificate authority of our own, for a broker and devices with TLS.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// An authority; its certificate is in a PEM file.
#[derive(Debug)]
pub struct Authority {
    /// What a client trusts.
    pub certificate: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new authority, its certificate in `dir` as `<name>.pem`.
    pub fn new(dir: &Path, name: &str) -> Self {
        let key = KeyPair::generate().expect("a fresh P-256 key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names, so no wrong ones");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).expect("our own parameters are signable");
        let path = dir.join(format!("{name}.pem"));
        fs::write(&path, certificate.pem()).expect("the case's directory takes files");
        Self { certificate: path, issuer: Issuer::new(params, key) }
    }

    /// Certificate and key of a server with this name or address, as PEM files in `dir`.
    pub fn server(&self, dir: &Path, host: &str) -> (PathBuf, PathBuf) {
        self.issue(dir, "server", host)
    }

    /// Certificate and key as `<file>.pem` and `<file>.key` in `dir`.
    pub fn issue(&self, dir: &Path, file: &str, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().expect("a fresh P-256 key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("the case names a valid host");
        let certificate = params.signed_by(&key, &self.issuer).expect("our own authority signs");
        let (at, key_at) = (dir.join(format!("{file}.pem")), dir.join(format!("{file}.key")));
        fs::write(&at, certificate.pem()).expect("the case's directory takes files");
        fs::write(&key_at, key.serialize_pem()).expect("the case's directory takes files");
        (at, key_at)
    }
}
