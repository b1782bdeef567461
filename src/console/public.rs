//! Under which address do people see the console?

/// `operator.public_url`: a scheme, a host and perhaps a port, nothing more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    origin: Box<str>,
    host: Box<str>,
}

impl PublicUrl {
    /// That of an origin.
    pub fn of(origin: &crate::outbound::Origin) -> Self {
        Self { origin: origin.to_string().into(), host: origin.host().into() }
    }

    /// Its scheme, host and port, as a browser names an origin.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Its host alone.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether browsers come by TLS.
    pub fn is_secure(&self) -> bool {
        self.origin.starts_with("https://")
    }
}
