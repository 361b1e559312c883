//! Which of two tracks a request is on while a shift moves a share of the traffic.
//!
//! Every tenant has a rank, which follows from its id and the shift's seed: a fixed place among all tenants. The lowest
//! share of the ranks is on the new track. So a rising share only adds tenants, a falling one only takes back those that
//! came last, and every router says the same of a tenant without having to remember or to be told anything.
//!
//! Ranks are a wire format, as all of placement's hashes: the tests pin them.

use gridrouter_config::units::Percent;

/// The rank of a tenant: its place among all, as a fraction of 2^64. `hash` is [`hash_of`](super::hash_of) its id.
///
/// The hash decides on the tenant's bucket too; what comes out here is independent of that, and of other seeds: it is
/// `SplitMix64`'s finalizer (Steele, Lea, Flood 2014) over both.
pub fn rank(hash: u64, seed: u64) -> u64 {
    let mut mixed = hash ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Whether a rank is among the lowest share of all. At 0 % none is, at 100 % every one.
pub fn is_within(rank: u64, share: Percent) -> bool {
    // As exact as the rank: no share is rounded to a power of two.
    let place = (u128::from(rank) * 10_000) >> 64;
    place < u128::from(share.hundredths())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::placement::{bucket_of_hash, hash_of};

    fn tenants(count: u32) -> impl Iterator<Item = u64> {
        (0..count).map(|number| hash_of(format!("tenant-{number}").as_bytes()))
    }

    #[test]
    fn ranks_stay_what_they_are() {
        for (tenant, seed, wanted) in [
            ("acme", 0, 0xbf0c_3afa_d583_fdb8),
            ("acme", 1, 0x1b30_821d_b597_6e61),
            ("tenant-0", 7, 0xdf33_a3c0_89d2_b998),
        ] {
            assert_eq!(rank(hash_of(tenant.as_bytes()), seed), wanted, "{tenant} {seed}");
        }
    }

    #[test]
    fn the_share_of_many_tenants_is_what_it_should_be() {
        const TENANTS: u32 = 100_000;
        for seed in 0..8 {
            for hundredths in [100, 1_000, 2_500, 5_000, 9_900] {
                let share = Percent::of_hundredths(hundredths);
                let on = tenants(TENANTS).filter(|hash| is_within(rank(*hash, seed), share)).count();
                let found = on as f64 / f64::from(TENANTS);
                // Five times the standard deviation of a fair draw.
                let deviation = (share.fraction() * (1.0 - share.fraction()) / f64::from(TENANTS)).sqrt();
                assert!((found - share.fraction()).abs() < 5.0 * deviation, "seed {seed}, {share}: {found}");
            }
        }
    }

    #[test]
    fn ranks_depend_neither_on_the_bucket_nor_on_another_shift() {
        let share = Percent::of_hundredths(5_000);
        let (mut by_bucket, mut both, mut first) = ([0_u32; 16], 0_u32, 0_u32);
        for hash in tenants(64_000) {
            let one = is_within(rank(hash, 1), share);
            if one {
                by_bucket[usize::from(bucket_of_hash(hash)) % 16] += 1;
                first += 1;
                both += u32::from(is_within(rank(hash, 2), share));
            }
        }
        assert!(by_bucket.iter().all(|count| (1_800..2_200).contains(count)), "{by_bucket:?}");
        assert!((0.48..0.52).contains(&(f64::from(both) / f64::from(first))), "{both} of {first}");
    }

    proptest! {
        #[test]
        fn a_rising_share_only_adds(hash: u64, seed: u64, one in 0_u16..=10_000, other in 0_u16..=10_000) {
            let (less, more) = (Percent::of_hundredths(one.min(other)), Percent::of_hundredths(one.max(other)));
            let rank = rank(hash, seed);
            prop_assert!(!is_within(rank, less) || is_within(rank, more));
            prop_assert!(!is_within(rank, Percent::NONE));
            prop_assert!(is_within(rank, Percent::ALL));
        }
    }
}
