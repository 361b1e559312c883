use proptest::prelude::*;
use serde_json::Value;

use super::*;

const VECTORS: &str = include_str!("../../../tests/fixtures/swrr.json");
const DEFAULT: Policy = Policy { max_fails: 1, fail_timeout_secs: 10 };

fn peer(weight: u32) -> PeerConfig {
    PeerConfig { weight, backup: false, down: false, max_connections: 0 }
}

fn backup(weight: u32) -> PeerConfig {
    PeerConfig { backup: true, ..peer(weight) }
}

fn group(weights: &[u32]) -> SmoothWeightedRoundRobin {
    SmoothWeightedRoundRobin::new(&weights.iter().map(|&weight| peer(weight)).collect::<Vec<_>>(), DEFAULT)
}

fn letter(index: Option<usize>) -> char {
    index.map_or('-', |index| char::from(b'a' + u8::try_from(index).unwrap()))
}

/// Requests that each try once and end at once with the same outcome, as letters.
fn run(balancer: &mut SmoothWeightedRoundRobin, times: impl IntoIterator<Item = u64>, outcome: Outcome) -> String {
    let mut picks = String::new();
    for now in times {
        let index = balancer.pick(now, &mut Tried::default());
        picks.push(letter(index));
        if let Some(index) = index {
            balancer.done(index, outcome, now);
        }
    }
    picks
}

fn current(balancer: &SmoothWeightedRoundRobin) -> Vec<i64> {
    balancer.peers.iter().map(|peer| peer.current_weight).collect()
}

#[test]
fn static_cycles_are_nginx_to_the_digit() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    for case in vectors["static"].as_array().unwrap() {
        let weights: Vec<u32> = serde_json::from_value(case["weights"].clone()).unwrap();
        let expected: Vec<Vec<i64>> = serde_json::from_value(case["cw_after_each_pick"].clone()).unwrap();
        let mut balancer = group(&weights);
        let mut sequence = String::new();
        for after in expected {
            sequence += &run(&mut balancer, [1000], Outcome::Ok);
            assert_eq!(current(&balancer), after, "{weights:?} after {sequence}");
        }
        assert_eq!(Some(sequence.as_str()), case["sequence"].as_str(), "{weights:?}");
    }
}

#[test]
fn failures_and_recovery_are_nginx_to_the_digit() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    for (name, scenario) in vectors["scenarios"].as_object().unwrap() {
        replay(name, scenario);
    }
}

fn replay(scenario_name: &str, scenario: &Value) {
    let peers = scenario["peers"].as_array().unwrap();
    let names: Vec<&str> = peers.iter().map(|peer| peer["name"].as_str().unwrap()).collect();
    let number = |value: &Value, default: u64| u32::try_from(value.as_u64().unwrap_or(default)).unwrap();
    let mut balancer = SmoothWeightedRoundRobin::new(
        &peers
            .iter()
            .map(|p| PeerConfig { down: p["down"].as_bool().unwrap_or(false), ..peer(number(&p["weight"], 1)) })
            .collect::<Vec<_>>(),
        DEFAULT,
    );
    for (ours, theirs) in balancer.peers.iter_mut().zip(peers) {
        ours.max_fails = number(&theirs["max_fails"], 1);
    }
    for (step, trace) in scenario["trace"].as_array().unwrap().iter().enumerate() {
        let now = trace["t"].as_u64().unwrap();
        let mut tried = Tried::default();
        let peeked = balancer.peek(now, &tried);
        let picked = balancer.pick(now, &mut tried);
        assert_eq!(peeked, picked, "{scenario_name} step {step}");
        assert_eq!(picked.map(|index| names[index]), trace["pick"].as_str(), "{scenario_name} step {step}");
        let Some(index) = picked else { continue };
        let outcome = if trace["result"] == "fail" { Outcome::Failed } else { Outcome::Ok };
        balancer.done(index, outcome, now);
        for (peer, name) in balancer.peers.iter().zip(&names) {
            let seen = (peer.current_weight, peer.effective_weight, u64::from(peer.fails));
            let field = |field: &str| trace[field][name].as_i64().unwrap();
            let expected = (field("cw"), field("ew"), trace["fails"][name].as_u64().unwrap());
            assert_eq!(seen, expected, "{scenario_name} step {step}, peer {name}");
        }
    }
}

