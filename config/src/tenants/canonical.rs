//! Tenants as JSON, in the one form that `gridctl` writes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::raw;

/// What a tenant's document says, in the order in which it is written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written<'a> {
    pub(super) kind: &'a str,
    pub(super) name: &'a str,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub(super) grid: Option<&'a str>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub(super) cell: Option<&'a str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) limits: Option<BTreeMap<String, raw::LimitOverride>>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) limits: Option<&'a BTreeMap<String, raw::LimitOverride>>,
}

/// The word that a tenant's document begins with.
pub(super) const KIND: &str = "Tenant";

impl Writing<'_> {
    /// The JSON, in place of what `into` held.
    pub(super) fn write(&self, into: &mut Vec<u8>) {
        into.clear();
        // Text and maps of text have a form in JSON, and a vector takes it.
        let _written: serde_json::Result<()> = serde_json::to_writer(into, self);
    }
}
