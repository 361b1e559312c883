//! Whatever a file holds: no panic, and no harm to what it does not speak of.

use std::sync::Arc;
use std::time::Duration;

use gridrouter_config::codec::{Parsed, parse};
use gridrouter_config::generation::{InForce, advance};
use gridrouter_config::model::{Adaptation, Algorithm, LeakyBucketMeter};
use gridrouter_config::problem::{Problem, SourceText};
use gridrouter_config::tenants::TenantTable;
use proptest::prelude::*;

const DOCUMENTS: [&str; 15] = [
    "kind: Listener\nname: web\naddress: 127.0.0.1:8080\ntimeouts: {idle: 10s}\nlimits: [in-all]\n\
     tls: {default: shop, minimumVersion: tls1.3, ciphers: modern, handshakeTimeout: 2s, clientCertificates: {mode: optional, \
     authorities: {file: /ca.pem}, forward: {subject: x-subject}}}\n",
    "kind: Certificate\nname: shop\nhosts: [shop.example.com]\nfiles: {chain: /shop.pem, key: /shop.key, ocsp: /shop.ocsp}\n",
    "kind: Cell\nname: eu-1\nweight: 50\nlabels: {region: eu}\n",
    "{\"kind\": \"Cell\", \"name\": \"eu-2\", \"ingress\": [{\"address\": \"10.0.0.9:80\"}]}\n",
    "kind: Grid\nname: shop\ncells: [eu-1, eu-2]\nplacement: {boundedLoad: 1.5}\n",
    "kind: Service\nname: checkout\nhost: checkout.internal\ncells:\n  eu-1:\n    blue:\n      - address: 10.0.0.1:80\n        weight: 3\n    green: []\nlimits: [bytes]\n\
     tls: {serverName: a.b, verify: true, clientCertificate: shop, minimumVersion: tls1.2, authorities: {file: /ca.pem}}\nprotocol: h2\n",
    "kind: Route\nname: checkout\nhosts: [shop.example.com]\npaths: [{regex: '/a/[0-9]+'}]\ngrid: shop\nservice: checkout\n\
     tenant: {from: [{header: x-tenant-id}]}\nlimits: [per-tenant]\n",
    "kind: Limit\nname: per-tenant\ntokenBucket: {rate: 100/s, burst: 200}\ncandidate: {rate: 50/s}\n\
     cost: {constant: 2, responseHeader: x-cost}\nstatus: 503\nmode: shadow\n",
    "kind: Limit\nname: in-all\nkey: [clientIp, {cookie: s}, {query: q}, {constant: all}]\n\
     adaptiveConcurrency: {algorithm: aimd, min: 5, max: 50, backoff: 0.75, latency: 2s}\ncost: 3\n",
    "kind: Limit\nname: queue\nleakyBucketQueue: {rate: 10/s, maxQueueing: 2s}\n",
    "kind: Limit\nname: bytes\nbandwidth: {rate: 10MiB/s, burst: 64KiB}\n",
    "kind: Plan\nname: gold\nlimits: {per-tenant: {burst: 300}, bytes: {rate: 20MB/s}}\nextraLimits: [queue]\n",
    "kind: Shift\nname: new\nservice: checkout\nto: green\nwaves: [{cells: [eu-1], bake: 1m}]\n\
     steps: [{weight: 1%, hold: 30s}, {pause: look}, {analysis: 2m}, {weight: 100%}]\n\
     testers: {headers: [{name: x-track, value: new}], tenants: [acme]}\nanalysis: {maxErrorRatio: 0.5%, maxP99Factor: 1.5}\n\
     state: {phase: Running, step: 1, shares: {eu-1: 1%}, started: 1, since: 2}\n",
    "kind: Move\nname: moved\ntenant: acme\ngrid: shop\nfrom: eu-2\nto: eu-1\nhold: 5s\nretryAfter: 2s\nfence: all\nhook: true\n\
     state: {phase: Fencing, started: 1, since: 2, deadline: 3, driver: {id: d1, host: h, since: 2}}\n",
    "kind: Tenant\nname: acme\ngrid: shop\ncell: eu-2\nplan: gold\nlimits: {per-tenant: {rate: 1000/s}}\nextraLimits: [in-all]\n",
];

fn in_force(files: &[Parsed]) -> InForce {
    let advanced = advance(None, files, &TenantTable::default());
    assert!(advanced.problems.is_empty(), "{:#?}", advanced.problems);
    advanced.in_force
}

fn render_all<'a>(problems: impl IntoIterator<Item = &'a Problem>, source: &str) {
    let source = SourceText::new(source);
    for problem in problems {
        assert!(!problem.message.is_empty() && problem.line > 0 && problem.column > 0 && problem.length > 0);
        let text = problem.render_in(&source, false);
        assert!(!text.contains('\u{1b}'));
    }
}

