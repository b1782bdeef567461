//! Who keeps checkpoints of the record, so that nobody can write it anew unseen?
//!
//! Never told anything of a call: a checkpoint is a count and a hash.

use serde_json::json;

use super::{Place, Signer, outgoing};
use crate::clock::Timestamp;
use crate::outbound::Outgoing;
use crate::store::record::sha256;
use crate::value::piece;

/// Where checkpoints go.
#[derive(Debug)]
pub enum Witness {
    /// To standard output, where a log shipper takes them off this machine.
    Stdout,
    /// To the fleet's Redis.
    Redis,
    /// To somebody's backend.
    Webhook {
        /// Where that is.
        place: Box<Place>,
        /// With which key.
        signer: Signer,
    },
}

impl Witness {
    /// What it is, for whoever checks a configuration; never where.
    pub fn described(&self) -> &'static str {
        match self {
            Self::Stdout => "standard output",
            Self::Redis => "the fleet's Redis",
            Self::Webhook { .. } => "a webhook",
        }
    }

    /// The file whose authorities it trusts.
    pub fn authorities(&self) -> Option<&std::path::Path> {
        match self {
            Self::Webhook { place, .. } => place.authorities(),
            Self::Stdout | Self::Redis => None,
        }
    }

    /// What a webhook is sent; `None` when it cannot be signed.
    pub fn message(
        (place, signer): (&Place, &Signer),
        (chain, size, note): (&str, u64, &str),
        now: Timestamp,
    ) -> Option<Outgoing> {
        let mut bytes = Vec::with_capacity(64);
        piece(&mut bytes, b'c', chain.as_bytes());
        piece(&mut bytes, b's', &size.to_be_bytes());
        let hex: String =
            sha256(&bytes).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let data = json!({ "chain": chain, "size": size, "note": note });
        let body = json!({ "type": "checkpoint", "timestamp": now.to_string(), "data": data });
        outgoing(place, Some(signer), (&format!("msg_{hex}"), now), body.to_string())
    }
}
