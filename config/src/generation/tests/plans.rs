//! Plans give way, and are kept, as everything is that others refer to.

use super::*;
use crate::model::TenantLimits;

const GOLD: &str = "kind: Plan\nname: gold\nlimits: {per-tenant: {rate: 500/s}}\nextraLimits: [whole]\n";
const WHOLE: &str = "kind: Limit\nname: whole\nkey: [cell]\nconcurrency: {limit: 5}\n";
const BUYER: &str = "kind: Tenant\nname: acme\nplan: gold\n";

fn limits(in_force: &InForce, tenant: &str) -> Option<TenantLimits> {
    Some(in_force.model().tenants.get(tenant)?.limits()?.model.clone())
}

fn plan_of(in_force: &InForce, tenant: &str) -> Option<String> {
    Some(limits(in_force, tenant)?.plan?.to_string())
}

/// Files, or, with a tenant in the table, all but that one.
fn step(before: Option<&InForce>, files: &[(&str, &str)], tenant: Option<&str>) -> Advanced {
    let mut table = TenantTable::below("tenant/");
    if let Some(text) = tenant {
        let parsed = parse("x", text.as_bytes());
        let json = serde_json::to_string(&parsed.documents[0].raw).unwrap();
        assert!(table.put_any_json(json.as_bytes()), "{json}");
    }
    advance(before, &parsed(files), &table)
}

#[test]
fn a_plan_in_force_is_in_the_model_and_the_same_one_as_long_as_it_says_the_same() {
    let files = [("a.yaml", BASE), ("w.yaml", WHOLE), ("p.yaml", GOLD), ("t.yaml", BUYER)];
    let first = good(&files);
    let plan = &first.model().plans["gold"];
    assert_eq!(plan.limits["per-tenant"].rate.map(|rate| rate.to_string()).as_deref(), Some("500/s"));
    assert_eq!(plan.extra_limits.iter().map(Name::as_str).collect::<Vec<_>>(), ["whole"]);
    assert_eq!(plan_of(&first, "acme").as_deref(), Some("gold"));
    let moved = next(&first, &[files[0], files[1], files[2], ("t.yaml", &format!("{BUYER}grid: shop\ncell: eu-1\n"))]);
    assert!(moved.problems.is_empty());
    assert!(Arc::ptr_eq(&first.model().plans, &moved.in_force.model().plans));
    let dearer = GOLD.replace("500/s", "600/s");
    let changed = next(&first, &[files[0], files[1], ("p.yaml", &dearer), files[3]]);
    assert!(changed.problems.is_empty() && changed.changed);
    assert!(!Arc::ptr_eq(plan, &changed.in_force.model().plans["gold"]));
    assert!(changed.in_force.model().tenants.changes(&first.model().tenants).is_empty());
    assert!(Arc::ptr_eq(&first.model().limits, &changed.in_force.model().limits));
}

#[test]
fn what_a_tenant_refers_to_stays_until_nobody_does_be_it_in_a_file_or_in_the_table() {
    let [base, whole, gold] = [("a.yaml", BASE), ("w.yaml", WHOLE), ("p.yaml", GOLD)];
    let files = [base, whole, gold];
    for in_table in [false, true] {
        let with = |before: Option<&InForce>, files: &[(&str, &str)], tenant: Option<&str>| match tenant {
            Some(text) if !in_table => step(before, &[files, &[("t.yaml", text)]].concat(), None),
            other => step(before, files, other),
        };
        let first = with(None, &files, Some(BUYER));
        assert!(first.problems.is_empty(), "{:#?}", first.problems);
        let first = first.in_force;
        // The plan, which a tenant has; the limit, which the plan has.
        let without = with(Some(&first), &[base, whole], Some(BUYER));
        let (who, fallback, message) = only(&without);
        assert_eq!((who.as_deref(), fallback), (Some("Plan/gold"), Fallback::DeletionHeld));
        assert!(message.contains("was removed, and Tenant/acme at"), "{message}");
        assert_eq!(without.in_force.digest(), first.digest());
        let without = with(Some(&first), &[base, gold], Some(BUYER));
        let (who, fallback, message) = only(&without);
        assert_eq!((who.as_deref(), fallback), (Some("Limit/whole"), Fallback::DeletionHeld));
        assert!(message.contains("Plan/gold"), "{message}");
        // A limit that changes into one that the plan's values do not fit.
        let other = BASE.replace("tokenBucket: {rate: 100/s}", "fixedWindow: {limit: 100, window: 1s}");
        let held = with(Some(&first), &[("a.yaml", &other), whole, gold], Some(BUYER));
        let (who, fallback, message) = only(&held);
        assert_eq!((who.as_deref(), fallback), (Some("Limit/per-tenant"), Fallback::LastGood));
        assert!(message.contains("breaks Plan/gold"), "{message}");
        // A tenant that takes a plan that is not there.
        let lost = with(Some(&first), &files, Some("kind: Tenant\nname: acme\nplan: silver\n"));
        assert_eq!(only(&lost).1, Fallback::LastGood);
        assert_eq!(only(&lost).2, "there is no Plan \"silver\"");
        assert_eq!(plan_of(&lost.in_force, "acme").as_deref(), Some("gold"));
        // Once nobody has it, it goes.
        let gone = with(Some(&first), &[base], None);
        assert!(gone.problems.is_empty(), "{:#?}", gone.problems);
        assert!(gone.in_force.model().plans.is_empty());
    }
}

