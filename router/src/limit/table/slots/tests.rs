use std::collections::HashSet;
use std::time::Duration;

use gridrouter_config::model;
use gridrouter_config::units::Rate;
use proptest::prelude::*;

use super::*;
use crate::limit::Prepared;

fn entry(key: u64) -> Entry {
    let rate = Rate { count: 1, per: Duration::from_secs(1) };
    let limit = Prepared::new(&model::Algorithm::TokenBucket(model::TokenBucket { rate, burst: 1 }));
    Entry::new(key, limit.fresh(0))
}

/// Another key for each number, anywhere.
fn spread(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 1
}

/// A key whose home is this part of all places, of 256.
fn key(part: u8, other: u8) -> u64 {
    u64::from(other) << 40 | u64::from(part) << 24
}

#[test]
fn an_empty_place_takes_no_more_than_an_entry() {
    assert_eq!(size_of::<Option<Entry>>(), 32);
}

#[test]
fn it_grows_up_to_what_there_is_room_for() {
    for bytes in [0, 36, 71, 72, 100, 600, 36_000, 36_036] {
        let mut slots = Slots::new(bytes);
        let places = (bytes / 36).max(2);
        assert_eq!((slots.most(), slots.bytes()), (places * 5 / 8, 0));
        for number in 0..slots.most() as u64 {
            slots.insert(entry(spread(number)), &Whereabouts::default());
        }
        assert_eq!((slots.len(), slots.from(7).count()), (slots.most(), slots.most()));
        assert!(slots.bytes() <= bytes.max(72) / 9 * 8, "{} bytes of {bytes}", slots.bytes());
    }
}

/// What is fetched is what is looked at first, also after the table has grown.
#[test]
fn what_is_fetched_is_where_an_entry_should_be() {
    let (mut slots, whereabouts) = (Slots::new(1 << 20), Whereabouts::default());
    whereabouts.fetch(7);
    for key in (0..1_000).map(spread) {
        slots.insert(entry(key), &whereabouts);
        assert_eq!(whereabouts.address_of(key), std::ptr::from_ref(&slots.places[slots.home(key)]).addr());
        whereabouts.fetch(key);
    }
}

fn place_of(slots: &Slots, key: u64) -> Option<Place> {
    slots.from(0).find(|(_, entry)| entry.is_of(key)).map(|(at, _)| at)
}

proptest! {
    /// Whatever comes and goes, and however many should be at one place: what is there is found, and nothing else is.
    #[test]
    fn it_is_a_map(
        steps in prop::collection::vec((any::<bool>(), prop_oneof![0..=255_u8, 250..=255_u8, 0..4_u8], 0..3_u8), 0..400),
        most in 2..200_usize,
    ) {
        let mut slots = Slots::new(most * 36);
        let mut model = HashSet::new();
        for (comes, part, other) in steps {
            let key = key(part, other);
            let found = place_of(&slots, key);
            prop_assert_eq!(slots.find(key).is_some(), model.contains(&key));
            prop_assert_eq!(found.is_some(), model.contains(&key));
            match found {
                Some(at) if !comes => {
                    let removed = slots.remove(at);
                    prop_assert!(removed.is_some_and(|entry| entry.is_of(key)));
                    model.remove(&key);
                }
                None if comes && slots.len() < slots.most() => {
                    slots.insert(entry(key), &Whereabouts::default());
                    model.insert(key);
                }
                _ => {}
            }
            prop_assert_eq!(slots.len(), model.len());
            for key in &model {
                prop_assert!(slots.find(*key).is_some_and(|entry| entry.is_of(*key)), "{:x}", key);
                let at = place_of(&slots, *key);
                prop_assert!(at.and_then(|at| slots.at(at)).is_some_and(|entry| entry.is_of(*key)), "{:x}", key);
            }
            prop_assert_eq!(slots.from(usize::from(part)).count(), model.len());
        }
    }
}
