//! In which words does the store itself hold a call? One place for every store.

use crate::call::OperationId;
use crate::clock::Timestamp;
use crate::decision::Reason;

/// Like another one: which, and when it was asked; what it was about; how it stands.
pub fn alike((op, created): (OperationId, Timestamp), summary: &str, state: &str) -> Reason {
    let tell = "the same was just done; a colleague must confirm that a second one is meant";
    Reason {
        policy: "duplicates.alike".into(),
        why: format!("like {op} of {created} ({summary}, {state})").into(),
        tell: tell.into(),
    }
}

/// Past that budget.
pub fn budget(id: &str) -> Reason {
    Reason {
        policy: id.into(),
        why: "it does not fit into what is left of the budget".into(),
        tell: "this needs a colleague's approval".into(),
    }
}

/// A brake is on, or this call would pass it.
pub fn brake(id: &str) -> Reason {
    Reason {
        policy: id.into(),
        why: "more of this than usual: a person looks at each until it is quiet again".into(),
        tell: "this needs a colleague's approval".into(),
    }
}

/// Not what was approved.
pub fn changed() -> Reason {
    Reason {
        policy: "approval.changed".into(),
        why: "what would be sent is no longer what was approved".into(),
        tell: "this needs a colleague's approval".into(),
    }
}
