//! Tenants by themselves.

use super::Check;
use super::limit::overrides;
use crate::model::{Pin, Tenant, TenantLimits};
use crate::path::Path;
use crate::raw;

pub(super) fn check(check: &mut Check<'_>, raw: &raw::Tenant) -> Option<Tenant> {
    let pin = pin(check, raw);
    let plan = raw.plan.as_ref().map(|text| check.reference(&Path::Root.key("plan"), text));
    let overrides = overrides(check, &raw.limits);
    let extra = check.references(&Path::Root.key("extraLimits"), &raw.extra_limits);
    let plan = plan.map_or(Some(None), |plan| plan.map(Some));
    Some(Tenant {
        name: check.source.id.name.clone(),
        pin: pin?,
        limits: TenantLimits { plan: plan?, overrides: overrides?, extra: extra? },
    })
}

/// The pin, if there is one; nothing if it is bad.
#[expect(clippy::option_option, reason = "bad, absent and given are three cases")]
fn pin(check: &mut Check<'_>, raw: &raw::Tenant) -> Option<Option<Pin>> {
    let grid = raw.grid.as_ref().map(|text| check.reference(&Path::Root.key("grid"), text));
    let cell = raw.cell.as_ref().map(|text| check.reference(&Path::Root.key("cell"), text));
    match (grid, cell) {
        (None, None) => Some(None),
        (Some(grid), Some(cell)) => Some(Some(Pin { grid: grid?, cell: cell? })),
        (None, Some(_)) => {
            check.wrong_but(&Path::Root.key("cell"), "`cell` without `grid`", "name the grid that the cell belongs to");
            None
        }
        (Some(_), None) => {
            check.wrong_but(&Path::Root.key("grid"), "`grid` without `cell`", "name the cell, or remove the grid");
            None
        }
    }
}
