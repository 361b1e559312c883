//! Every algorithm of limits in the real router, each at a path of its own and offered about twice what it admits:
//! what gets through must be what it says, to within one per cent, and the router must count what the clients count.

mod course;
mod permits;
mod queue;
mod rates;

use serde_json::json;

use self::course::{Course, GROUPS};
use super::Common;
use super::checks::Checks;
use super::stand::Stand;
use crate::error::{Error, Result};
use crate::k6;
use crate::output;
use crate::process;
use crate::proxies::Kind;

/// How much is done.
struct Form {
    /// How long is counted, in seconds.
    seconds: f64,
    /// How much of a course's lead is kept.
    lead: f64,
    /// Requests a second that each limit is offered, about; all admit 200.
    offered: u32,
    /// Whether figures are asserted that other programs on the machine could spoil.
    exact: bool,
}

pub(super) async fn run(common: &Common) -> Result<()> {
    if common.proxy != Kind::Gridrouter {
        return Err(Error::new("the limits are gridrouter's own: nothing else can stand in for it here"));
    }
    process::allow_files(2_048)?;
    let form = if common.short {
        Form { seconds: 1.5, lead: 0.25, offered: 300, exact: false }
    } else {
        Form { seconds: 30.0, lead: 1.0, offered: 400, exact: true }
    };
    let mut checks = Checks::new("limits");
    for group in GROUPS {
        steady(&group(), &form, &mut checks).await?;
    }
    queue::spacing(&form, &mut checks).await?;
    queue::giving_up(&form, &mut checks).await?;
    checks.finish(common)
}

/// All limits of a group at once, under k6.
async fn steady(courses: &[Course], form: &Form, checks: &mut Checks) -> Result<()> {
    let limits: Vec<_> = courses.iter().map(|course| course.limited.clone()).collect();
    let mut stand = Stand::start(&limits).await?;
    let names = limits.iter().map(|limit| limit.name).collect::<Vec<_>>().join(", ");
    output::progress(format_args!("k6 drives http://{}: {names}", stand.listen));
    let list = courses.iter().map(|course| {
        json!({
            "name": course.limited.name, "path": format!("{}{}", course.limited.path(), course.asks),
            "lead": course.lead * form.lead, "seconds": form.seconds, "rate": form.offered,
            "vus": course.users, "clients": course.clients,
        })
    });
    let longest = courses.iter().map(|course| course.lead).fold(0.0, f64::max) + form.seconds;
    let limit = std::time::Duration::from_secs_f64(longest + 60.0);
    let summary = k6::limits(stand.listen, &list.collect(), stand.directory.path(), limit).await?;
    stand.router.still_runs()?;
    let metrics = stand.metrics().await?;
    for course in courses {
        rates::check(course, form, &summary, checks);
        rates::counted_alike(course, &summary, &metrics, &stand.journal, checks);
        permits::check(course, form, &summary, &stand, checks).await?;
        queue::check(course, form, &summary, &stand, checks);
    }
    Ok(())
}