fn survives(bytes: &[u8]) {
    let parsed = parse("a.yaml", bytes);
    let source = String::from_utf8_lossy(bytes);
    for broken in &parsed.broken {
        assert!(!broken.problems.is_empty());
        render_all(&broken.problems, &source);
    }
    render_all(&advance(None, &[parsed], &TenantTable::default()).problems, &source);
}

/// One thing done to a text.
#[derive(Debug, Clone)]
enum Edit {
    Replace(usize, u8),
    Insert(usize, Vec<u8>),
    Delete(usize, usize),
    Truncate(usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let spicy = prop::sample::select(vec![
        "\n---\n",
        "---",
        "...",
        ": ",
        "- ",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "'",
        "|",
        ">",
        "#",
        "&a ",
        "*a",
        "!x ",
        "\t",
        "\0",
        "\r",
        "<<: ",
        "? ",
        "\u{feff}",
        "kind: Cell\n",
        "name: eu-1\n",
        "name: acme\n",
        "plan: gold\n",
        "extraLimits: [queue]\n",
        "concurrency: {limit: 5}\n",
        "\n",
        "~",
        "%YAML 1.2\n",
        "é",
    ]);
    prop_oneof![
        (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Edit::Replace(at, byte)),
        (any::<usize>(), spicy).prop_map(|(at, text)| Edit::Insert(at, text.into())),
        (any::<usize>(), 1..40_usize).prop_map(|(at, count)| Edit::Delete(at, count)),
        any::<usize>().prop_map(Edit::Truncate),
    ]
}

fn apply(text: &str, edits: &[Edit]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for edit in edits {
        let at = |at: usize, bytes: &[u8]| at % (bytes.len() + 1);
        match edit {
            Edit::Replace(n, byte) => {
                let n = at(*n, &bytes);
                if let Some(place) = bytes.get_mut(n) {
                    *place = *byte;
                }
            }
            Edit::Insert(n, text) => {
                let n = at(*n, &bytes);
                bytes.splice(n..n, text.iter().copied());
            }
            Edit::Delete(n, count) => {
                let n = at(*n, &bytes);
                let end = (n + count).min(bytes.len());
                bytes.drain(n..end);
            }
            Edit::Truncate(n) => bytes.truncate(at(*n, &bytes)),
        }
    }
    bytes
}

/// More of them than usual when asked for.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(1000)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        survives(&bytes);
    }

    #[test]
    fn any_text_of_yaml_signs(text in "[-:,{}\\[\\]&*!|>'\"%@`#?~<.\n\r\t \u{feff}ab01é\u{2028}]{0,200}") {
        survives(text.as_bytes());
    }

    #[test]
    fn edited_documents(edits in prop::collection::vec(edit(), 1..6)) {
        survives(&apply(&DOCUMENTS.join("---\n"), &edits));
    }

    /// A mistake in one document, in a file of its own or among others, leaves every other in force, untouched.
    #[test]
    fn a_mistake_unseats_no_other_document(which in 0..DOCUMENTS.len(), edits in prop::collection::vec(edit(), 1..4), together: bool) {
        let whole = |edited: Option<Vec<u8>>| -> Vec<Parsed> {
            let texts = DOCUMENTS.iter().enumerate().map(|(n, text)| match &edited {
                Some(edited) if n == which => edited.clone(),
                _ => text.as_bytes().to_vec(),
            });
            if together {
                vec![parse("all.yaml", &texts.collect::<Vec<_>>().join(&b"\n---\n"[..]))]
            } else {
                texts.enumerate().map(|(n, text)| parse(&format!("{n}.yaml"), &text)).collect()
            }
        };
        let before = in_force(&whole(None));
        let after = advance(Some(&before), &whole(Some(apply(DOCUMENTS[which], &edits))), &TenantTable::default()).in_force;
        let touched = parse("x", DOCUMENTS[which].as_bytes()).documents[0].id.clone();
        for (id, entry) in before.documents().iter().filter(|(id, _)| **id != touched) {
            let now = after.documents().get(id);
            prop_assert!(now.is_some_and(|now| now.model.same(&entry.model)), "{id} was unseated");
        }
        let again = advance(Some(&before), &whole(Some(apply(DOCUMENTS[which], &edits))), &TenantTable::default()).in_force;
        prop_assert_eq!(again.digest(), after.digest());
        // What is in force is consistent in the eyes of somebody who has not seen it come about.
        let documents = after.documents().values().map(|entry| Arc::clone(&entry.source)).collect();
        let fresh = advance(None, &[Parsed::from_documents("all", documents)], &TenantTable::default());
        prop_assert!(fresh.problems.is_empty(), "{:#?}", fresh.problems);
        prop_assert_eq!(fresh.in_force.digest(), after.digest());
    }
}