#[test]
fn own_values_in_the_table_hold_back_a_limit_that_they_do_not_fit() {
    let tenant = "kind: Tenant\nname: acme\nlimits: {per-tenant: {burst: 5}}\nextraLimits: [whole]\n";
    let first = step(None, &[("a.yaml", BASE), ("w.yaml", WHOLE)], Some(tenant)).in_force;
    let found = limits(&first, "acme").unwrap();
    assert_eq!((found.plan, found.overrides.len(), found.extra.len()), (None, 1, 1));
    for (algorithm, breaks) in [
        ("leakyBucketMeter: {rate: 5/s}", false),
        ("tokenBucket: {rate: 5/s}\ncost: 5", false),
        ("tokenBucket: {rate: 50/s}\ncost: 6", true),
        ("concurrency: {limit: 5}", true),
        ("key: [clientIp]\ntokenBucket: {rate: 5/s}", true),
    ] {
        let other = BASE.replace("tokenBucket: {rate: 100/s}", algorithm);
        let now = step(Some(&first), &[("a.yaml", &other), ("w.yaml", WHOLE)], Some(tenant));
        assert_eq!(now.problems.is_empty(), !breaks, "{algorithm}: {:#?}", now.problems);
        assert_eq!(now.changed, !breaks, "{algorithm}");
    }
    let without = step(Some(&first), &[("a.yaml", BASE)], Some(tenant));
    assert_eq!(only(&without).1, Fallback::DeletionHeld);
    assert_eq!(only(&without).0.as_deref(), Some("Limit/whole"));
}

#[test]
fn a_plan_alone_takes_the_short_way() {
    let first = step(None, &[("a.yaml", BASE), ("w.yaml", WHOLE), ("p.yaml", GOLD)], None).in_force;
    let mut table = TenantTable::below("tenant/");
    assert!(table.put_any_json(br#"{"kind":"Tenant","name":"acme","plan":"gold"}"#));
    let short = advance_tenants(&first, &table).unwrap();
    assert_eq!(plan_of(&short, "acme").as_deref(), Some("gold"));
    for bad in [
        "{\"kind\":\"Tenant\",\"name\":\"acme\",\"plan\":\"silver\"}",
        "{\"kind\":\"Tenant\",\"name\":\"acme\",\"extraLimits\":[\"no\"]}",
    ] {
        let mut table = TenantTable::below("tenant/");
        assert!(table.put_any_json(bad.as_bytes()));
        assert!(advance_tenants(&first, &table).is_none(), "{bad}");
    }
}

/// Listeners and services hold what they refer to, and a change that breaks a route elsewhere is the one that gives way.
#[test]
fn limits_of_listeners_and_services_stay_and_stay_such_as_fit() {
    let open = "kind: Route\nname: open\nhosts: [open]\nservice: files\n";
    let service = "kind: Service\nname: files\nendpoints: {blue: [{address: 10.0.0.3:80}]}\n";
    let listener = "kind: Listener\nname: web\naddress: 127.0.0.1:0\nlimits: [flood]\n";
    let flood = "kind: Limit\nname: flood\nkey: [clientIp]\ntokenBucket: {rate: 9/s}\n";
    let bytes = "kind: Limit\nname: bytes\nkey: [service]\nbandwidth: {rate: 9MB/s}\n";
    let limited = format!("{service}limits: [bytes]\n");
    let files = |service: &str, flood: &str, bytes: &str| {
        parsed(&[
            ("a.yaml", BASE),
            ("l.yaml", listener),
            ("o.yaml", open),
            ("s.yaml", service),
            ("f.yaml", flood),
            ("b.yaml", bytes),
        ])
    };
    let none = TenantTable::default();
    let first = advance(None, &files(&limited, flood, bytes), &none);
    assert!(first.problems.is_empty(), "{:#?}", first.problems);
    let (first, comment) = (first.in_force, "# nothing\n");
    for (service, flood, bytes, who, fallback) in [
        (&*limited, comment, bytes, "Limit/flood", Fallback::DeletionHeld),
        (&limited, flood, comment, "Limit/bytes", Fallback::DeletionHeld),
        (&limited, &flood.replace("clientIp", "route"), bytes, "Limit/flood", Fallback::LastGood),
        (&limited, flood, &bytes.replace("service", "tenant"), "Limit/bytes", Fallback::LastGood),
        (&format!("{service}limits: [per-tenant]\n"), flood, bytes, "Service/files", Fallback::LastGood),
    ] {
        let now = advance(Some(&first), &files(service, flood, bytes), &none);
        let (found, instead, message) = only(&now);
        assert_eq!((found.as_deref(), instead), (Some(who), fallback), "{message}");
        assert!(!now.changed, "{message}");
    }
    let free = advance(Some(&first), &files(service, flood, comment), &none);
    assert!(free.problems.is_empty() && free.in_force.model().services["files"].limits.is_empty());
}
