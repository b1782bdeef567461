//! When does a rule of a pack apply? Tests of values, read exactly or in the cautious way.

use crate::value::{Pointer, Syntax, Value};

/// A test of values in one tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// It holds when it holds at any of these.
    pub at: Vec<Pointer>,
    /// What must be there.
    pub test: Test,
}

/// What a condition asks of a value. Words are compared as text: `true` is `"true"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// Anything but null.
    Present,
    /// One of these words.
    Is(Vec<Box<str>>),
    /// Something, but none of these words.
    Not(Vec<Box<str>>),
}

impl Condition {
    /// Whether it holds of `root`, read as written: for answers and facts.
    pub fn holds(&self, root: &Value) -> bool {
        self.at.iter().any(|at| at.any(root, &mut |value| self.test.holds(value)))
    }

    /// Whether it may hold of a request's parameters: for whatever raises a class or adds an effect.
    ///
    /// SECURITY: a spelling that another parser could take for the value counts as the value, and so
    /// does anything of an odd type there or on the way there. A call is never classed lower by how
    /// it is written.
    pub fn may_hold(&self, root: &Value, syntax: Syntax) -> bool {
        let test = |value: &Value| self.test.may_hold(value, syntax);
        self.at.iter().any(|at| may_pass(at.steps(), root, &test))
    }
}

/// Whether something may stand at `at` in a request's parameters, read as cautiously as
/// [`Condition::may_hold`].
pub fn may_be_present(at: &Pointer, root: &Value) -> bool {
    may_pass(at.steps(), root, &|value| *value != Value::Null)
}

fn may_pass(steps: &[Box<str>], value: &Value, test: &dyn Fn(&Value) -> bool) -> bool {
    let Some((step, rest)) = steps.split_first() else {
        return test(value);
    };
    match value {
        Value::Null => false,
        Value::Bool(_) | Value::Number(_) | Value::Text(_) => true,
        Value::Map(members) if &**step == "*" => {
            members.iter().any(|(_, member)| may_pass(rest, member, test))
        }
        Value::Map(_) => value.member(step).is_some_and(|next| may_pass(rest, next, test)),
        // An object was expected: each item may be taken for it.
        Value::List(items) => {
            let rest = if &**step == "*" || step.parse::<usize>().is_ok() { rest } else { steps };
            items.iter().any(|item| may_pass(rest, item, test))
        }
    }
}

impl Test {
    fn holds(&self, value: &Value) -> bool {
        match self {
            Self::Present => *value != Value::Null,
            Self::Is(words) => words.iter().any(|word| value.is_word(word)),
            Self::Not(words) => {
                *value != Value::Null && !words.iter().any(|word| value.is_word(word))
            }
        }
    }

    fn may_hold(&self, value: &Value, syntax: Syntax) -> bool {
        match (self, value) {
            (_, Value::Null) => false,
            (Self::Present, _) | (_, Value::List(_) | Value::Map(_)) => true,
            (Self::Not(words), _) => !words.iter().any(|word| is_exactly(value, word, syntax)),
            (Self::Is(words), _) => words.iter().any(|word| match &**word {
                "true" => !is_exactly(value, "false", syntax),
                "false" => !is_exactly(value, "true", syntax),
                word => {
                    let loosely = |text: &str| text.trim().eq_ignore_ascii_case(word);
                    value.is_word(word) || value.text().is_some_and(loosely)
                }
            }),
        }
    }
}

/// In JSON `"false"` is a text, which many languages take for true.
fn is_exactly(value: &Value, word: &str, syntax: Syntax) -> bool {
    let truth = matches!(word, "true" | "false");
    let text_in_json = syntax == Syntax::Json && matches!(value, Value::Text(_));
    value.is_word(word) && !(truth && text_in_json)
}
