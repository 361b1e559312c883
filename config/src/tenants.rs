//! Tenants that have a document, by the million: a table that is looked into once a request, and of which the next
//! version shares all that did not change with the one before. Pure.
//!
//! A tenant takes 64 bytes, one cache line, id included. A look-up reads that line, or two, and the table of shards,
//! which stays in the processor's cache. What many tenants share, their pin's grid and cell and their own limit values,
//! is kept once. A change copies one shard of a thousand rows, whatever the size of the table.

mod canonical;
mod interned;
mod row;
mod shard;

use std::fmt;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use self::canonical::{KIND, Writing, Written};
use self::interned::{Interned, Keyed};
use self::row::NONE;
use self::shard::Shard;
use crate::check::{ModelDocument, convert};
use crate::codec::{SourceDocument, parse};
use crate::digest::Digest;
use crate::ids::{Kind, Name};
use crate::keys;
use crate::model::{self, Pin};
use crate::raw;

pub use self::canonical::WrittenLimits;
pub use self::row::Row;

/// Rows of a shard, in the mean, before there are twice as many shards.
const ROWS: usize = 1024;

/// Tenants by id.
#[derive(Clone, Default)]
pub struct TenantTable {
    /// What the place of every document begins with, as shown to people; its tenant's id follows.
    place: Arc<str>,
    shards: Arc<[Shard]>,
    len: usize,
    digest: Digest,
    pins: Interned<Pin>,
    limits: Interned<OwnLimits>,
}

/// What tenants say of limits: their plan, their own values and the limits that they meet besides others.
#[derive(Debug, PartialEq)]
pub struct OwnLimits {
    /// As written, in JSON: what tells them from others.
    json: String,
    /// As written.
    pub raw: WrittenLimits,
    /// As checked.
    pub model: model::TenantLimits,
}

impl Keyed for Pin {
    fn key(&self) -> [&str; 2] {
        [self.grid.as_str(), self.cell.as_str()]
    }
}

impl Keyed for OwnLimits {
    fn key(&self) -> [&str; 2] {
        [&self.json, ""]
    }
}

/// A tenant of a table.
#[derive(Debug, Clone, Copy)]
pub struct Tenant<'a> {
    table: &'a TenantTable,
    row: &'a Row,
}

/// What two tables say of one tenant.
#[derive(Debug, Clone, Copy)]
pub struct TenantChange<'a> {
    /// In the older one.
    pub before: Option<Tenant<'a>>,
    /// In the newer one.
    pub after: Option<Tenant<'a>>,
}

/// The hash that [`TenantTable::find`] takes: xxh3-64 of the id, of which placement takes the bucket too.
pub fn hash_of(id: &str) -> u64 {
    xxh3_64(id.as_bytes())
}

impl TenantTable {
    /// An empty table for documents that are kept below a place, such as `/gridrouter/config/tenant/`.
    pub fn below(place: &str) -> Self {
        Self { place: place.into(), ..Self::default() }
    }

    /// The same place, and no tenant.
    #[must_use]
    pub fn emptied(&self) -> Self {
        Self { place: Arc::clone(&self.place), ..Self::default() }
    }

    /// What the place of every document begins with.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The tenant of an id and its [`hash_of`].
    pub fn find(&self, hash: u64, id: &str) -> Option<&Row> {
        self.shard(hash)?.get(hash, id)
    }

