use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn json(name: &str, pin: Option<(&str, &str)>, rate: Option<u32>) -> Vec<u8> {
    let limits = rate.map(|rate| {
        let own = raw::LimitOverride { rate: Some(format!("{rate}/s")), ..raw::LimitOverride::default() };
        BTreeMap::from([("per-tenant".to_owned(), own)])
    });
    let tenant = raw::Tenant {
        name: name.to_owned(),
        grid: pin.map(|(grid, _)| grid.to_owned()),
        cell: pin.map(|(_, cell)| cell.to_owned()),
        limits: limits.unwrap_or_default(),
        // High rates are of customers with a plan, and with limits besides.
        plan: rate.filter(|rate| *rate > 99).map(|rate| format!("plan-{}", rate / 100)),
        extra_limits: rate.filter(|rate| *rate > 199).map(|_| "besides".to_owned()).into_iter().collect(),
    };
    serde_json::to_vec(&raw::Document::Tenant(tenant)).unwrap()
}

fn put(table: &mut TenantTable, name: &str, pin: Option<(&str, &str)>, rate: Option<u32>) {
    assert!(table.put_json(&Name::tenant(name).unwrap(), &json(name, pin, rate)), "{name}");
}

fn text(tenant: Tenant<'_>) -> String {
    let mut bytes = Vec::new();
    tenant.json(&mut bytes);
    String::from_utf8(bytes).unwrap()
}

#[test]
fn what_is_put_in_is_found_as_it_was_written() {
    let mut table = TenantTable::below("/g/config/tenant/");
    put(&mut table, "acme", Some(("shop", "eu-1")), None);
    put(&mut table, "Ä/b:ç", None, Some(5));
    put(&mut table, "both", Some(("shop", "eu-2")), Some(5));
    put(&mut table, "neither", None, None);
    assert_eq!((table.len(), table.pins().count(), table.limits().count()), (4, 2, 1));
    let acme = table.get("acme").unwrap();
    assert_eq!(acme.pin().unwrap().cell.as_str(), "eu-1");
    assert_eq!(text(acme).as_bytes(), json("acme", Some(("shop", "eu-1")), None));
    assert_eq!(text(table.get("both").unwrap()).as_bytes(), json("both", Some(("shop", "eu-2")), Some(5)));
    assert!(table.get("nobody").is_none() && table.get("").is_none());
    let source = acme.source().unwrap();
    assert_eq!(&*source.file, "/g/config/tenant/acme");
    assert_eq!((source.id.to_string(), source.digest), ("Tenant/acme".to_owned(), acme.digest()));
}

#[test]
fn only_good_documents_in_the_one_form_are_taken() {
    let mut table = TenantTable::default();
    let name = Name::tenant("a").unwrap();
    for bad in [
        r#"{"kind":"Tenant","name":"a","grid":"shop"}"#,
        r#"{"kind":"Tenant","name":"b"}"#,
        r#"{"kind":"Route","name":"a"}"#,
        r#"{"kind":"Tenant","name":"a","grid":"Shop","cell":"eu-1"}"#,
        r#"{"kind":"Tenant","name":"a","cell":"eu-1","grid":"shop"}"#,
        r#"{"kind": "Tenant","name":"a"}"#,
        r#"{"kind":"Tenant","name":"a","limits":{}}"#,
        r#"{"kind":"Tenant","name":"a","limits":{"l":{}}}"#,
        r#"{"kind":"Tenant","name":"a","limits":{"l":{"rate":"0/s"}}}"#,
        r#"{"kind":"Tenant","name":"a","more":1}"#,
        r#"{"kind":"Tenant","name":"a","plan":"Gold"}"#,
        r#"{"kind":"Tenant","name":"a","plan":null}"#,
        r#"{"kind":"Tenant","name":"a","extraLimits":[]}"#,
        r#"{"kind":"Tenant","name":"a","extraLimits":["l","l"]}"#,
        r#"{"kind":"Tenant","name":"a","extraLimits":["l"],"plan":"gold"}"#,
        r#"{"kind":"Tenant","name":"a","limits":{"l":{"maxQueueing":"61s"}}}"#,
        "\u{feff}{\"kind\":\"Tenant\",\"name\":\"a\"}",
        "",
        "{",
    ] {
        assert!(!table.put_json(&name, bad.as_bytes()), "{bad}");
    }
    assert!(table.is_empty() && table.pins().next().is_none() && table.limits().next().is_none());
    assert_eq!(table.digest(), Digest::default());
}

/// A table of these documents, put in as text.
fn table_of(documents: &[&str]) -> TenantTable {
    let mut table = TenantTable::default();
    for document in documents {
        assert!(table.put_any_json(document.as_bytes()), "{document}");
    }
    table
}