#[test]
fn a_single_peer_is_never_left_out() {
    let mut balancer = group(&[1]);
    assert_eq!(run(&mut balancer, [1000; 4], Outcome::Failed), "aaaa");
    let mut tried = Tried::default();
    assert_eq!(balancer.pick(1000, &mut tried), Some(0));
    assert_eq!(balancer.pick(1000, &mut tried), None, "one request does not try the same peer twice");
}

#[test]
fn a_primary_with_a_backup_is_not_single() {
    let mut balancer = SmoothWeightedRoundRobin::new(&[peer(1), backup(1)], DEFAULT);
    assert_eq!(run(&mut balancer, [1000; 3], Outcome::Failed), "ab-");
    assert_eq!(run(&mut balancer, [1010, 1011], Outcome::Ok), "-a");
}

#[test]
fn backups_serve_while_all_primaries_are_out() {
    let mut balancer = SmoothWeightedRoundRobin::new(&[peer(1), peer(1), backup(2), backup(1)], DEFAULT);
    assert_eq!(run(&mut balancer, [1000; 2], Outcome::Failed), "ab");
    assert_eq!(run(&mut balancer, 1000..1006, Outcome::Ok), "cdccdc");
    // The first primary still owes the round that it won, and is worth nothing yet.
    assert_eq!(run(&mut balancer, [1011; 2], Outcome::Ok), "bb");
}

#[test]
fn a_request_that_went_to_the_backups_stays_there() {
    let mut balancer = SmoothWeightedRoundRobin::new(&[peer(1), backup(1), backup(1)], DEFAULT);
    let mut tried = Tried::default();
    assert_eq!(balancer.pick(1000, &mut tried), Some(0));
    balancer.done(0, Outcome::Failed, 1000);
    assert_eq!(balancer.pick(1000, &mut tried), Some(1));
    balancer.done(1, Outcome::Failed, 1000);
    assert_eq!(balancer.pick(1000, &mut tried), Some(2));
    assert_eq!(balancer.pick(1000, &mut tried), None);
}

#[test]
fn full_peers_are_passed_over() {
    let bounded = PeerConfig { max_connections: 1, ..peer(5) };
    let mut balancer = SmoothWeightedRoundRobin::new(&[bounded, peer(1)], DEFAULT);
    let pick = |balancer: &mut SmoothWeightedRoundRobin| balancer.pick(1000, &mut Tried::default());
    assert_eq!([pick(&mut balancer), pick(&mut balancer)], [Some(0), Some(1)]);
    assert_eq!(balancer.view(0, 1000).map(|view| (view.connections, view.available)), Some((1, false)));
    balancer.done(0, Outcome::Ok, 1000);
    assert_eq!(pick(&mut balancer), Some(0));
}

#[test]
fn retries_try_every_peer_once_beyond_64_too() {
    let mut balancer = group(&[1; 130]);
    let mut tried = Tried::default();
    let mut seen: Vec<usize> = std::iter::from_fn(|| balancer.pick(1000, &mut tried)).collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..130).collect::<Vec<_>>());
}

#[test]
fn a_clock_that_goes_back_keeps_failed_peers_out() {
    let mut balancer = group(&[1, 1]);
    assert_eq!(run(&mut balancer, [1000], Outcome::Failed), "a");
    assert_eq!(run(&mut balancer, [10, 500, 1010], Outcome::Ok), "bbb");
}

#[test]
fn a_random_phase_is_a_point_of_the_same_cycle() {
    for seed in 0..20 {
        let mut balancer = group(&[5, 1, 1]);
        balancer.start_at_random_phase(seed);
        let shift = usize::try_from(seed % 7).unwrap();
        let expected: String = "aabacaa".chars().cycle().skip(shift).take(7).collect();
        assert_eq!(run(&mut balancer, [1000; 7], Outcome::Ok), expected, "seed {seed}");
    }
    let mut equal = group(&[100, 100]);
    equal.start_at_random_phase(3);
    assert_eq!(run(&mut equal, [1000; 2], Outcome::Ok), "ba", "the cycle of equal weights is short");
    SmoothWeightedRoundRobin::new(&[PeerConfig { down: true, ..peer(1) }], DEFAULT).start_at_random_phase(9);
    SmoothWeightedRoundRobin::new(&[], DEFAULT).start_at_random_phase(9);
}

