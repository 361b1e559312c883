//! Tenants in a table behave as tenants in files do.

use proptest::prelude::*;

use super::*;

/// One key each, as a store with keys has them. Tenants that the table takes are in it, the others are files.
fn listed(documents: &[(String, String)]) -> (Vec<Parsed>, TenantTable) {
    let mut table = TenantTable::below("tenant/");
    let mut files = Vec::new();
    for (key, text) in documents {
        let name = key.strip_prefix("tenant/").map(|name| Name::tenant(name).unwrap());
        if name.is_none_or(|name| !table.put_json(&name, text.as_bytes())) {
            files.push(parse_key(key, text));
        }
    }
    (files, table)
}

fn parse_key(key: &str, text: &str) -> Parsed {
    let id = crate::keys::parse_document(key).unwrap();
    crate::codec::parse_entry(&crate::store::Entry {
        path: key.into(),
        bytes: text.as_bytes().into(),
        key: Some(crate::store::Key { id, revision: 1 }),
    })
}

fn json(text: &str) -> String {
    let parsed = parse("x", text.as_bytes());
    serde_json::to_string(&parsed.documents[0].raw).unwrap()
}

fn base() -> Vec<(String, String)> {
    let parsed = parse("x", BASE.as_bytes());
    let one = |document: &Arc<SourceDocument>| {
        (crate::keys::document(&document.id), serde_json::to_string(&document.raw).unwrap())
    };
    parsed.documents.iter().map(one).collect()
}

fn tenant(name: &str, cell: &str) -> (String, String) {
    (format!("tenant/{name}"), json(&format!("kind: Tenant\nname: {name}\ngrid: shop\ncell: {cell}\n")))
}

fn step(before: Option<&InForce>, documents: &[(String, String)]) -> Advanced {
    let (files, table) = listed(documents);
    advance(before, &files, &table)
}

#[test]
fn tenants_of_the_table_are_in_force_and_a_bad_one_keeps_what_it_was() {
    let documents = [base(), vec![tenant("acme", "eu-1"), tenant("bolt", "eu-2"), tenant("lost", "eu-9")]].concat();
    let first = step(None, &documents);
    assert_eq!(only(&first).1, Fallback::Absent);
    assert_eq!(only(&first).2, "there is no Cell \"eu-9\"");
    assert_eq!((first.in_force.tenants().len(), first.in_force.len()), (2, 8));
    let documents = [base(), vec![tenant("acme", "eu-9"), tenant("bolt", "eu-1")]].concat();
    let second = step(Some(&first.in_force), &documents);
    let (who, fallback, _) = only(&second);
    assert_eq!((who.as_deref(), fallback), (Some("Tenant/acme"), Fallback::LastGood));
    assert_eq!(&*second.quarantined[0].file, "tenant/acme");
    assert_eq!(pin(&second.in_force, "acme").as_deref(), Some("eu-1"));
    assert_eq!(pin(&second.in_force, "bolt").as_deref(), Some("eu-1"));
    let third = step(Some(&second.in_force), &[base(), vec![tenant("acme", "eu-2")]].concat());
    assert!(third.problems.is_empty() && third.changed);
    assert_eq!((pin(&third.in_force, "acme").as_deref(), pin(&third.in_force, "bolt")), (Some("eu-2"), None));
}

#[test]
fn text_that_is_no_good_document_leaves_the_tenant_what_it_was() {
    let first = step(None, &[base(), vec![tenant("acme", "eu-1")]].concat()).in_force;
    for bad in ["{", "", "\0", r#"{"kind":"Tenant","name":"acme","grid":"shop"}"#, r#"{"kind":"Cell","name":"eu-3"}"#] {
        let now = step(Some(&first), &[base(), vec![("tenant/acme".to_owned(), bad.to_owned())]].concat());
        assert_eq!(only(&now).1, Fallback::LastGood, "{bad}");
        assert_eq!((pin(&now.in_force, "acme").as_deref(), now.changed), (Some("eu-1"), false), "{bad}");
        let healed = step(Some(&now.in_force), &[base(), vec![tenant("acme", "eu-2")]].concat());
        assert!(healed.problems.is_empty());
        assert_eq!((pin(&healed.in_force, "acme").as_deref(), healed.in_force.tenants().len()), (Some("eu-2"), 1));
    }
}

