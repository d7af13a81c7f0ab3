//! How connections are protected: as the host asks, or as the author wants.
//!
//! Always true: AutoMTLS exactly when the host sent its certificate, and then nobody else gets in;
//! an author's own TLS is used whatever the host sent, and nothing is exchanged for it.

use std::sync::Arc;

use rustls::{ClientConfig, ServerConfig};
use sagoo_edge_proto::broker::Tls;
use sagoo_edge_proto::handshake::PLUGIN_CLIENT_CERT;
use sagoo_edge_proto::mtls::{self, Identity, MtlsError};

/// HTTP/2, without which Go's gRPC hangs up.
const ALPN: &[u8] = b"h2";

/// TLS for both directions, or none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Security {
    /// For connections taken, and those made to what the host brokers.
    pub(crate) tls: Option<Tls>,
    /// Our certificate, DER, when the handshake line has to carry it.
    pub(crate) cert: Option<Vec<u8>>,
}

impl Security {
    pub(crate) fn from_environment() -> Result<Self, MtlsError> {
        let Some(pem) = std::env::var(PLUGIN_CLIENT_CERT).ok().filter(|pem| !pem.is_empty()) else {
            return Ok(Self::default());
        };
        let host = mtls::cert_from_pem(&pem)?;
        let identity = Identity::generate()?;
        let tls = Tls {
            client: Some(mtls::client_config(&identity, &host)),
            server: Some(mtls::server_config(&identity, &host)),
        };
        Ok(Self { tls: Some(tls), cert: Some(identity.cert_der().to_vec()) })
    }

    /// The author's own; HTTP/2 is added where it is missing.
    pub(crate) fn own(mut server: ServerConfig, client: Option<ClientConfig>) -> Self {
        with_alpn(&mut server.alpn_protocols);
        let client = client.map(|mut client| {
            with_alpn(&mut client.alpn_protocols);
            Arc::new(client)
        });
        Self { tls: Some(Tls { client, server: Some(Arc::new(server)) }), cert: None }
    }
}

fn with_alpn(protocols: &mut Vec<Vec<u8>>) {
    if !protocols.iter().any(|protocol| protocol == ALPN) {
        protocols.push(ALPN.to_vec());
    }
}
