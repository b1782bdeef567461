//! With which certificate is an agent answered, and whose certificate must it show?
//!
//! Never goes on with half of what was read: a certificate that does not fit its key changes nothing.

use std::fmt;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;
use zeroize::Zeroizing;

use crate::clock::Timestamp;

/// What the files said, in PEM.
pub struct Pem {
    /// The certificate, and those that lead from it to an authority.
    pub chain: Vec<u8>,
    /// Its key: PKCS#8, PKCS#1 or SEC1.
    pub key: Zeroizing<Vec<u8>>,
    /// The authorities of agents' certificates; without, agents show none.
    pub clients: Option<Vec<u8>>,
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pem")
    }
}

/// What a listener speaks TLS with. What is renewed counts from the next handshake on.
pub struct Tls(ArcSwap<Settings>);

struct Settings {
    spoken: Arc<ServerConfig>,
    ends: Timestamp,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// With these.
    ///
    /// # Errors
    ///
    /// What does not read or fit.
    pub fn new(pem: &Pem) -> Result<Self, String> {
        Ok(Self(ArcSwap::from_pointee(settings(pem)?)))
    }

    /// With these from now on.
    ///
    /// # Errors
    ///
    /// What does not read or fit; then nothing is another.
    pub fn renew(&self, pem: &Pem) -> Result<(), String> {
        self.0.store(Arc::new(settings(pem)?));
        Ok(())
    }

    /// When its certificate ends.
    pub fn ends(&self) -> Timestamp {
        self.0.load().ends
    }

    pub(super) async fn accept(&self, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let spoken = Arc::clone(&self.0.load().spoken);
        TlsAcceptor::from(spoken).accept(tcp).await
    }
}

fn settings(pem: &Pem) -> Result<Settings, String> {
    let chain = certificates(&pem.chain).map_err(|e| format!("certificate: {e}"))?;
    let ends = ends(&chain)?;
    let key = PrivateKeyDer::from_pem_slice(&pem.key);
    // The library's words may quote what it read.
    let key = key.map_err(|_| "key: expected one private key in PEM".to_owned())?;
    let provider = Arc::new(ring::default_provider());
    // RFC 8996: nothing before 1.2.
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    let builder = match &pem.clients {
        None => builder.with_no_client_auth(),
        Some(authorities) => {
            let mut roots = RootCertStore::empty();
            for one in certificates(authorities).map_err(|e| format!("clients: {e}"))? {
                roots.add(one).map_err(|e| format!("clients: {e}"))?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|e| format!("clients: {e}"))?)
        }
    };
    let mut settings = builder
        .with_single_cert(chain, key)
        .map_err(|e| format!("certificate and key do not fit together: {e}"))?;
    // RFC 7301; whoever names neither speaks 1.1.
    settings.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Settings { spoken: Arc::new(settings), ends })
}

/// When the first of them ends.
fn ends(chain: &[CertificateDer<'static>]) -> Result<Timestamp, String> {
    let first = chain.first().map(|first| x509_parser::parse_x509_certificate(first));
    match first {
        Some(Ok((_, certificate))) => {
            let seconds = certificate.validity().not_after.timestamp();
            Ok(Timestamp(seconds.saturating_mul(1000)))
        }
        Some(Err(_)) | None => Err("certificate: it cannot be read".to_owned()),
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) | Err(_) => Err("expected certificates in PEM".to_owned()),
    }
}