#[test]
fn what_a_million_tenants_refer_to_cannot_be_taken_away() {
    let many = |cell: &str| (0..1_000).map(|n| tenant(&format!("t{n}"), cell)).collect::<Vec<_>>();
    let first = step(None, &[base(), many("eu-2")].concat()).in_force;
    let gone: Vec<_> = base().into_iter().filter(|(key, _)| key != "cell/eu-2").collect();
    let gone: Vec<_> = gone.into_iter().map(|(key, text)| (key, text.replace(r#","eu-2"]"#, "]"))).collect();
    let now = step(Some(&first), &[gone, many("eu-2")].concat());
    assert!(now.quarantined.iter().any(|one| one.fallback == Fallback::DeletionHeld), "{:#?}", now.quarantined);
    assert!(now.problems.len() < 10, "one tenant speaks for all");
    assert_eq!(now.in_force.tenants().len(), 1_000);
    assert_eq!(pin(&now.in_force, "t7").as_deref(), Some("eu-2"));
    // A thousand new mistakes are a hundred reports and a sum.
    let wrong = step(Some(&first), &[base(), many("eu-9")].concat());
    assert_eq!(wrong.quarantined.len(), 101);
    assert!(wrong.problems.iter().any(|problem| problem.message.starts_with("900 more tenants")));
    assert_eq!(wrong.in_force.digest(), first.digest());
}

#[test]
fn tenants_alone_are_a_short_way() {
    let first = step(None, &[base(), vec![tenant("acme", "eu-1")]].concat()).in_force;
    let (_, table) = listed(&[tenant("acme", "eu-2"), tenant("new", "eu-1")]);
    let short = advance_tenants(&first, &table).unwrap();
    let long = step(Some(&first), &[base(), vec![tenant("acme", "eu-2"), tenant("new", "eu-1")]].concat()).in_force;
    assert_eq!(short.digest(), long.digest());
    assert_eq!(short.model().tenants.digest(), long.model().tenants.digest());
    assert!(short.same_documents(&first) && Arc::ptr_eq(&short.model().routes, &first.model().routes));
    let (_, bad) = listed(&[tenant("acme", "eu-9")]);
    assert!(advance_tenants(&first, &bad).is_none());
}

fn world() -> impl Strategy<Value = Vec<(String, String)>> {
    let cells = prop::collection::btree_set(1..4_u32, 1..4);
    let tenants = prop::collection::btree_map(0..5_u32, (1..5_u32, 0..7_u32), 0..5);
    (cells, 0..4_u32, 0..4_u32, tenants).prop_map(|(cells, limit, plan, tenants)| {
        let mut documents: Vec<_> = cells
            .iter()
            .map(|n| {
                (
                    format!("cell/eu-{n}"),
                    json(&format!("kind: Cell\nname: eu-{n}\ningress: [{{address: 10.0.0.1:1}}]\n")),
                )
            })
            .collect();
        let names: Vec<_> = cells.iter().map(|n| format!("eu-{n}")).collect();
        documents
            .push(("grid/shop".to_owned(), json(&format!("kind: Grid\nname: shop\ncells: [{}]\n", names.join(", ")))));
        let algorithm = match limit {
            0 => None,
            1 => Some("fixedWindow: {limit: 9, window: 1s}"),
            2 => Some("key: [clientIp]\ntokenBucket: {rate: 1/s}"),
            _ => Some("tokenBucket: {rate: 1/s}"),
        };
        if let Some(algorithm) = algorithm {
            documents.push(("limit/l".to_owned(), json(&format!("kind: Limit\nname: l\n{algorithm}\n"))));
        }
        let values = match plan {
            0 => None,
            1 => Some("extraLimits: [l]"),
            _ => Some("limits: {l: {burst: 9}}"),
        };
        if let Some(values) = values {
            documents.push(("plan/p".to_owned(), json(&format!("kind: Plan\nname: p\n{values}\n"))));
        }
        for (n, (cell, form)) in tenants {
            let pin = format!("grid: shop\ncell: eu-{cell}\n");
            let text = match form {
                0 => format!("kind: Tenant\nname: t{n}\n{pin}"),
                1 => format!("kind: Tenant\nname: t{n}\n{pin}limits: {{l: {{burst: {cell}}}}}\n"),
                4 => format!("kind: Tenant\nname: t{n}\nplan: p\n"),
                5 => format!("kind: Tenant\nname: t{n}\n{pin}plan: p\nlimits: {{l: {{limit: 5}}}}\n"),
                6 => format!("kind: Tenant\nname: t{n}\nextraLimits: [l]\n"),
                _ => format!("kind: Tenant\nname: t{n}\nlimits: {{l: {{burst: 7}}}}\n"),
            };
            let text = if form == 3 { "{".to_owned() } else { json(&text) };
            documents.push((format!("tenant/t{n}"), text));
        }
        documents
    })
}

proptest! {
    #[test]
    fn a_table_is_in_force_as_files_would_be(worlds in prop::collection::vec(world(), 1..6)) {
        let (mut table, mut files): (Option<InForce>, Option<InForce>) = (None, None);
        for world in worlds {
            let by_table = step(table.as_ref(), &world);
            let parsed: Vec<Parsed> = world.iter().map(|(key, text)| parse_key(key, text)).collect();
            let by_files = advance(files.as_ref(), &parsed, &TenantTable::default());
            prop_assert_eq!(by_table.in_force.digest(), by_files.in_force.digest());
            prop_assert_eq!(by_table.in_force.model().tenants.digest(), by_files.in_force.model().tenants.digest());
            prop_assert_eq!(by_table.changed, by_files.changed);
            let refused = |advanced: &Advanced| -> Vec<_> {
                let mut all: Vec<_> = advanced.quarantined.iter().map(|one| (one.id.clone(), one.fallback)).collect();
                all.sort_by_key(|(id, _)| id.clone());
                all
            };
            prop_assert_eq!(refused(&by_table), refused(&by_files));
            (table, files) = (Some(by_table.in_force), Some(by_files.in_force));
        }
    }
}
