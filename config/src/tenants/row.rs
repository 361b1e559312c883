//! What is known of one tenant.

/// Bytes of an id that are kept in place. A UUID has 36.
const SHORT: usize = 47;
/// In place of a number: there is none.
pub(super) const NONE: u32 = u32::MAX;

/// What is known of one tenant: 64 bytes, one cache line. Values that many tenants share are numbers, which the table
/// knows the meaning of.
#[derive(Debug, Clone)]
#[repr(align(64))]
pub struct Row {
    /// Bytes of the id; none where there is no tenant.
    len: u8,
    /// The id, unless it is longer.
    id: [u8; SHORT],
    pin: u32,
    limits: u32,
    /// The id, where it is too long to be in place. Boxed twice, because a fat pointer would not fit into the line.
    #[expect(clippy::box_collection, reason = "one pointer, and not three words")]
    long: Option<Box<String>>,
}

impl Row {
    /// No tenant.
    pub(super) const EMPTY: Row = Row { len: 0, id: [0; SHORT], pin: NONE, limits: NONE, long: None };

    /// A tenant, whose id has at most 128 bytes.
    pub(super) fn new(name: &str, pin: u32, limits: u32) -> Self {
        let mut id = [0; SHORT];
        let mut long = None;
        match id.get_mut(..name.len()) {
            Some(place) => place.copy_from_slice(name.as_bytes()),
            None => long = Some(Box::new(name.to_owned())),
        }
        Self { len: name.len() as u8, id, pin, limits, long }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether this is the tenant of an id, which is not empty.
    pub(super) fn is(&self, id: &str) -> bool {
        usize::from(self.len) == id.len()
            && match &self.long {
                None => self.id.get(..id.len()) == Some(id.as_bytes()),
                Some(long) => long.as_str() == id,
            }
    }

    /// The tenant's id.
    pub fn name(&self) -> &str {
        match &self.long {
            None => {
                self.id.get(..usize::from(self.len)).and_then(|id| std::str::from_utf8(id).ok()).unwrap_or_default()
            }
            Some(long) => long,
        }
    }

    /// The number of its pin in [`super::TenantTable::pins`], if it has one.
    pub fn pin(&self) -> Option<u32> {
        (self.pin != NONE).then_some(self.pin)
    }

    /// The number of what it says of limits in [`super::TenantTable::limits`], if it says anything.
    pub fn limits(&self) -> Option<u32> {
        (self.limits != NONE).then_some(self.limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_one_cache_line() {
        assert_eq!((size_of::<Row>(), align_of::<Row>()), (64, 64));
    }

    #[test]
    fn ids_of_any_length_are_told_apart() {
        for length in 1..=128 {
            let ids = ["a", "b"].map(|end| "x".repeat(length - 1) + end);
            let rows = ids.clone().map(|id| Row::new(&id, 1, NONE));
            for (n, row) in rows.iter().enumerate() {
                assert_eq!(row.name(), ids[n]);
                assert!(row.is(&ids[n]) && !row.is(&ids[1 - n]) && !row.is("a\0") && !row.is(""), "{}", ids[n]);
                assert_eq!((row.pin(), row.limits()), (Some(1), None));
            }
        }
    }
}
