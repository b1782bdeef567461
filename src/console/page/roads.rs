//! Which roads are open, which of their actions are shut, and how many calls are on them? As this replica has it.

use super::html::{Html, each, html};
use super::parts::{Status, name, status, tinted};
use crate::breaker::Shown;
use crate::gate::RoadSeen;

/// Every upstream's road.
pub fn roads(all: &[RoadSeen]) -> Html {
    html!(
        r#"<section class="block" aria-labelledby="br"><div class="block-head"><h2 id="br">Breakers</h2><p>they open by "#
        "themselves when an upstream or one of its actions fails, and try again after a pause; calls on the road are as "
        r#"many as it answers without getting slow</p></div><table class="card table stack"><thead><tr>"#
        r#"<th scope="col">Upstream</th><th scope="col">State on this replica</th><th scope="col">Actions that are shut"#
        r#"</th><th scope="col" class="num">Calls on the road</th></tr></thead><tbody>"# (each(all, road)) "</tbody></table></section>"
    )
}

fn road(road: &RoadSeen) -> Html {
    let shut = match road.shut.as_slice() {
        [] => html!(r#"<span class="sub">none</span>"#),
        shut => {
            html!((each(shut, |(action, shown)| html!((name(action)) " " (state(*shown)) "<br>"))))
        }
    };
    let lanes = road.lanes;
    let waiting = (lanes.waiting > 0).then(|| html!(", " (lanes.waiting) " wait"));
    html!(
        r#"<tr><th scope="row">"# (name(&road.name)) r#"</th><td data-label="State">"# (state(road.shown))
        r#"</td><td data-label="Actions that are shut">"# (shut) r#"</td><td class="num" data-label="Calls on the road">"#
        (lanes.in_flight) " of " (lanes.lanes) (waiting) "</td></tr>"
    )
}

fn state(shown: Shown) -> Html {
    match shown {
        Shown::Closed => status(Status::Closed),
        Shown::HalfOpen => status(Status::HalfOpen),
        Shown::Open => tinted(Status::Open, &Status::Open.word()),
    }
}
