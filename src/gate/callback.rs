//! May this answer from a chat count? It must be signed by who was told, name what it was told, and be from
//! somebody who may: the same rules as on the page, applied in the same place.

use std::sync::Arc;

use crate::approval::{Answers, Objection, Operator, Tenants};
use crate::audit::Event;
use crate::call::OperationId;
use crate::gate::Gate;
use crate::notify::{Answer, Answering, Bound, Destination, People, Sent, Unproven, Verdict};
use crate::store::Record;

/// Why an answer from outside was not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// Nobody knows who sent it.
    #[error("{0}")]
    Unproven(#[from] Unproven),
    /// It is no answer.
    #[error("{0}")]
    Malformed(String),
    /// Its nonce is not of this hold, or was not given to its sender.
    #[error("the nonce was not given for this hold, its digest and this destination")]
    Nonce,
    /// The rules for everybody.
    #[error("{0}")]
    Objection(#[from] Objection),
}

impl NotTaken {
    /// In a metric and on record.
    fn name(&self) -> &'static str {
        match self {
            Self::Unproven(Unproven::Signature) => "unsigned",
            Self::Unproven(Unproven::Stale) => "stale",
            Self::Malformed(_) => "malformed",
            Self::Nonce => "nonce",
            Self::Objection(Objection::Store(_)) => "undecidable",
            Self::Objection(_) => "refused",
        }
    }
}

impl Gate {
    /// An answer that a destination sends back. Whatever is wrong with it is counted and on record.
    ///
    /// # Errors
    ///
    /// Why it does not count.
    pub async fn answer_from_outside(&self, sent: &Sent<'_>) -> Result<Arc<Record>, NotTaken> {
        let mut by = None;
        let taken = self.take_answer(sent, &mut by).await;
        match &taken {
            Ok(_) => self.telemetry.callback("taken"),
            Err(why) => {
                self.telemetry.callback(why.name());
                let event = match why {
                    NotTaken::Unproven(_) => Event::SignInFailed,
                    NotTaken::Malformed(_) | NotTaken::Nonce | NotTaken::Objection(_) => {
                        Event::Forbidden
                    }
                };
                let note = format!("{}: {why}", why.name());
                self.turned_away(event, "answer", (by.as_deref(), &note)).await;
            }
        }
        taken
    }

    async fn take_answer(
        &self,
        sent: &Sent<'_>,
        by: &mut Option<String>,
    ) -> Result<Arc<Record>, NotTaken> {
        let senders = self.notify.senders(sent, self.clock.now())?;
        *by = senders.first().map(|one| one.name.to_string());
        let answer = Answer::parse(sent.body).map_err(NotTaken::Malformed)?;
        // Whoever may not know of a call learns nothing of whether there is one.
        let record = match self.approvals.show(answer.op).await {
            Ok(record) => record,
            Err(Objection::Store(fault)) => return Err(Objection::Store(fault).into()),
            Err(_) => return Err(NotTaken::Nonce),
        };
        let told = senders.iter().find(|one| is_told(one, &record, &answer));
        let Some((told, answers)) = told.and_then(|one| Some((one, one.answers.as_ref()?))) else {
            return Err(NotTaken::Nonce);
        };
        *by = Some(person(&answer, told));
        self.apply(&record, &answer, (told, answers)).await
    }

    async fn apply(
        &self,
        record: &Record,
        answer: &Answer,
        (told, answers): (&Destination, &Answering),
    ) -> Result<Arc<Record>, NotTaken> {
        let mut operator = operator(answer, told, answers);
        let Some(hold) = &record.hold else {
            return Err(Objection::Answered(record.state.name()).into());
        };
        if answer.digest != hold.shown {
            return Err(Objection::Changed.into());
        }
        match answer.verdict {
            // SECURITY: a no is one person's whatever the destination counts as, so it names them.
            Verdict::Deny => {
                operator.name = person(answer, told).into();
                Ok(self.deny(answer.op, &operator, &answer.reason).await?)
            }
            Verdict::Approve => {
                // SECURITY: who said yes on the page is not a second person in the chat.
                let is_again = |yes: &crate::store::Yes| yes.by.eq_ignore_ascii_case(&answer.by);
                if hold.yes.iter().any(is_again) {
                    return Err(Objection::Twice.into());
                }
                let reason = match answers.people {
                    People::Each => answer.reason.clone(),
                    People::One => format!("{}: {}", person(answer, told), answer.reason),
                };
                Ok(self.approve(answer.op, &operator, answer.digest, &reason).await?)
            }
        }
    }
}

impl Gate {
    /// SECURITY: one person is not two by answering in a chat and then on the page. Where a whole chat counts as
    /// one, who it was stands before the reason.
    ///
    /// # Errors
    ///
    /// When they have said yes there before.
    pub(super) async fn not_from_a_chat_before(
        &self,
        op: OperationId,
        operator: &Operator,
    ) -> Result<(), Objection> {
        let mut chats = self.notify.destinations.iter();
        if chats.all(|one| one.answers.is_none()) {
            return Ok(());
        }
        let record = self.approvals.show(op).await?;
        let said = record.hold.iter().flat_map(|hold| &hold.yes);
        for yes in said {
            for (told, answers) in
                self.notify.destinations.iter().filter_map(|one| Some((one, one.answers.as_ref()?)))
            {
                let names = [Some(&operator.name), operator.subject.as_ref()];
                let is_theirs = names.into_iter().flatten().any(|name| {
                    let person = format!("{name}@{}", told.name);
                    let is_chat = yes.by == answers.name;
                    let before = yes.reason.get(..person.len()).unwrap_or_default();
                    yes.by.eq_ignore_ascii_case(&person)
                        || is_chat && before.eq_ignore_ascii_case(&person)
                });
                if is_theirs {
                    return Err(Objection::Twice);
                }
            }
        }
        Ok(())
    }
}

/// Whether this destination was told of this hold, and that in this answer.
fn is_told(one: &Destination, record: &Record, answer: &Answer) -> bool {
    let (Some(signer), Some(hold)) = (&one.signer, &record.hold) else { return false };
    signer.is_nonce(&answer.nonce, |letter| Bound {
        op: record.op,
        shown: answer.digest,
        since: hold.since,
        destination: &one.name,
        letter,
    })
}

/// Who it is, by the word of the destination.
fn person(answer: &Answer, told: &Destination) -> String {
    format!("{}@{}", answer.by, told.name)
}

fn operator(answer: &Answer, told: &Destination, answers: &Answering) -> Operator {
    let name = match answers.people {
        People::One => Arc::from(&*answers.name),
        People::Each => Arc::from(person(answer, told)),
    };
    Operator {
        name,
        // Who asked for it does not approve it from a chat either.
        subject: Some(Arc::from(&*answer.by)),
        roles: answers.roles.clone(),
        tenants: answers.tenants.clone().map_or(Tenants::All, Tenants::These),
        answers: Answers::Holds,
    }
}
