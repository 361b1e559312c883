//! Tenants by themselves.

use std::collections::BTreeMap;

use super::Check;
use super::limit::burst;
use super::value::all;
use crate::model::{LimitOverride, Pin, Tenant, TenantLimits};
use crate::path::Path;
use crate::raw;
use crate::units::Rate;

pub(super) fn check(check: &mut Check<'_>, raw: &raw::Tenant) -> Option<Tenant> {
    let pin = pin(check, raw);
    let at = Path::Root.key("limits");
    let limits = all(raw.limits.iter().map(|(limit, raw)| {
        let path = at.key(limit);
        let (name, value) = (check.reference(&path, limit), limit_override(check, &path, raw));
        Some((name?, value?))
    }));
    Some(Tenant {
        name: check.source.id.name.clone(),
        pin: pin?,
        limits: TenantLimits { overrides: limits?.into_iter().collect::<BTreeMap<_, _>>(), ..TenantLimits::default() },
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

fn limit_override(check: &mut Check<'_>, path: &Path<'_>, raw: &raw::LimitOverride) -> Option<LimitOverride> {
    let rate = raw.rate.as_ref().map(|text| check.take(&path.key("rate"), Rate::parse(text)));
    let burst = burst(check, &path.key("burst"), raw.burst);
    if raw.rate.is_none() && raw.burst.is_none() {
        check.wrong_but(path, "neither `rate` nor `burst`", "write at least one of the two, such as {rate: 1000/s}");
    }
    Some(LimitOverride {
        rate: rate.map_or(Some(None), |rate| rate.map(Some))?,
        burst: burst?,
        ..LimitOverride::default()
    })
}
