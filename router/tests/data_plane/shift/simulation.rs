//! Whole populations of tenants, decided on without sockets.

use std::collections::BTreeSet;
use std::sync::Arc;

use gridrouter::clock::Nanos;
use gridrouter::http::fields::Fields;
use gridrouter::http::target;
use gridrouter::limit::table::LimitTable;
use gridrouter::pipeline::admission::Admission;
use gridrouter::pipeline::decide::{Destination, Facts, decide};
use gridrouter::pipeline::track::Why;
use gridrouter::snapshot::Snapshot;
use gridrouter::snapshot::compile::compile;
use gridrouter::snapshot::names::Names;
use gridrouter_config::codec::parse;
use gridrouter_config::generation::{InForce, advance};
use gridrouter_config::tenants::TenantTable;
use gridrouter_config::track::Track;
use http::{Method, Uri, Version};
use proptest::prelude::*;

const TENANTS: usize = 10_000;

const SITE: &str = "\
kind: Listener
name: web
address: 127.0.0.1:80
---
kind: Grid
name: grid
cells: [one, two]
---
kind: Cell
name: one
---
kind: Cell
name: two
---
kind: Service
name: all
cells:
  one: {blue: [{address: 127.0.0.1:1}], green: [{address: 127.0.0.1:2}]}
  two: {blue: [{address: 127.0.0.1:3}], green: [{address: 127.0.0.1:4}]}
---
kind: Service
name: other
endpoints: {blue: [{address: 127.0.0.1:5}], green: [{address: 127.0.0.1:6}], active: green}
---
kind: Route
name: all
service: all
grid: grid
tenant: {from: [{header: x-tenant}], otherwise: reject}
---
kind: Route
name: other
hosts: [other]
service: other
";

fn shift(phase: &str, share: &str, lines: &str) -> String {
    format!(
        "kind: Shift\nname: move\nservice: all\nto: green\nwaves: [{{cells: [one]}}, {{cells: [two]}}]\nsteps: \
         [{{weight: 100%}}]\nstate: {{phase: {phase}, shares: {{one: {share}, two: {share}}}, started: 1, since: \
         1}}\n{lines}"
    )
}

/// A router without sockets: what is in force, and what was compiled of it.
struct Simulation {
    in_force: InForce,
    names: Names,
    snapshot: Snapshot,
    limits: LimitTable,
}

impl Simulation {
    fn new(shift: &str) -> Self {
        let in_force = in_force(None, shift);
        let mut names = Names::default();
        let model = Arc::clone(in_force.model());
        let snapshot = compile(model, Arc::default(), Arc::default(), 1, "".into(), None, &mut names);
        Self { in_force, names, snapshot, limits: LimitTable::new(1 << 20) }
    }

    /// Another shift in the place of the one before. Returns the snapshot before.
    fn change(&mut self, shift: &str) -> Snapshot {
        self.in_force = in_force(Some(&self.in_force), shift);
        let model = Arc::clone(self.in_force.model());
        let registrations = Arc::clone(&self.snapshot.registrations);
        let next = compile(model, registrations, Arc::default(), 2, "".into(), Some(&self.snapshot), &mut self.names);
        std::mem::replace(&mut self.snapshot, next)
    }

    /// The label of the group that a request goes to, its track, and why. One without header lines goes to another service.
    fn decide(&self, lines: &[(&str, &str)], dice: u64) -> (String, Option<(Track, Why)>) {
        let host = [("host", if lines.is_empty() { "other" } else { "a" })];
        let headers: Fields = host.iter().chain(lines).copied().collect();
        let uri = Uri::from_static("/");
        let target = target::check(&Method::GET, &uri, Version::HTTP_11, &headers, false).unwrap();
        let facts = Facts {
            listener: 0,
            peer: [192, 0, 2, 7].into(),
            peer_network: self.snapshot.keys.network([192, 0, 2, 7].into()),
            trusted_proxies: &[],
            method: &Method::GET,
            headers: &headers,
            target: &target,
            certificate: None,
        };
        let mut admission = Admission::default();
        let decision = decide(&self.snapshot, &facts, &self.limits, || dice, Nanos(0), &mut admission).unwrap();
        let Destination::Endpoint { group, on, .. } = decision.destination else { panic!("it is forwarded") };
        assert!(on.is_none_or(|on| on.track == group.track), "the group is the track's");
        (group.label.to_string(), on.map(|on| (on.track, on.why())))
    }

