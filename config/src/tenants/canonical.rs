//! Tenants as JSON, in the one form that `gridctl` writes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::raw;

/// What a tenant's document says, in the order in which it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written<'a> {
    pub(super) kind: &'a str,
    pub(super) name: &'a str,
    #[serde(default, borrow)]
    pub(super) grid: Option<&'a str>,
    #[serde(default, borrow)]
    pub(super) cell: Option<&'a str>,
    #[serde(default, borrow)]
    pub(super) plan: Option<&'a str>,
    #[serde(default)]
    pub(super) limits: BTreeMap<String, raw::LimitOverride>,
    #[serde(default, rename = "extraLimits")]
    pub(super) extra_limits: Vec<String>,
}

/// The same, of what is borrowed.
#[derive(Serialize)]
pub(super) struct Writing<'a> {
    pub(super) kind: &'static str,
    pub(super) name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) grid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cell: Option<&'a str>,
    #[serde(flatten)]
    pub(super) limits: Option<&'a WrittenLimits>,
}

/// What a tenant says of limits, as written: the part of its document that many tenants share.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WrittenLimits {
    /// The name of its plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// Its own values, by the name of the limit.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, raw::LimitOverride>,
    /// The names of limits that it meets besides others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extra_limits: Vec<String>,
}

impl WrittenLimits {
    /// What a document says of limits, if it says anything.
    pub(super) fn of(raw: &raw::Tenant) -> Option<Self> {
        let raw::Tenant { name: _, grid: _, cell: _, plan, limits, extra_limits } = raw;
        let (plan, limits, extra_limits) = (plan.clone(), limits.clone(), extra_limits.clone());
        Some(Self { plan, limits, extra_limits }).filter(|own| !own.is_nothing())
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.plan.is_none() && self.limits.is_empty() && self.extra_limits.is_empty()
    }

    /// What tells it from others.
    pub(super) fn json(&self) -> String {
        // Text, lists and maps of text have a form in JSON.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Written<'_> {
    /// What it says of limits, if it says anything.
    pub(super) fn own_limits(self) -> Option<WrittenLimits> {
        let (limits, extra_limits) = (self.limits, self.extra_limits);
        let own = WrittenLimits { plan: self.plan.map(str::to_owned), limits, extra_limits };
        Some(own).filter(|own| !own.is_nothing())
    }
}

/// The word that a tenant's document begins with.
pub(super) const KIND: &str = "Tenant";

impl Writing<'_> {
    /// The JSON, in place of what `into` held.
    pub(super) fn write(&self, into: &mut Vec<u8>) {
        into.clear();
        // Text, lists and maps of text have a form in JSON, and a vector takes it.
        let _written: serde_json::Result<()> = serde_json::to_writer(into, self);
    }
}