/// What limits may say, by field: the algorithms, and what else has values of the same kinds.
const LIMIT_FIELDS: [(&str, &[&str]); 12] = [
    ("tokenBucket", &["rate", "burst"]),
    ("leakyBucketQueue", &["rate", "maxQueueing"]),
    ("leakyBucketMeter", &["rate", "burst", "delay", "nodelay"]),
    ("slidingWindow", &["limit", "window", "method"]),
    ("fixedWindow", &["limit", "window"]),
    ("warmUp", &["rate", "period", "coldFactor", "form", "maxQueueing"]),
    ("concurrency", &["limit"]),
    ("adaptiveConcurrency", &["initial", "min", "max", "tolerance"]),
    ("adaptiveConcurrency", &["algorithm", "initial", "min", "max", "backoff", "latency"]),
    ("bandwidth", &["rate", "burst"]),
    ("candidate", &["rate", "burst", "limit", "maxQueueing"]),
    ("cost", &["constant", "responseHeader"]),
];

/// Values that are good for a field, or nearly so.
fn values_of(field: &str) -> &'static [&'static str] {
    match field {
        "rate" => &["1/h", "1/m", "100/s", "1000000/s", "1B/s", "10MiB/s", "10GiB/s", "0/s", "1KB/s"],
        "window" | "maxQueueing" | "period" | "latency" => &["0s", "1ms", "1s", "60s", "61s", "24h", "25h"],
        "tolerance" | "backoff" => &["0.49", "0.5", "0.999", "1", "1.5", "10", "10.1", "1e300", ".nan"],
        "method" => &["log", "counter"],
        "form" => &["guava", "sentinel"],
        "algorithm" => &["aimd", "gradient2"],
        "nodelay" => &["true", "false"],
        "responseHeader" => &["x-cost", "'x cost'"],
        _ => &["0", "1", "2", "7", "20", "500", "1000000", "1000001", "4294967296", "64KiB"],
    }
}