#[test]
fn what_was_learned_outlives_an_edit() {
    let mut old = group(&[4, 2, 1]);
    assert_eq!(run(&mut old, [1000], Outcome::Failed), "a");
    let in_flight = old.pick(1001, &mut Tried::default());
    assert_eq!(in_flight, Some(1));

    let mut reordered = group(&[1, 2, 4, 7]);
    reordered.carry_over(&old, |index| [Some(2), Some(1), Some(0), None][index]);
    assert_eq!(current(&reordered), [2, 1, -3, 0], "a peer that joins changes no position");
    assert_eq!(reordered.view(2, 1010).map(|view| (view.fails, view.available)), Some((1, false)));
    assert_eq!(reordered.view(1, 1010).map(|view| view.connections), Some(1));

    let mut lighter = group(&[2, 2, 1]);
    lighter.carry_over(&old, Some);
    let effective: Vec<i64> = lighter.peers.iter().map(|peer| peer.effective_weight).collect();
    assert_eq!(effective, [0, 2, 1]);
    let mut heavier = group(&[4, 9, 1]);
    heavier.carry_over(&old, Some);
    assert_eq!(heavier.peers[1].effective_weight, 9, "a healthy peer has its new weight at once");
}

#[test]
fn a_peer_that_leaves_starts_a_new_cycle() {
    let mut old = group(&[4, 2, 1]);
    assert_eq!(run(&mut old, [1000, 1000], Outcome::Ok), "ab");
    let mut fewer = group(&[4, 2]);
    fewer.carry_over(&old, Some);
    assert_eq!(current(&fewer), [0, 0]);

    let mut demoted = SmoothWeightedRoundRobin::new(&[peer(4), peer(2), backup(1)], DEFAULT);
    demoted.carry_over(&old, Some);
    assert_eq!(current(&demoted), [0, 0, 0]);
}

#[test]
fn a_finish_that_matches_no_pick_is_harmless() {
    let mut balancer = group(&[1, 1]);
    balancer.done(0, Outcome::Ok, 1000);
    balancer.done(99, Outcome::Failed, 1000);
    assert_eq!(balancer.view(0, 1000).map(|view| view.connections), Some(0));
    assert_eq!(balancer.view(99, 1000), None);
}

/// nginx's procedure, one statement after the other, for lists that are not a single peer.
struct Nginx {
    peers: Vec<Peer>,
}

impl Nginx {
    fn pick(&mut self, now: u64, request: &mut (Vec<usize>, bool)) -> Option<usize> {
        let (tried, on_backups) = request;
        if !*on_backups {
            if let Some(index) = self.pick_of(false, now, tried) {
                return Some(index);
            }
            *on_backups = true;
            tried.clear();
        }
        self.pick_of(true, now, tried)
    }

    fn pick_of(&mut self, backup: bool, now: u64, tried: &mut Vec<usize>) -> Option<usize> {
        let (mut total, mut best) = (0, None::<usize>);
        for index in 0..self.peers.len() {
            let peer = &mut self.peers[index];
            let out = peer.max_fails > 0 && peer.fails >= peer.max_fails && now - peer.checked <= 3;
            let full = peer.max_connections > 0 && peer.connections >= peer.max_connections;
            if peer.backup != backup || tried.contains(&index) || peer.down || out || full {
                continue;
            }
            peer.current_weight += peer.effective_weight;
            total += peer.effective_weight;
            if peer.effective_weight < peer.weight {
                peer.effective_weight += 1;
            }
            if best.is_none_or(|best| self.peers[index].current_weight > self.peers[best].current_weight) {
                best = Some(index);
            }
        }
        let peer = &mut self.peers[best?];
        peer.current_weight -= total;
        if now - peer.checked > 3 {
            peer.checked = now;
        }
        peer.connections += 1;
        tried.extend(best);
        best
    }

