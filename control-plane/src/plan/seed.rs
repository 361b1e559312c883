//! Which seed a shift gets: the one whose ranks split the known tenants best. Pure.
//!
//! A hash deals tenants like dice: of 1,000 tenants, half is 500 ± 16 by chance. Among some hundred seeds there is one
//! with which every step of the shift gets almost exactly its share.

use gridrouter::placement::split::{is_within, rank};
use gridrouter_config::units::Percent;

/// Seeds that are tried.
const SEEDS: u32 = 512;
/// Tenants that are looked at: with more than that, chance is small enough.
const TENANTS: usize = 20_000;

/// A seed, and what it makes of the known tenants.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    /// The seed.
    pub seed: u32,
    /// The biggest difference between a step's weight and its share of the tenants, as a fraction.
    pub off_by: f64,
}

/// The best seed for tenants of these hashes, cell by cell, at these weights; nothing without tenants.
pub fn choose(cells: &[Vec<u64>], weights: &[Percent]) -> Option<Chosen> {
    let cells: Vec<&[u64]> = cells
        .iter()
        .filter(|tenants| !tenants.is_empty())
        .map(|tenants| &tenants[..tenants.len().min(TENANTS)])
        .collect();
    if cells.is_empty() {
        return None;
    }
    let mut best: Option<Chosen> = None;
    for seed in 0..SEEDS {
        let bound = best.as_ref().map_or(f64::INFINITY, |best| best.off_by);
        if bound <= 0.0 {
            break;
        }
        if let Some(off_by) = worst(&cells, weights, seed, bound) {
            best = Some(Chosen { seed, off_by });
        }
    }
    best
}

/// How far off a seed is, over all cells together at the worst weight; nothing if that is not below the bound.
fn worst(cells: &[&[u64]], weights: &[Percent], seed: u32, bound: f64) -> Option<f64> {
    let all: usize = cells.iter().map(|tenants| tenants.len()).sum();
    let mut worst = 0.0_f64;
    for weight in weights.iter().filter(|weight| (Percent::NONE..Percent::ALL).contains(weight)) {
        let off = |tenants: &[&[u64]], all: usize| {
            let on = tenants.iter().flat_map(|tenants| tenants.iter());
            let on = on.filter(|hash| is_within(rank(**hash, u64::from(seed)), *weight)).count();
            (on as f64 / all as f64 - weight.fraction()).abs()
        };
        worst = worst.max(off(cells, all));
        // Cells move one after the other, so that each should have its share; but one with few tenants cannot.
        for tenants in cells.iter().filter(|tenants| tenants.len() >= 200) {
            worst = worst.max(off(&[tenants], tenants.len()) / 2.0);
        }
        if worst >= bound {
            return None;
        }
    }
    Some(worst)
}

#[cfg(test)]
mod tests {
    use gridrouter::placement::hash_of;

    use super::*;

    fn tenants(from: u32, to: u32) -> Vec<u64> {
        (from..to).map(|number| hash_of(format!("tenant-{number}").as_bytes())).collect()
    }

    #[test]
    fn a_thousand_tenants_are_split_to_a_hundredth_at_every_step() {
        let weights = [1, 10, 25, 50, 75, 90, 100].map(|percent| Percent::of_hundredths(percent * 100));
        for cells in [vec![tenants(0, 1_000)], vec![tenants(0, 500), tenants(500, 1_000)], vec![tenants(0, 10_000)]] {
            let chosen = choose(&cells, &weights).unwrap();
            assert!(chosen.off_by < 0.01, "{chosen:?}");
        }
        let chosen = choose(&[tenants(0, 10_000)], &weights).unwrap();
        assert!(chosen.off_by < 0.003, "{chosen:?}");
    }

    #[test]
    fn without_tenants_there_is_nothing_to_choose_by() {
        assert_eq!(choose(&[], &[Percent::ALL]), None);
        assert_eq!(choose(&[vec![]], &[Percent::ALL]), None);
        assert_eq!(choose(&[vec![1]], &[]), Some(Chosen { seed: 0, off_by: 0.0 }));
    }
}
