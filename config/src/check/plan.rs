//! Plans by themselves.

use super::Check;
use super::limit::overrides;
use crate::model::Plan;
use crate::path::Path;
use crate::raw;

pub(super) fn check(check: &mut Check<'_>, raw: &raw::Plan) -> Option<Plan> {
    let limits = overrides(check, &raw.limits);
    let extra_limits = check.references(&Path::Root.key("extraLimits"), &raw.extra_limits);
    Some(Plan { name: check.source.id.name.clone(), limits: limits?, extra_limits: extra_limits? })
}
