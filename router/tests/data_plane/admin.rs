//! The admin endpoints.

use super::support::{Client, Site, Upstream};

fn site(upstream: &Upstream) -> Site {
    Site::builder()
        .document("kind: Grid\nname: grid\ncells: [one, two]")
        .document("kind: Cell\nname: one")
        .document("kind: Cell\nname: two")
        .document(&format!(
            "kind: Service\nname: all\ncells: {{one: {{blue: [{{address: {0}}}]}}, two: {{blue: [{{address: {0}}}]}}}}",
            upstream.address()
        ))
        .route("tenant: {from: [{header: x-tenant}]}\ngrid: grid\nlimits: [per]")
        .document("kind: Limit\nname: per\ntokenBucket: {rate: 1/h, burst: 2}")
        .document("kind: Tenant\nname: acme\ngrid: grid\ncell: two")
        .document("kind: Route\nname: own\npaths: [{exact: /own}]\nrespond: {status: 200, body: own}")
        .start()
}

#[test]
fn live_and_ready() {
    let upstream = Upstream::ok("ok");
    let site = site(&upstream);
    let live = site.admin("/live");
    assert_eq!((live.status(), live.text().as_str()), (200, "live\n"));
    let ready = site.ready();
    assert_eq!((&ready["ready"], &ready["origin"], &ready["generation"]), (&true.into(), &"store".into(), &1.into()));
    assert_eq!(site.admin("/").status(), 200);
    assert_eq!(site.admin("/nothing").status(), 404);
}

#[test]
fn nothing_can_be_changed_there() {
    let upstream = Upstream::ok("ok");
    let site = site(&upstream);
    let mut client = Client::connect(site.router().admin().unwrap());
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        for path in ["/live", "/ready", "/metrics", "/snapshot", "/explain"] {
            client.send(format!("{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"));
            assert_eq!(client.answer().status(), 405, "{method} {path}");
        }
    }
    let head = client.send("HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n").head();
    assert_eq!(head.status(), 200);
}

/// A line of the text format: a name, labels, a number.
fn parses(line: &str) -> bool {
    let Some((series, value)) = line.rsplit_once(' ') else { return false };
    let (name, labels) = series.split_once('{').map_or((series, None), |(name, labels)| (name, Some(labels)));
    let name_char = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let label = |label: &str| {
        label.split_once('=').is_some_and(|(name, value)| {
            name.chars().all(name_char) && value.len() >= 2 && value.starts_with('"') && value.ends_with('"')
        })
    };
    let labels_fine = labels.is_none_or(|labels| {
        labels
            .strip_suffix('}')
            .is_some_and(|labels| labels.split("\",").all(|l| label(&format!("{}\"", l.trim_end_matches('"')))))
    });
    name.starts_with("gridrouter_") && name.chars().all(name_char) && labels_fine && value.parse::<f64>().is_ok()
}

#[test]
fn every_metric_parses_and_counts_what_happened() {
    let upstream = Upstream::ok("ok");
    let site = site(&upstream);
    let mut client = site.client();
    for _ in 0..4 {
        client.get_with("/", "X-Tenant: acme\r\n");
    }
    client.get("/own").assert_ok("own");
    client.get("/a%2fb").assert_reject(400, "bad_path");
    let text = site.admin("/metrics").text();
    let (mut types, mut series) = (std::collections::BTreeSet::new(), 0);
    assert!(text.ends_with("# EOF\n"));
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            assert!(types.insert(rest.split(' ').next().unwrap().to_owned()), "declared twice: {line}");
        } else if !line.starts_with('#') {
            assert!(parses(line), "{line}");
            assert!(types.iter().any(|name| line.starts_with(name.as_str())), "not declared: {line}");
            series += 1;
        }
    }
    assert!(series > 20, "{text}");
    let last = text.lines().filter(|line| line.contains("_bucket{") && line.contains("le=\"+Inf\"")).count();
    assert!(last > 0 && !text.contains("e308"), "a histogram's last bucket has no bound: {text}");
    for (series, wanted) in [
        ("gridrouter_limit_requests_total{limit=\"per\",values=\"live\",verdict=\"allowed\"}", 2.0),
        ("gridrouter_limit_requests_total{limit=\"per\",values=\"live\",verdict=\"refused\"}", 2.0),
        ("gridrouter_rejects_total{code=\"limit_exceeded\"}", 2.0),
        ("gridrouter_rejects_total{code=\"bad_path\"}", 1.0),
    ] {
        // A request is counted when the last byte of its answer has been handed over.
        super::support::eventually(series, || (site.metric(series) - wanted).abs() < 0.1);
    }
}