    /// The tenants on the new track.
    fn moved(&self) -> BTreeSet<usize> {
        let is_green = |number: &usize| {
            let (label, _) = self.decide(&[("x-tenant", &format!("tenant-{number}"))], 0);
            label.ends_with("/green")
        };
        (0..TENANTS).filter(is_green).collect()
    }
}

fn in_force(before: Option<&InForce>, shift: &str) -> InForce {
    let parsed = [parse("site", SITE.as_bytes()), parse("shift", shift.as_bytes())];
    let advanced = advance(before, &parsed, &TenantTable::default());
    assert!(advanced.quarantined.is_empty(), "{:?}", advanced.quarantined);
    advanced.in_force
}

#[test]
fn a_share_of_the_tenants_is_that_share_and_rising_only_adds() {
    let mut simulation = Simulation::new(&shift("Running", "0%", ""));
    assert_eq!(simulation.moved(), BTreeSet::new());
    let mut before = BTreeSet::new();
    let mut steps = Vec::new();
    for percent in [1, 10, 50, 90, 99, 100] {
        simulation.change(&shift("Running", &format!("{percent}%"), ""));
        let moved = simulation.moved();
        let wanted = TENANTS * percent / 100;
        assert!(moved.len().abs_diff(wanted) <= TENANTS / 100, "{percent}%: {}", moved.len());
        assert!(moved.is_superset(&before), "{percent}%: somebody went back");
        before.clone_from(&moved);
        steps.push((percent, moved));
    }
    assert_eq!(before.len(), TENANTS);
    for (percent, moved) in steps.iter().rev() {
        simulation.change(&shift("RollingBack", &format!("{percent}%"), ""));
        assert_eq!(simulation.moved(), *moved, "{percent}%: those that come back are those that came last");
    }
}

#[test]
fn another_seed_is_another_order() {
    let moved = |seed| Simulation::new(&shift("Running", "10%", &format!("seed: {seed}"))).moved();
    let (one, other) = (moved(1), moved(2));
    assert!(one.intersection(&other).count() < 200, "{} of both", one.intersection(&other).count());
    assert_eq!(one, moved(1));
}

#[test]
fn chance_decides_where_each_request_goes_by_itself() {
    let simulation = Simulation::new(&shift("Running", "25%", "by: request"));
    let mut moved = 0;
    for number in 0..10_000_u64 {
        // Even steps through all that the dice may say.
        let dice = number * (u64::MAX / 10_000) + u64::from(u32::MAX);
        let (_, on) = simulation.decide(&[("x-tenant", "acme")], dice);
        moved += u64::from(on == Some((Track::Green, Why::Request)));
    }
    assert_eq!(moved, 2_500);
}

#[test]
fn testers_go_first_and_back_with_everybody_else() {
    let testers = "testers: {headers: [{name: x-preview, value: yes-please}], tenants: [zoe, ann]}";
    let mut simulation = Simulation::new(&shift("Running", "0%", testers));
    let tracks = |simulation: &Simulation| {
        [
            &[("x-tenant", "ann")][..],
            &[("x-tenant", "zoe")],
            &[("x-tenant", "acme"), ("X-Preview", "yes-please")],
            &[("x-tenant", "acme"), ("x-preview", "no"), ("x-preview", "yes-please")],
            &[("x-tenant", "acme"), ("x-preview", "Yes-Please")],
            &[("x-tenant", "bob")],
        ]
        .map(|lines| simulation.decide(lines, 0).1.map(|(track, why)| (track, why == Why::Tester)))
    };
    let moved = Some((Track::Green, true));
    let stays = Some((Track::Blue, false));
    for phase in ["Running", "Paused"] {
        simulation.change(&shift(phase, "0%", testers));
        assert_eq!(tracks(&simulation), [moved, moved, moved, moved, stays, stays], "{phase}");
    }
    simulation.change(&shift("RollingBack", "0%", testers));
    assert_eq!(tracks(&simulation), [stays; 6]);
}

