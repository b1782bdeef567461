//! Which certificate is shown to an upstream that asks for one (mutual TLS)?
//!
//! Never goes on with half of what was read, and never shows its key to anybody.

use std::fmt;
use std::panic::catch_unwind;
use std::sync::Arc;

use pingora::utils::tls::CertKey;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;

/// A certificate and its key.
#[derive(Clone)]
pub struct ClientCertificate(Arc<CertKey>);

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCertificate")
    }
}

impl ClientCertificate {
    /// Reads PEM: the certificate first, then those that lead from it to an authority; its key as PKCS#8, PKCS#1 or
    /// SEC1.
    ///
    /// # Errors
    ///
    /// What does not read, or that the key is another certificate's. Nothing of the key is repeated.
    pub fn read(chain: &[u8], key: &[u8]) -> Result<Self, String> {
        let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|e| format!("certificate: {e}"))?;
        if chain.is_empty() {
            return Err("certificate: expected certificates in PEM, found none".to_owned());
        }
        let key = PrivateKeyDer::from_pem_slice(key);
        // The library's words may quote what it read.
        let key = key.map_err(|_| "key: expected one private key in PEM".to_owned())?;
        let der = key.secret_der().to_vec();
        let fits = CertifiedKey::from_der(chain.clone(), key, &ring::default_provider());
        fits.map_err(|e| format!("certificate and key: {e}"))?;
        // It is told apart once more, from its bytes alone, for each connection.
        PrivateKeyDer::try_from(der.as_slice()).map_err(|_| "key: its kind is not known")?;
        let chain: Vec<Vec<u8>> = chain.iter().map(|one| one.to_vec()).collect();
        // What it cannot read the library panics on.
        let made = catch_unwind(move || CertKey::new(chain, der));
        let made = made.map_err(|_| "certificate: one of them cannot be read".to_owned())?;
        Ok(Self(Arc::new(made)))
    }

    /// As pingora takes it.
    pub(super) fn shown(&self) -> &Arc<CertKey> {
        &self.0
    }
}
