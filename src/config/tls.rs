//! With which certificate are agents answered? `tls: { certificate, key, clients }`. And which one is shown to an
//! upstream? `upstreams.NAME.tls: { certificate, key }`.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::credentials::Reference;
use crate::outbound::ClientCertificate;
use crate::yaml::{Node, Section};

/// Files in PEM, looked at once a second while they serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSection {
    /// The certificate, and those that lead from it to an authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authorities that agents' certificates are judged by; agents show none when `None`.
    pub clients: Option<PathBuf>,
}

/// The files of a certificate and its key.
fn pair(section: &Section<'_>, base: &Path) -> Option<(PathBuf, PathBuf)> {
    let path = |node: &Node| node.name().map(|path| base.join(path));
    let certificate = section.required("certificate", path);
    let key = section.required("key", |node| match Reference::parse(node.text()?, base)? {
        Reference::File(path) => Ok(path),
        Reference::Env(_) => {
            Err("expected `file:PATH`: a key is renewed with its certificate".into())
        }
    });
    certificate.zip(key)
}

/// What an upstream is shown that asks who we are. Its files are added to those that are looked at.
pub(super) fn client(
    upstream: &Section<'_>,
    base: &Path,
    files: &mut super::Files,
) -> Option<ClientCertificate> {
    let section = upstream.section("tls")?;
    let read = pair(&section, base).and_then(|(certificate, key)| {
        files.add(&certificate);
        files.add(&key);
        let loaded = TlsSection { certificate, key, clients: None }.load();
        let read = loaded.and_then(|both| ClientCertificate::read(&both.chain, &both.key));
        read.map_err(|why| section.fault("", why)).ok()
    });
    section.finish();
    read
}

/// Reads the section.
pub(super) fn read(top: &Section<'_>, base: &Path) -> Option<TlsSection> {
    let section = top.section("tls")?;
    let path = |node: &Node| node.name().map(|path| base.join(path));
    let pair = pair(&section, base);
    let clients = section.optional("clients", path);
    let read = pair.map(|(certificate, key)| TlsSection { certificate, key, clients });
    // All of it is read as it will be: what is missing is told with all other faults.
    if let Some(Err(why)) = read.as_ref().map(TlsSection::load) {
        section.fault("", why);
    }
    section.finish();
    read
}

/// What the files say.
#[derive(Debug)]
pub struct Loaded {
    /// The certificates.
    pub chain: Vec<u8>,
    /// The key.
    pub key: Zeroizing<Vec<u8>>,
    /// The authorities.
    pub clients: Option<Vec<u8>>,
}

impl TlsSection {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// The one that cannot be read, and why.
    pub fn load(&self) -> Result<Loaded, String> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()))
        };
        Ok(Loaded {
            chain: read(&self.certificate)?,
            key: Zeroizing::new(read(&self.key)?),
            clients: self.clients.as_deref().map(read).transpose()?,
        })
    }

    /// The files.
    pub fn files(&self) -> super::Files {
        let mut files = super::Files::default();
        files.add(&self.certificate);
        files.add(&self.key);
        self.clients.iter().for_each(|path| files.add(path));
        files
    }
}