#[test]
fn a_shift_that_is_not_under_way_decides_nothing() {
    let mut simulation = Simulation::new(&shift("Pending", "0%", ""));
    for phase in ["Pending", "RolledBack", "Succeeded", "Failed", "Aborted"] {
        simulation.change(&shift(phase, "100%", "testers: {tenants: [acme]}"));
        let (label, on) = simulation.decide(&[("x-tenant", "acme")], 0);
        assert!(label.ends_with("/blue") && on.is_none(), "{phase}: {label}");
    }
    assert_eq!(simulation.decide(&[], 0).0.as_str(), "other/direct/green");
}

#[test]
fn a_cell_without_a_share_has_testers_only() {
    let lines = "testers: {tenants: [acme]}";
    let all = shift("Running", "100%", lines);
    let simulation = Simulation::new(&all.replace(", two: 100%", ""));
    let (mut one, mut two) = (0, 0);
    for number in 0..1_000 {
        let (label, _) = simulation.decide(&[("x-tenant", &format!("tenant-{number}"))], 0);
        match label.as_str() {
            "all/one/green" => one += 1,
            "all/two/blue" => two += 1,
            other => panic!("{other}"),
        }
    }
    assert!(one > 300 && two > 300);
    assert_eq!(simulation.decide(&[("x-tenant", "acme")], 0).1, Some((Track::Green, Why::Tester)));
}

/// Only what the shift is about is compiled again, and what it knows of endpoints stays.
#[test]
fn another_share_compiles_no_other_route_again() {
    let mut simulation = Simulation::new(&shift("Running", "10%", ""));
    let before = simulation.change(&shift("Running", "20%", ""));
    let after = &simulation.snapshot;
    let route = |snapshot: &Snapshot, name: &str| {
        let found = snapshot.routes.iter().find(|route| route.document.name.as_str() == name);
        Arc::clone(found.unwrap())
    };
    assert!(Arc::ptr_eq(&route(&before, "other"), &route(after, "other")));
    assert!(!Arc::ptr_eq(&route(&before, "all"), &route(after, "all")));
    let tables = |snapshot: &Snapshot| Arc::clone(&snapshot.listener(0).unwrap().table);
    assert!(Arc::ptr_eq(&tables(&before), &tables(after)));
    let groups = |snapshot: &Snapshot| {
        use gridrouter::snapshot::{ActionPlan, Targets};
        let route = route(snapshot, "all");
        let ActionPlan::Forward(plan) = &route.action else { panic!("it is forwarded") };
        let Targets::Cells(cells) = &plan.targets else { panic!("it has a grid") };
        let splits = cells.iter().flatten().filter_map(|target| target.split.clone());
        splits.flat_map(|split| [Arc::clone(&split.to.group), Arc::clone(&split.from.group)]).collect::<Vec<_>>()
    };
    let (old, new) = (groups(&before), groups(after));
    assert_eq!(old.len(), 4);
    assert!(old.iter().zip(&new).all(|(old, new)| Arc::ptr_eq(old, new)), "groups are taken over");
}

proptest! {
    /// Whatever the share: a tenant is always on the same track, a greater share takes nobody back, and who is where says
    /// why truly.
    #[test]
    fn shares_are_kept_to(hundredths in 0_u32..=10_000, more in 0_u32..=10_000, tenant in "[a-z0-9]{1,20}", dice: u64) {
        let percent = |hundredths: u32| format!("{}.{:02}%", hundredths / 100, hundredths % 100);
        let mut simulation = Simulation::new(&shift("Running", &percent(hundredths.min(more)), ""));
        let lines = [("x-tenant", tenant.as_str())];
        let (label, on) = simulation.decide(&lines, dice);
        let (track, why) = on.unwrap();
        prop_assert_eq!(&simulation.decide(&lines, !dice), &(label.clone(), on));
        prop_assert!(label.ends_with(track.as_str()));
        let Why::Tenant(rank) = why else { panic!("{why:?}") };
        let place = (u128::from(rank) * 10_000) >> 64;
        prop_assert_eq!(track == Track::Green, place < u128::from(hundredths.min(more)));
        simulation.change(&shift("Running", &percent(hundredths.max(more)), ""));
        let (later, _) = simulation.decide(&lines, dice);
        prop_assert!(track == Track::Blue || later == label);
    }
}
