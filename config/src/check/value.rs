//! Names, numbers, durations and lists, as every kind has them.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::Check;
use crate::ids::Name;
use crate::path::Path;
use crate::problem::quoted;
use crate::units::parse_duration;

impl Check<'_> {
    /// The name of another document, which may or may not exist.
    pub(super) fn reference(&mut self, path: &Path<'_>, text: &str) -> Option<Name> {
        self.take(path, Name::parse(text))
    }

    /// Names of other documents, none twice.
    pub(super) fn references(&mut self, path: &Path<'_>, texts: &[String]) -> Option<Vec<Name>> {
        self.unique(path, texts, |text| quoted(text), String::clone);
        let names: Vec<Option<Name>> =
            texts.iter().enumerate().map(|(n, text)| self.reference(&path.index(n), text)).collect();
        names.into_iter().collect()
    }

    /// Notes every item of a list that is there already.
    pub(super) fn unique<T, K: Ord>(
        &mut self,
        path: &Path<'_>,
        items: &[T],
        show: impl Fn(&T) -> String,
        key: impl Fn(&T) -> K,
    ) {
        let mut seen = BTreeSet::new();
        for (n, item) in items.iter().enumerate() {
            if !seen.insert(key(item)) {
                self.wrong_but(&path.index(n), format!("{} is listed twice", show(item)), "remove one of the two");
            }
        }
    }

    /// A whole number within bounds, or the default.
    pub(super) fn number(
        &mut self,
        path: &Path<'_>,
        what: &str,
        value: Option<u32>,
        range: RangeInclusive<u32>,
        default: u32,
    ) -> Option<u32> {
        let Some(number) = value else { return Some(default) };
        if range.contains(&number) {
            return Some(number);
        }
        self.wrong_but(path, format!("{what} is {number}"), format!("write {} to {}", range.start(), range.end()));
        None
    }

    /// A duration, or the default.
    pub(super) fn duration(&mut self, path: &Path<'_>, text: Option<&String>, default: Duration) -> Option<Duration> {
        text.map_or(Some(default), |text| self.take(path, parse_duration(text)))
    }
}

/// What there is of a list of things that were looked at one by one, if all of them were good.
pub(super) fn all<T>(items: impl Iterator<Item = Option<T>>) -> Option<Vec<T>> {
    // Collecting into an Option would stop at the first that is bad and leave the rest unchecked.
    let items: Vec<Option<T>> = items.collect();
    items.into_iter().collect()
}