    /// The tenant of an id.
    pub fn get(&self, id: &str) -> Option<Tenant<'_>> {
        Some(Tenant { table: self, row: self.find(hash_of(id), id)? })
    }

    /// Every tenant, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = Tenant<'_>> {
        self.shards.iter().flat_map(Shard::iter).map(|row| Tenant { table: self, row })
    }

    /// How many tenants there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The digest of their documents.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Every grid and cell that some tenant is pinned to, with the number that rows have for them.
    pub fn pins(&self) -> impl Iterator<Item = (u32, &Arc<Pin>)> {
        self.pins.iter()
    }

    /// All that some tenant says of limits, with the number that rows have for them.
    pub fn limits(&self) -> impl Iterator<Item = (u32, &Arc<OwnLimits>)> {
        self.limits.iter()
    }

    /// What rows with this number say of limits.
    pub fn limits_of(&self, number: u32) -> Option<&Arc<OwnLimits>> {
        self.limits.get(number)
    }

    /// Whether two are one and the same, not merely equal.
    pub fn same(&self, other: &TenantTable) -> bool {
        Arc::ptr_eq(&self.shards, &other.shards) && self.same_numbers(other)
    }

    /// Whether the numbers of pins and limits mean the same in both, for certain.
    pub fn same_numbers(&self, other: &TenantTable) -> bool {
        self.pins.same(&other.pins) && self.limits.same(&other.limits)
    }

    fn shard(&self, hash: u64) -> Option<&Shard> {
        self.shards.get(shard_of(hash, self.shards.len()))
    }

    /// Puts a tenant in, in the place of what was known of it.
    pub fn put(&mut self, raw: &raw::Tenant, model: &model::Tenant) {
        let pin = model.pin.as_ref().map(|pin| self.number_of_pin(pin));
        let limits = WrittenLimits::of(raw).map(|raw| self.number_of_limits(raw.json(), raw, &model.limits));
        self.put_new(Row::new(model.name.as_str(), pin.unwrap_or(NONE), limits.unwrap_or(NONE)));
    }

    /// Puts in what another table says of a tenant.
    pub fn put_from(&mut self, tenant: Tenant<'_>) {
        let pin = tenant.pin().map(|pin| self.number_of_pin(pin));
        let limits = tenant
            .shared_limits()
            .map(|own| self.limits.find(own.key()).unwrap_or_else(|| self.limits.add(Arc::clone(own))));
        self.put_new(Row::new(tenant.name(), pin.unwrap_or(NONE), limits.unwrap_or(NONE)));
    }

    /// Puts a tenant in, if its document is good by itself and written in the form of [`Tenant::json`]. Otherwise the
    /// table is unchanged, and the answer no.
    pub fn put_json(&mut self, name: &Name, json: &[u8]) -> bool {
        self.put_written(json, |written| written == name.as_str())
    }

    /// The same for a document of whatever tenant.
    pub fn put_any_json(&mut self, json: &[u8]) -> bool {
        self.put_written(json, |written| Name::tenant(written).is_ok())
    }

    fn put_written(&mut self, json: &[u8], name_fits: impl Fn(&str) -> bool) -> bool {
        let Ok(written) = serde_json::from_slice::<Written<'_>>(json) else { return false };
        if written.kind != KIND || !name_fits(written.name) {
            return false;
        }
        let name = written.name;
        let Some((pin, limits)) = self.numbers_of(written, json) else { return false };
        let row = Row::new(name, pin.unwrap_or(NONE), limits.unwrap_or(NONE));
        let mut canonical = Vec::with_capacity(json.len());
        Tenant { table: self, row: &row }.json(&mut canonical);
        let fits = canonical == json;
        if fits {
            self.put_row(row, Digest::of(&keys::document_of(Kind::Tenant, name), json));
        } else {
            self.forget_unused(pin, limits);
        }
        fits
    }

    /// The numbers of what a document says.
    fn numbers_of(&mut self, written: Written<'_>, json: &[u8]) -> Option<(Option<u32>, Option<u32>)> {
        let pin = match (written.grid, written.cell) {
            (None, None) => None,
            (Some(grid), Some(cell)) => Some([grid, cell]),
            (Some(_), None) | (None, Some(_)) => return None,
        };
        let limits = written.own_limits().map(|own| (own.json(), own));
        let known = (pin.map(|pin| self.pins.find(pin)), limits.as_ref().map(|(json, _)| self.limits.find([json, ""])));
        if known.0 != Some(None) && known.1 != Some(None) {
            return Some((known.0.flatten(), known.1.flatten()));
        }
        // Something in it is new: it is checked as every other document is.
        let parsed = parse("", json);
        let [document] = parsed.documents.as_slice() else { return None };
        let ModelDocument::Tenant(model) = convert(document).ok()? else { return None };
        let pin = model.pin.as_ref().map(|pin| self.number_of_pin(pin));
        let limits = limits.map(|(json, raw)| self.number_of_limits(json, raw, &model.limits));
        Some((pin, limits))
    }

    fn number_of_limits(&mut self, json: String, raw: WrittenLimits, model: &model::TenantLimits) -> u32 {
        let known = self.limits.find([&json, ""]);
        known.unwrap_or_else(|| self.limits.add(Arc::new(OwnLimits { json, raw, model: model.clone() })))
    }

    fn number_of_pin(&mut self, pin: &Pin) -> u32 {
        self.pins.find(pin.key()).unwrap_or_else(|| self.pins.add(Arc::new(pin.clone())))
    }

    fn put_new(&mut self, row: Row) {
        let digest = Tenant { table: self, row: &row }.digest();
        self.put_row(row, digest);
    }

    fn put_row(&mut self, row: Row, digest: Digest) {
        let hash = hash_of(row.name());
        self.count(&row, digest, true);
        if self.shards.is_empty() {
            self.shards = Arc::new([Shard::default()]);
        }
        let place = shard_of(hash, self.shards.len());
        let Some(shard) = Arc::make_mut(&mut self.shards).get_mut(place) else { return };
        if let Some(old) = shard.replace(hash, row.clone()) {
            self.count_out(&old);
            return;
        }
        shard.add(hash, row);
        self.len += 1;
        if self.len > self.shards.len() * ROWS {
            self.double();
        }
    }

    /// Takes a tenant out. Returns whether it was there.
    pub fn remove(&mut self, id: &str) -> bool {
        let hash = hash_of(id);
        if self.find(hash, id).is_none() {
            return false;
        }
        let place = shard_of(hash, self.shards.len());
        let shard = Arc::make_mut(&mut self.shards).get_mut(place);
        let Some(old) = shard.and_then(|shard| shard.remove(hash, id)) else { return false };
        self.len -= 1;
        self.count_out(&old);
        true
    }

    fn count_out(&mut self, row: &Row) {
        let digest = Tenant { table: self, row }.digest();
        self.count(row, digest, false);
    }

    /// Takes a row into account, or out of it.
    fn count(&mut self, row: &Row, digest: Digest, there: bool) {
        if there {
            self.digest.add(digest);
        } else {
            self.digest.remove(digest);
        }
        if let Some(number) = row.pin() {
            self.pins.count(number, there);
        }
        if let Some(number) = row.limits() {
            self.limits.count(number, there);
        }
    }

    /// Gives numbers back that nothing came of.
    fn forget_unused(&mut self, pin: Option<u32>, limits: Option<u32>) {
        if let Some(number) = pin {
            self.pins.count(number, true);
            self.pins.count(number, false);
        }
        if let Some(number) = limits {
            self.limits.count(number, true);
            self.limits.count(number, false);
        }
    }

    /// Twice as many shards. One is split at a time, so that no second table is needed.
    fn double(&mut self) {
        let mut shards = Vec::with_capacity(self.shards.len() * 2);
        let doubled = self.shards.len() * 2;
        let mut old = std::mem::take(&mut self.shards);
        for (n, shard) in Arc::make_mut(&mut old).iter_mut().enumerate() {
            shards.extend(std::mem::take(shard).split(|hash| shard_of(hash, doubled) > 2 * n));
        }
        self.shards = shards.into();
    }

    /// A table that says what `newer` says, and shares with `older` what is the same in both.
    #[must_use]
    pub fn sharing(older: &TenantTable, newer: TenantTable) -> TenantTable {
        let changes = newer.changes(older);
        if changes.len() > older.len() / 4 {
            return newer;
        }
        let mut shared = older.clone();
        shared.apply(&changes);
        shared
    }

    /// Makes changes of other tables.
    pub fn apply(&mut self, changes: &[TenantChange<'_>]) {
        for change in changes {
            match (change.after, change.before) {
                (Some(after), _) => self.put_from(after),
                (None, Some(before)) => drop(self.remove(before.name())),
                (None, None) => {}
            }
        }
    }

    /// What differs from an older table, in no particular order. Costs as much as there are shards that differ, if both
    /// come from one table.
    pub fn changes<'a>(&'a self, older: &'a TenantTable) -> Vec<TenantChange<'a>> {
        let same_numbers = self.same_numbers(older);
        let differs = |one: Tenant<'a>, other: Tenant<'a>| {
            if same_numbers {
                (one.row.pin(), one.row.limits()) != (other.row.pin(), other.row.limits())
            } else {
                one.pin() != other.pin() || one.limits_json() != other.limits_json()
            }
        };
        let alike = self.shards.len() == older.shards.len();
        let mut changes = Vec::new();
        let differing = |own: &'a TenantTable, other: &'a TenantTable| {
            let pairs = own.shards.iter().enumerate();
            let other =
                pairs.filter(move |(n, one)| !alike || other.shards.get(*n).is_none_or(|other| !one.same(other)));
            other.flat_map(|(_, shard)| shard.iter()).map(move |row| Tenant { table: own, row })
        };
        // Where nothing changes its number, equal shards have equal rows.
        let (own, old) = (differing(self, older), differing(older, self));
        for after in own {
            let before = older.find(hash_of(after.name()), after.name()).map(|row| Tenant { table: older, row });
            if before.is_none_or(|before| differs(after, before)) {
                changes.push(TenantChange { before, after: Some(after) });
            }
        }
        for before in old {
            if self.find(hash_of(before.name()), before.name()).is_none() {
                changes.push(TenantChange { before: Some(before), after: None });
            }
        }
        changes
    }
}