/// Some of the fields of an algorithm or the like, each with some value.
fn limit_fields(from: &[(&'static str, &'static [&'static str])], how_many: f64) -> impl Strategy<Value = String> {
    let chosen = prop::sample::select(from.to_vec());
    (chosen, prop::collection::vec(prop::option::weighted(how_many, any::<prop::sample::Index>()), 6)).prop_map(
        |((name, fields), values)| {
            let fields = fields.iter().zip(values).filter_map(|(field, value)| {
                let values = values_of(field);
                Some(format!("{field}: {}", values[value?.index(values.len())]))
            });
            format!("{name}: {{{}}}\n", fields.collect::<Vec<_>>().join(", "))
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases() * 10))]

    /// Every limit is either refused with a reason or has values that those who count can rely on.
    #[test]
    fn limits_of_any_values(
        algorithm in limit_fields(&LIMIT_FIELDS[..10], 0.8),
        second in prop::option::weighted(0.1, limit_fields(&LIMIT_FIELDS[..10], 0.8)),
        candidate in prop::option::weighted(0.4, limit_fields(&LIMIT_FIELDS[10..11], 0.3)),
        more in prop::option::weighted(0.3, limit_fields(&LIMIT_FIELDS[11..], 0.6)),
    ) {
        let text = [Some(algorithm), second, candidate, more].into_iter().flatten().collect::<String>();
        let text = format!("kind: Limit\nname: l\n{text}");
        survives(text.as_bytes());
        let in_force = advance(None, &[parse("a.yaml", text.as_bytes())], &TenantTable::default()).in_force;
        for limit in in_force.model().limits.values() {
            prop_assert!(is_sound(limit.algorithm), "{text}: {limit:?}");
            let most = limit.algorithm.most_at_once();
            prop_assert!(most.is_none_or(|most| most >= limit.cost.constant), "{text}: {limit:?}");
            if let Some(candidate) = &limit.candidate {
                let with = limit.algorithm.with(candidate);
                prop_assert!(is_sound(with), "{text}: {with:?}");
                prop_assert!(with.most_at_once().is_none_or(|most| most >= limit.cost.constant), "{text}: {limit:?}");
            }
        }
    }
}

/// Whether every value is within the range that its documentation gives.
fn is_sound(algorithm: Algorithm) -> bool {
    let size = |number: u32| (1..=1_000_000).contains(&number);
    let waits = |time: Duration| time <= Duration::from_mins(1);
    let window = |time: Duration| (Duration::from_millis(1)..=Duration::from_hours(24)).contains(&time);
    match algorithm {
        Algorithm::TokenBucket(a) => size(a.burst),
        Algorithm::LeakyBucketQueue(a) => waits(a.max_queueing),
        Algorithm::LeakyBucketMeter(a) => LeakyBucketMeter::takes(a.rate) && a.burst <= 1_000_000,
        Algorithm::SlidingWindow(a) => size(a.limit) && window(a.window),
        Algorithm::FixedWindow(a) => size(a.limit) && window(a.window),
        Algorithm::WarmUp(a) => {
            (2..=100).contains(&a.cold_factor) && window(a.period) && a.max_queueing.is_none_or(waits)
        }
        Algorithm::Concurrency(a) => size(a.limit),
        Algorithm::AdaptiveConcurrency(a) => {
            let by = match a.by {
                Adaptation::Gradient2 { tolerance_thousandths } => (1_000..=10_000).contains(&tolerance_thousandths),
                Adaptation::Aimd { backoff_thousandths, latency } => {
                    (500..=999).contains(&backoff_thousandths) && window(latency)
                }
            };
            size(a.min) && size(a.max) && (a.min..=a.max).contains(&a.initial) && by
        }
        Algorithm::Bandwidth(a) => (1..=10 << 30).contains(&a.rate.per_second) && (1..=1 << 30).contains(&a.burst),
    }
}

#[test]
fn nothing_overflows_the_stack_or_takes_for_ever() {
    for text in ["[", "{a: ", "- ", "? ", "a:\n", "{", "\"", "&a [", "- - ", "!a ", "a: &a "] {
        survives(text.repeat(20_000).as_bytes());
    }
    let laughs =
        (1..30).map(|n| format!("l{n}: &l{n} [*l{0}, *l{0}, *l{0}, *l{0}]\n", n - 1)).collect::<Vec<_>>().concat();
    survives(format!("kind: Cell\nname: a\nl0: &l0 lol\n{laughs}").as_bytes());
}

#[test]
fn ten_thousand_routes_and_a_hundred_thousand_tenants() {
    use std::fmt::Write;
    let mut base = DOCUMENTS.map(|text| if text.contains("kind: Tenant") { "" } else { text }).join("---\n");
    for n in 0..10_000 {
        // Half of them share one host and path and differ by a header alone.
        let special = if n % 2 == 0 {
            format!("hosts: [h{n}.example.com]")
        } else {
            format!("headers: [{{name: x, exact: 'v{n}'}}]")
        };
        writeln!(
            base,
            "---\nkind: Route\nname: r{n}\n{special}\npaths: [{{prefix: /api}}]\ngrid: shop\nservice: checkout\n\
             tenant: {{from: [{{header: x-tenant-id}}]}}\nlimits: [per-tenant]"
        )
        .unwrap();
    }
    let mut tenants = String::new();
    for n in 0..100_000 {
        writeln!(tenants, "---\nkind: Tenant\nname: t{n}\ngrid: shop\ncell: eu-{}", n % 2 + 1).unwrap();
    }
    let first = in_force(&[parse("base.yaml", base.as_bytes()), parse("tenants.yaml", tenants.as_bytes())]);
    assert_eq!(first.documents().len(), DOCUMENTS.len() - 1 + 10_000 + 100_000);
    let moved = tenants.replacen("cell: eu-1", "cell: eu-2", 1);
    let second = advance(
        Some(&first),
        &[parse("base.yaml", base.as_bytes()), parse("tenants.yaml", moved.as_bytes())],
        &TenantTable::default(),
    );
    assert!(second.problems.is_empty() && second.changed);
    let (old, new) = (first.model(), second.in_force.model());
    assert!(old.routes.iter().all(|(name, route)| Arc::ptr_eq(route, &new.routes[name])));
    assert_eq!(new.tenants.changes(&old.tenants).len(), 1);
}

/// One mistake may be in every document: the problems are as many, and the time is still of the documents' number.
#[test]
fn ten_thousand_routes_and_a_hundred_thousand_tenants_all_bad() {
    use std::fmt::Write;
    let mut text = String::new();
    for n in 0..10_000 {
        writeln!(text, "---\nkind: Route\nname: r{n}\nhosts: [h{n}]\nservice: s{n}\nlimits: [l]\ncolour: red").unwrap();
    }
    for n in 0..100_000 {
        writeln!(text, "---\nkind: Tenant\nname: t{}\ngrid: g\ncell: 5\nzone: x", n / 2).unwrap();
    }
    let advanced = advance(None, &[parse("a.yaml", text.as_bytes())], &TenantTable::default());
    let count = |what: &str| advanced.problems.iter().filter(|problem| problem.message.starts_with(what)).count();
    assert_eq!(count("there is no Service"), 10_000);
    assert_eq!(count("there is no Limit"), 10_000);
    assert_eq!(count("there is no Grid"), 100_000);
    assert_eq!(count("unknown field"), 110_000);
    assert_eq!(advanced.problems.iter().filter(|problem| problem.message.ends_with("defined twice")).count(), 50_000);
    assert_eq!(advanced.problems.len(), 10_000 * 3 + 100_000 * 3 + 50_000);
}