    fn done(&mut self, index: usize, failed: bool, now: u64) {
        let peer = &mut self.peers[index];
        if failed {
            peer.fails += 1;
            (peer.accessed, peer.checked) = (now, now);
            if peer.max_fails > 0 {
                peer.effective_weight -= peer.weight / i64::from(peer.max_fails);
            }
            peer.effective_weight = peer.effective_weight.max(0);
        } else if peer.accessed < peer.checked {
            peer.fails = 0;
        }
        peer.connections -= 1;
    }
}

proptest! {
    /// Over one cycle of healthy peers each gets exactly its weight, and the positions return to where they were.
    #[test]
    fn a_cycle_gives_each_its_weight(weights in prop::collection::vec(1_u32..20, 1..10), seed: u64) {
        let mut balancer = group(&weights);
        balancer.start_at_random_phase(seed);
        let before = current(&balancer);
        prop_assert_eq!(before.iter().sum::<i64>(), 0);
        let mut counts = vec![0_u32; weights.len()];
        for _ in 0..weights.iter().sum::<u32>() {
            let index = balancer.pick(1000, &mut Tried::default()).unwrap();
            balancer.done(index, Outcome::Ok, 1000);
            counts[index] += 1;
        }
        prop_assert_eq!(counts, weights);
        prop_assert_eq!(current(&balancer), before);
    }

    /// Random failures, pauses and retries against nginx's procedure written down step by step.
    #[test]
    fn agrees_with_the_procedure_of_nginx(
        configs in prop::collection::vec((1_u32..9, any::<bool>(), prop::bool::weighted(0.1), 0_u32..3), 2..8),
        max_fails in 0_u32..4,
        events in prop::collection::vec((0_u64..6, any::<bool>(), 0_usize..3, any::<bool>()), 1..200),
    ) {
        let configs: Vec<_> = configs
            .into_iter()
            .map(|(weight, backup, down, max_connections)| PeerConfig { weight, backup, down, max_connections })
            .collect();
        let mut ours = SmoothWeightedRoundRobin::new(&configs, Policy { max_fails, fail_timeout_secs: 3 });
        let mut theirs = Nginx { peers: configs.iter().map(|&config| Peer::new(config, max_fails)).collect() };
        let (mut now, mut in_flight) = (1_000, vec![]);
        for (pause, fails, retries, stays) in events {
            now += pause;
            let (mut tried, mut reference) = (Tried::default(), (vec![], false));
            for _ in 0..=retries {
                let picked = ours.pick(now, &mut tried);
                prop_assert_eq!(picked, theirs.pick(now, &mut reference));
                in_flight.extend(picked);
            }
            for index in in_flight.drain(usize::from(stays).min(in_flight.len())..) {
                ours.done(index, if fails { Outcome::Failed } else { Outcome::Ok }, now);
                theirs.done(index, fails, now);
            }
            prop_assert_eq!(format!("{:?}", ours.peers), format!("{:?}", theirs.peers));
        }
    }

    /// Whatever happens, a look says what the next pick does, and the positions of all peers add up to 0.
    #[test]
    fn a_look_tells_the_next_pick(
        weights in prop::collection::vec((1_u32..9, any::<bool>()), 1..8),
        events in prop::collection::vec((0_u64..8, any::<bool>(), 0_usize..3), 1..200),
    ) {
        let configs: Vec<_> = weights.iter().map(|&(weight, backup)| PeerConfig { backup, ..peer(weight) }).collect();
        let mut balancer = SmoothWeightedRoundRobin::new(&configs, Policy { max_fails: 2, fail_timeout_secs: 3 });
        let mut now = 0;
        for (pause, fails, retries) in events {
            now += pause;
            let mut tried = Tried::default();
            for _ in 0..=retries {
                let peeked = balancer.peek(now, &tried);
                prop_assert_eq!(peeked, balancer.pick(now, &mut tried));
                let Some(index) = peeked else { break };
                balancer.done(index, if fails { Outcome::Failed } else { Outcome::Ok }, now);
            }
            prop_assert_eq!(current(&balancer).iter().sum::<i64>(), 0);
        }
    }
}
