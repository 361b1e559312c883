//! Which track a request is on while a shift moves the traffic of its service. Pure: the dice are handed in.

use std::sync::Arc;

use gridrouter_config::track::Track;

use super::decide::Tenant;
use crate::http::fields::Fields;
use crate::placement::split::{is_within, rank};
use crate::snapshot::EndpointGroup;
use crate::snapshot::split::SplitPlan;

/// The track that a request is on.
#[derive(Debug, Clone, Copy)]
pub struct OnTrack<'a> {
    /// The tracks that there are.
    pub split: &'a Arc<SplitPlan>,
    /// The one that was chosen.
    pub track: Track,
    /// Whether it is a tester's.
    pub is_tester: bool,
    /// The hash of the tenant's id, where the share is one of tenants and the request has one.
    pub tenant: Option<u64>,
}

/// Why a request is on its track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It is a tester's.
    Tester,
    /// The tenant has this rank, a fraction of 2^64: see [`rank`].
    Tenant(u64),
    /// Each request goes by itself.
    Request,
}

impl<'a> OnTrack<'a> {
    /// The endpoints of the track.
    pub fn group(&self) -> &'a Arc<EndpointGroup> {
        &self.split.side(self.track).group
    }

    /// Why it was chosen.
    pub fn why(&self) -> Why {
        match self.tenant {
            _ if self.is_tester => Why::Tester,
            Some(hash) => Why::Tenant(rank(hash, self.split.document.seed)),
            None => Why::Request,
        }
    }
}

/// Chooses the track of a request. The dice are thrown only for one that goes by itself.
pub(super) fn choose<'a>(
    split: &'a Arc<SplitPlan>,
    tenant: Option<&Tenant<'_, '_>>,
    headers: &Fields,
    dice: impl FnOnce() -> u64,
) -> OnTrack<'a> {
    let hash = tenant.filter(|_| split.is_by_tenant()).map(|tenant| tenant.hash);
    let is_tester = split.testers && is_tester(split, tenant, headers);
    let moves = is_tester || is_within(hash.map_or_else(dice, |hash| rank(hash, split.document.seed)), split.share);
    let side = if moves { &split.to } else { &split.from };
    OnTrack { split, track: side.track, is_tester, tenant: hash }
}

fn is_tester(split: &SplitPlan, tenant: Option<&Tenant<'_, '_>>, headers: &Fields) -> bool {
    let testers = &split.document.testers;
    let is_one = |tenant: &Tenant<'_, '_>| {
        let found = testers.tenants.binary_search_by(|name| name.as_str().cmp(&*tenant.id));
        found.is_ok()
    };
    tenant.is_some_and(is_one)
        || testers
            .headers
            .iter()
            .any(|(name, value)| headers.get_all(name.as_str()).any(|line| line == value.as_bytes()))
}