#[test]
fn all_that_is_said_of_limits_is_kept_as_it_was_written() {
    let documents = [
        r#"{"kind":"Tenant","name":"a","plan":"gold"}"#,
        r#"{"kind":"Tenant","name":"b","extraLimits":["y","x"]}"#,
        r#"{"kind":"Tenant","name":"c","grid":"shop","cell":"eu-1","plan":"gold","limits":{"l":{"rate":"1MiB/s"}},"extraLimits":["x"]}"#,
        r#"{"kind":"Tenant","name":"d","limits":{"l":{"limit":5},"m":{"burst":2,"maxQueueing":"0s"}}}"#,
        r#"{"kind":"Tenant","name":"e"}"#,
    ];
    let by_text = table_of(&documents);
    // The same by the other way in, which every document has that is not in the one form.
    let mut by_model = TenantTable::default();
    for document in documents {
        let parsed = parse("x", document.as_bytes());
        let Ok(ModelDocument::Tenant(model)) = convert(&parsed.documents[0]) else { panic!("{document}") };
        let raw::Document::Tenant(raw) = &parsed.documents[0].raw else { panic!("{document}") };
        by_model.put(raw, &model);
        assert_eq!(parsed.documents[0].digest, by_model.get(&raw.name).unwrap().digest());
    }
    assert_eq!(by_text.digest(), by_model.digest());
    assert!(by_text.changes(&by_model).is_empty());
    for (table, document) in [&by_text, &by_model].into_iter().flat_map(|table| documents.map(|text| (table, text))) {
        let name = document.split('"').nth(7).unwrap();
        let tenant = table.get(name).unwrap();
        assert_eq!(text(tenant), document);
        assert_eq!(tenant.row().limits().is_none(), name == "e");
        let mut copy = TenantTable::default();
        copy.put_from(tenant);
        assert_eq!(text(copy.get(name).unwrap()), document);
    }
    let limits = &by_text.get("c").unwrap().limits().unwrap().model;
    assert_eq!(limits.plan.as_ref().map(Name::as_str), Some("gold"));
    assert_eq!(limits.overrides["l"].byte_rate.map(|rate| rate.per_second), Some(1 << 20));
    assert_eq!(limits.extra.iter().map(Name::as_str).collect::<Vec<_>>(), ["x"]);
}

