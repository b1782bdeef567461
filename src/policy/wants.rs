//! Which attributes does a policy ask for? A set of bits, so that only those are made.

/// The attributes that some policies ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wants(u32);

/// Every attribute of `context`, and of `context.customer`, by the name a policy uses. Their order
/// is the order of the bits of [`Wants`].
const ATTRIBUTES: [&str; 28] = [
    "name",
    "now",
    "asked",
    "owner",
    "contract",
    "approvals",
    "confidence",
    "amount",
    "currency_ok",
    "since",
    "remaining",
    "disputed",
    "fulfilled",
    "open_invoices",
    "recipients",
    "templates",
    "free_text",
    "commitment",
    "facts",
    "customer",
    "customer.verified",
    "customer.account",
    "customer.roles",
    "customer.auth_time",
    "customer.consent_until",
    "customer.contacts",
    "signals",
    "signals_hold",
];

impl Wants {
    /// None.
    pub const NOTHING: Self = Self(0);
    /// Every one.
    pub const ALL: Self = Self(u32::MAX);

    /// The attribute of that name; everything, when there is none.
    pub fn of(name: &str) -> Self {
        let bit = ATTRIBUTES.iter().position(|own| *own == name);
        let bit = bit.and_then(|bit| 1_u32.checked_shl(u32::try_from(bit).ok()?));
        bit.map_or(Self::ALL, Self)
    }

    /// These and those.
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the attribute of that name is asked for.
    pub fn has(self, name: &str) -> bool {
        self.0 & Self::of(name).0 != 0
    }

    /// Whether an answer stays true for as long as token, contract and policies do: nothing that is
    /// asked for differs from one call to the next, the owner apart.
    pub fn is_lasting(self) -> bool {
        let per_call = [
            "now",
            "asked",
            "confidence",
            "amount",
            "currency_ok",
            "since",
            "remaining",
            "disputed",
            "fulfilled",
            "open_invoices",
            "recipients",
            "templates",
            "free_text",
            "commitment",
            "facts",
            "customer.auth_time",
            "customer.consent_until",
            "signals",
            "signals_hold",
        ];
        per_call.iter().all(|name| !self.has(name))
    }
}