/// The shard of a hash.
fn shard_of(hash: u64, shards: usize) -> usize {
    (((hash >> 32) * shards as u64) >> 32) as usize
}

impl fmt::Debug for TenantTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantTable").field("len", &self.len).field("digest", &self.digest).finish_non_exhaustive()
    }
}

impl<'a> Tenant<'a> {
    /// Its row.
    pub fn row(&self) -> &'a Row {
        self.row
    }

    /// The tenant's id.
    pub fn name(&self) -> &'a str {
        self.row.name()
    }

    /// Its pin to a cell, if it has one.
    pub fn pin(&self) -> Option<&'a Pin> {
        Some(self.table.pins.get(self.row.pin()?)?.as_ref())
    }

    /// What it says of limits, if it says anything.
    pub fn limits(&self) -> Option<&'a OwnLimits> {
        self.shared_limits().map(|own| &**own)
    }

    fn shared_limits(&self) -> Option<&'a Arc<OwnLimits>> {
        self.table.limits.get(self.row.limits()?)
    }

    fn limits_json(&self) -> Option<&'a str> {
        self.limits().map(|own| own.json.as_str())
    }

    /// Its document in JSON, in place of what `into` held.
    pub fn json(&self, into: &mut Vec<u8>) {
        let pin = self.pin();
        Writing {
            kind: KIND,
            name: self.name(),
            grid: pin.map(|pin| pin.grid.as_str()),
            cell: pin.map(|pin| pin.cell.as_str()),
            limits: self.limits().map(|own| &own.raw),
        }
        .write(into);
    }

    /// The digest of its document.
    pub fn digest(&self) -> Digest {
        let mut json = Vec::with_capacity(128);
        self.json(&mut json);
        Digest::of(&keys::document_of(Kind::Tenant, self.name()), &json)
    }

    /// Where its document is, as shown to people.
    pub fn place(&self) -> String {
        format!("{}{}", self.table.place, self.name())
    }

    /// Its document, as it would have been read.
    pub fn source(&self) -> Option<Arc<SourceDocument>> {
        let mut json = Vec::new();
        self.json(&mut json);
        parse(&self.place(), &json).documents.pop()
    }
}

#[cfg(test)]
mod tests;