#[test]
fn another_plan_or_another_limit_besides_is_a_change() {
    let versions = [
        r#"{"kind":"Tenant","name":"a"}"#,
        r#"{"kind":"Tenant","name":"a","plan":"gold"}"#,
        r#"{"kind":"Tenant","name":"a","plan":"iron"}"#,
        r#"{"kind":"Tenant","name":"a","plan":"gold","limits":{"l":{"burst":5}}}"#,
        r#"{"kind":"Tenant","name":"a","plan":"gold","extraLimits":["x"]}"#,
        r#"{"kind":"Tenant","name":"a","plan":"gold","extraLimits":["x","y"]}"#,
        r#"{"kind":"Tenant","name":"a","plan":"gold","extraLimits":["y","x"]}"#,
        r#"{"kind":"Tenant","name":"a","extraLimits":["x"]}"#,
    ];
    for one in versions {
        for other in versions {
            let old = table_of(&[one, r#"{"kind":"Tenant","name":"b","plan":"gold"}"#]);
            let mut new = old.clone();
            assert!(new.put_any_json(other.as_bytes()));
            // Of one table that went on, and of one that was read anew.
            let anew = table_of(&[r#"{"kind":"Tenant","name":"b","plan":"gold"}"#, other]);
            for new in [new, anew] {
                assert_eq!(new.changes(&old).len(), usize::from(one != other), "{one} → {other}");
                assert_eq!(new.digest() == old.digest(), one == other, "{one} → {other}");
            }
        }
    }
}

#[test]
fn tenants_of_one_plan_share_what_is_known_of_it() {
    let mut table = TenantTable::default();
    for n in 0..1_000 {
        assert!(table.put_any_json(format!(r#"{{"kind":"Tenant","name":"t{n}","plan":"gold"}}"#).as_bytes()));
    }
    assert!(table.put_any_json(br#"{"kind":"Tenant","name":"big","plan":"gold","extraLimits":["x"]}"#));
    assert_eq!(table.limits().count(), 2);
    let number = |name: &str| table.get(name).unwrap().row().limits().unwrap();
    assert_eq!(number("t1"), number("t999"));
    assert_ne!(number("t1"), number("big"));
    let of_big = table.limits_of(number("big")).unwrap();
    assert_eq!((of_big.raw.plan.as_deref(), of_big.raw.extra_limits.len()), (Some("gold"), 1));
}

#[test]
fn values_that_nobody_has_are_forgotten_and_their_numbers_used_again() {
    let mut table = TenantTable::default();
    put(&mut table, "a", Some(("shop", "eu-1")), Some(1));
    let kept = table.clone();
    put(&mut table, "a", Some(("shop", "eu-2")), None);
    assert_eq!(table.pins().map(|(_, pin)| pin.cell.as_str()).collect::<Vec<_>>(), ["eu-2"]);
    assert!(table.limits().next().is_none());
    put(&mut table, "b", Some(("shop", "eu-3")), Some(2));
    assert!(table.pins().all(|(number, _)| number < 2));
    assert_eq!(kept.get("a").unwrap().pin().unwrap().cell.as_str(), "eu-1");
    let changes = table.changes(&kept);
    assert_eq!(changes.len(), 2, "{changes:?}");
}

#[test]
fn a_change_among_many_shares_the_rest() {
    let mut table = TenantTable::default();
    for n in 0..20_000 {
        put(&mut table, &format!("tenant-{n}"), Some(("shop", "eu-1")), None);
    }
    let before = table.clone();
    put(&mut table, "tenant-7", Some(("shop", "eu-2")), None);
    table.remove("tenant-8");
    put(&mut table, "new", None, None);
    let changed = table.shards.iter().zip(&*before.shards).filter(|(one, other)| !one.same(other)).count();
    assert!((1..=3).contains(&changed), "{changed} of {} shards", table.shards.len());
    let mut names: Vec<_> =
        table.changes(&before).iter().map(|change| change.after.or(change.before).unwrap().name().to_owned()).collect();
    names.sort();
    assert_eq!(names, ["new", "tenant-7", "tenant-8"]);
    assert!(table.changes(&table.clone()).is_empty() && table.same(&table.clone()) && !table.same(&before));
    assert!(table.shards.iter().all(|shard| shard.iter().count() < 2 * ROWS));
}

fn rates() -> impl Strategy<Value = u32> {
    prop::sample::select(vec![0, 1, 2, 101, 102, 201])
}

proptest! {
    #[test]
    fn tables_say_what_maps_would(
        first in prop::collection::vec((0..30_u32, 0..4_u32, rates()), 0..60),
        second in prop::collection::vec((0..30_u32, 0..4_u32, rates()), 0..60),
    ) {
        let apply = |table: &mut TenantTable, model: &mut BTreeMap<String, Vec<u8>>, steps: &[(u32, u32, u32)]| {
            for (id, cell, rate) in steps {
                let (id, cell) = (format!("t{id}"), format!("cell-{cell}"));
                if *rate == 2 {
                    assert_eq!(table.remove(&id), model.remove(&id).is_some());
                } else {
                    let pin = Some(("shop", cell.as_str())).filter(|_| cell != "cell-0");
                    put(table, &id, pin, Some(*rate).filter(|rate| *rate > 0));
                    model.insert(id.clone(), json(&id, pin, Some(*rate).filter(|rate| *rate > 0)));
                }
            }
        };
        let digest = |model: &BTreeMap<String, Vec<u8>>| {
            let mut digest = Digest::default();
            for (id, json) in model {
                digest.add(Digest::of(&format!("tenant/{id}"), json));
            }
            digest
        };
        let (mut table, mut model) = (TenantTable::default(), BTreeMap::new());
        apply(&mut table, &mut model, &first);
        let (before, model_before) = (table.clone(), model.clone());
        apply(&mut table, &mut model, &second);
        for (table, model) in [(&before, &model_before), (&table, &model)] {
            let all: BTreeMap<_, _> =
                table.iter().map(|tenant| (tenant.name().to_owned(), text(tenant).into_bytes())).collect();
            prop_assert_eq!(&all, model);
            prop_assert_eq!((table.len(), table.digest()), (model.len(), digest(model)));
        }
        let changed: BTreeMap<_, _> = table.changes(&before).iter().map(|change| {
            let name = change.after.or(change.before).unwrap().name().to_owned();
            (name, (change.before.map(text), change.after.map(text)))
        }).collect();
        let mut wanted = BTreeMap::new();
        for id in model.keys().chain(model_before.keys()) {
            let text = |model: &BTreeMap<String, Vec<u8>>| model.get(id).map(|json| String::from_utf8(json.clone()).unwrap());
            let (old, new) = (text(&model_before), text(&model));
            if old != new {
                wanted.insert(id.clone(), (old, new));
            }
        }
        prop_assert_eq!(changed, wanted);
        // The same documents put in anew, in another order, are another table that says the same.
        let mut again = TenantTable::default();
        for tenant in table.iter().collect::<Vec<_>>().into_iter().rev() {
            again.put_from(tenant);
        }
        prop_assert!(again.changes(&table).is_empty());
        prop_assert_eq!(again.digest(), table.digest());
    }
}