#[test]
fn the_snapshot_says_what_is_in_force() {
    let upstream = Upstream::ok("ok");
    let site = site(&upstream);
    let snapshot = site.json("/snapshot");
    assert_eq!(snapshot["routes"], serde_json::json!(["all", "own"]));
    assert_eq!((&snapshot["tenants"], &snapshot["pins"], &snapshot["threads"]), (&1.into(), &1.into(), &1.into()));
    let buckets = &snapshot["grids"]["grid"]["buckets"];
    let sum = buckets["one"].as_u64().unwrap() + buckets["two"].as_u64().unwrap();
    assert_eq!(sum, 16_384);
    assert_eq!(snapshot["listeners"]["web"], site.address().to_string());
}

#[test]
fn explain_says_what_would_happen_and_counts_nothing() {
    let upstream = Upstream::ok("ok");
    let site = site(&upstream);
    let ask = "/explain?method=GET&host=a.test&path=/x/../y&header=x-tenant:acme";
    for _ in 0..5 {
        let said = site.json(ask);
        assert_eq!((&said["outcome"], &said["route"]), (&"forward".into(), &"all".into()), "{said}");
        assert_eq!((&said["tenant"], &said["cell"], &said["by"]), (&"acme".into(), &"two".into(), &"pin".into()));
        assert_eq!((&said["path"], &said["endpoint"]), (&"/y".into(), &upstream.address().to_string().into()));
        assert_eq!((&said["limits"][0]["admitted"], &said["limits"][0]["remaining"]), (&true.into(), &1.into()));
    }
    upstream.assert_untouched();
    let mut client = site.client();
    client.get_with("/", "X-Tenant: acme\r\n").assert_ok("ok");
    client.get_with("/", "X-Tenant: acme\r\n").assert_ok("ok");
    let said = site.json(ask);
    assert_eq!((&said["outcome"], &said["reject"]["code"]), (&"reject".into(), &"limit_exceeded".into()), "{said}");
    client.get_with("/", "X-Tenant: acme\r\n").assert_reject(429, "limit_exceeded");
    for (query, code) in [("path=/", "bad_host"), ("host=a&path=/", "no_tenant"), ("host=a&path=/a%252fb", "bad_path")]
    {
        let said = site.json(&format!("/explain?{query}"));
        assert_eq!(said["reject"]["code"], code, "{said}");
    }
    assert_eq!(site.json("/explain?host=a&path=/own")["outcome"], "respond");
    for bad in ["/explain?what=x", "/explain?listener=none&host=a", "/explain?path=%zz", "/explain?header=x"] {
        assert_eq!(site.admin(bad).status(), 400, "{bad}");
    }
}

#[test]
fn explain_agrees_with_what_happens() {
    let upstream = Upstream::ok("ok");
    let site = site(&upstream);
    let mut client = site.client();
    for n in 0..20 {
        let said = site.json(&format!("/explain?host=a&path=/&header=x-tenant:t{n}"));
        assert!(["one", "two"].contains(&said["cell"].as_str().unwrap()));
        client.get_with("/", &format!("X-Tenant: t{n}\r\n")).assert_ok("ok");
    }
}
