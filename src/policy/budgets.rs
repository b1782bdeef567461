//! Which budgets did the operator write for an action?

use std::time::Duration;

use super::contracts;
use crate::bounds::WITHIN_MAX;
use crate::contract::{Budget, BudgetScope, Over, Room};
use crate::yaml::{Node, Section, Shape};

/// The list, or the one, under `budget`.
pub(super) fn read(node: &Node, parent: &Section<'_>) -> Result<Vec<Budget>, String> {
    let items = match &node.shape {
        Shape::List(items) => items.iter().collect(),
        Shape::Map(_) => vec![node],
        Shape::Scalar { .. } => return Err("expected a list of budgets".into()),
    };
    let key = parent.path("budget");
    let mut budgets: Vec<Budget> = Vec::new();
    for item in items {
        let section = parent.faults().section(item, &key);
        if let Some(budget) = budget(&section) {
            let same = |b: &Budget| (b.per, b.within) == (budget.per, budget.within);
            if budgets.iter().any(same) {
                section.fault("", "stands here twice: same `per`, same `within`");
            }
            budgets.push(budget);
        }
        section.finish();
    }
    stand_beside_customers(parent, &budgets);
    Ok(budgets)
}

fn budget(section: &Section<'_>) -> Option<Budget> {
    let per = section.required("per", |node| {
        let text = node.text()?;
        BudgetScope::parse(text).ok_or_else(|| {
            let known = BudgetScope::ALL.map(|scope| format!("`{}`", scope.name()));
            format!("expected one of {}, got `{text}`", known.join(", "))
        })
    });
    let within = section.required("within", |node| match window(node)? {
        Duration::ZERO => Err("expected more than no time".into()),
        within => Ok(within),
    });
    let money = section.optional("amount", contracts::caps).map(Room::Money);
    let count = section.optional("count", Node::count).map(Room::Count);
    let over = section.optional("over", contracts::over).unwrap_or(Over::Hold);
    if money.is_some() == count.is_some() {
        section.fault("", "expected either `amount` or `count`");
    }
    let alert = section.optional("alert", Node::per_cent);
    Some(Budget { per: per?, within: within?, room: money.or(count)?, over, alert })
}

/// SECURITY: a case is the agent's own word, and a new word is a new room: only beside a budget of the
/// customer, whom it cannot choose, does it bound anything.
fn stand_beside_customers(section: &Section<'_>, budgets: &[Budget]) {
    let sort = |budget: &Budget| matches!(budget.room, Room::Money(_));
    for case in budgets.iter().filter(|budget| budget.per == BudgetScope::Case) {
        let beside = |b: &Budget| b.per == BudgetScope::Customer && sort(b) == sort(case);
        if !budgets.iter().any(beside) {
            let key = if sort(case) { "amount" } else { "count" };
            section.fault(
                "budget",
                format!(
                    "`per: case` needs one of `per: customer` with `{key}` beside it: the agent names \
                     the case, and could name another for each call"
                ),
            );
        }
    }
}

/// SECURITY: the store keeps what was done for so long, and a longer window would see less than there was.
pub(super) fn window(node: &Node) -> Result<Duration, String> {
    let within = node.duration()?;
    if within > WITHIN_MAX {
        return Err("expected 31d at most".into());
    }
    Ok(within)
}
