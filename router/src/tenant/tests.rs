use gridrouter_config::ids::Name;
use http::HeaderValue;
use http::header::COOKIE;
use proptest::prelude::*;

use super::*;

const TENANT_HEADER: HeaderName = HeaderName::from_static("x-tenant-id");

fn rule(from: impl IntoIterator<Item = TenantSource>) -> TenantRule {
    TenantRule { from: from.into_iter().collect(), otherwise: Otherwise::Reject }
}

fn headers(lines: &[(HeaderName, &[u8])]) -> Fields {
    lines.iter().map(|(name, value)| (name.clone(), HeaderValue::from_bytes(value).unwrap())).collect()
}

/// What is found, with `(missing)` and `(invalid)` in place of an id.
fn found(rule: &TenantRule, host: &str, path: &str, query: Option<&str>, headers: &Fields) -> String {
    match find(rule, &Asked { host, path, query, headers, certificate: None }) {
        Found::Tenant(id) => id.into_owned(),
        Found::Missing => "(missing)".to_owned(),
        Found::Invalid => "(invalid)".to_owned(),
    }
}

fn in_header(lines: &[&[u8]]) -> String {
    let lines: Vec<_> = lines.iter().map(|&value| (TENANT_HEADER, value)).collect();
    found(&rule([TenantSource::Header(TENANT_HEADER)]), "", "/", None, &headers(&lines))
}

#[test]
fn from_a_header() {
    assert_eq!(in_header(&[b"acme"]), "acme");
    assert_eq!(in_header(&[b"acme", b"acme"]), "acme");
    assert_eq!(in_header(&[b"%41+"]), "%41+", "headers are not encoded");
    assert_eq!(in_header(&["änne".as_bytes()]), "änne");
    assert_eq!(in_header(&[&[b'x'; 128]]), "x".repeat(128));
    let missing: [&[&[u8]]; 3] = [&[], &[b""], &[b"", b""]];
    for lines in missing {
        assert_eq!(in_header(lines), "(missing)");
    }
    let ambiguous: [&[&[u8]]; 2] = [&[b"acme", b"other"], &[b"acme", b""]];
    for invalid in ambiguous {
        assert_eq!(in_header(invalid), "(invalid)");
    }
    for invalid in [b"a b".as_slice(), b"a\tb", b" ", b"acme, other", b"\xff", &[b'x'; 129]] {
        assert_eq!(in_header(&[invalid]), "(invalid)", "{invalid:?}");
    }
}

fn in_host(host: &str, label: u8) -> String {
    found(&rule([TenantSource::HostLabel(label)]), host, "/", None, &Fields::new())
}

#[test]
fn from_a_host_label() {
    assert_eq!(in_host("acme.example.com", 0), "acme");
    assert_eq!(in_host("api.acme.example.com", 1), "acme");
    assert_eq!(in_host("localhost", 0), "localhost");
    assert_eq!(in_host("10.example", 0), "10");
    for host in ["", "192.168.0.1", "10.1", "[::1]", "::1", "[fe80::a.b]"] {
        assert_eq!(in_host(host, 0), "(missing)", "{host}");
    }
    assert_eq!(in_host("acme.example.com", 3), "(missing)");
    assert_eq!(in_host("a..example.com", 1), "(missing)");
    assert_eq!(in_host(&format!("{}.example", "x".repeat(129)), 0), "(invalid)");
}

fn in_path(path: &str, segment: u8) -> String {
    found(&rule([TenantSource::PathSegment(segment)]), "", path, None, &Fields::new())
}

#[test]
fn from_a_path_segment() {
    assert_eq!(in_path("/acme/orders", 0), "acme");
    assert_eq!(in_path("/api/acme", 1), "acme");
    assert_eq!(in_path("/api/%61cme", 1), "acme");
    assert_eq!(in_path("/a%2Fb", 0), "a/b");
    assert_eq!(in_path("/a+b", 0), "a+b");
    assert_eq!(in_path("/%C3%A4", 0), "ä");
    for missing in ["/", "", "*", "//acme"] {
        assert_eq!(in_path(missing, 0), "(missing)", "{missing}");
    }
    assert_eq!(in_path("/acme", 1), "(missing)");
    for invalid in ["/a%", "/a%2", "/a%zz", "/%ff", "/%20", "/a%00", "/%0a", "/%7f"] {
        assert_eq!(in_path(invalid, 0), "(invalid)", "{invalid}");
    }
}

fn in_query(query: &str) -> String {
    found(&rule([TenantSource::Query("tenant id".to_owned())]), "", "/", Some(query), &Fields::new())
}

#[test]
fn from_a_query_parameter() {
    for query in [
        "tenant+id=acme",
        "a=b&tenant%20id=acme&c",
        "tenant+id=%61cme",
        "tenant+id=acme&tenant%20id=%61cme",
        "%&tenant+id=acme",
    ] {
        assert_eq!(in_query(query), "acme", "{query}");
    }
    for query in
        ["", "tenant+id", "tenant+id=", "&&", "tenantid=acme", "tenant%2id=acme", "tenant%2520id=acme", "xtenant+id=a"]
    {
        assert_eq!(in_query(query), "(missing)", "{query}");
    }
    for query in ["tenant+id=a&tenant+id=b", "tenant+id=a&tenant+id=", "tenant+id=a+b", "tenant+id=%", "tenant+id=%ff"]
    {
        assert_eq!(in_query(query), "(invalid)", "{query}");
    }
    let plus = rule([TenantSource::Query("a+b".to_owned())]);
    assert_eq!(found(&plus, "", "/", Some("a%2Bb=x"), &Fields::new()), "x");
    assert_eq!(found(&plus, "", "/", Some("a+b=x"), &Fields::new()), "(missing)");
    assert_eq!(found(&plus, "", "/", None, &Fields::new()), "(missing)");
}

fn in_cookies(lines: &[&[u8]]) -> String {
    let lines: Vec<_> = lines.iter().map(|&value| (COOKIE, value)).collect();
    found(&rule([TenantSource::Cookie("tenant".to_owned())]), "", "/", None, &headers(&lines))
}

#[test]
fn from_a_cookie() {
    assert_eq!(in_cookies(&[b"a=b; tenant=acme; c=d"]), "acme");
    assert_eq!(in_cookies(&[b"a=b;tenant=acme "]), "acme");
    assert_eq!(in_cookies(&[b"a=b", b"tenant=acme"]), "acme");
    assert_eq!(in_cookies(&[b"tenant=acme;tenant=acme"]), "acme");
    assert_eq!(in_cookies(&[b"tenant=a=b"]), "a=b");
    assert_eq!(in_cookies(&[b"other=\xff; tenant=acme"]), "acme");
    let missing: [&[&[u8]]; 4] = [&[], &[b"tenant"], &[b"tenant="], &[b"xtenant=a; tenantx=b; Tenant=c"]];
    for lines in missing {
        assert_eq!(in_cookies(lines), "(missing)");
    }
    let invalid: [&[&[u8]]; 4] =
        [&[b"tenant=a; tenant=b"], &[b"tenant=a", b"tenant=b"], &[b"tenant=a b"], &[b"tenant=\xff"]];
    for lines in invalid {
        assert_eq!(in_cookies(lines), "(invalid)");
    }
}

#[test]
fn the_first_source_that_holds_something_decides() {
    let mut rule =
        rule([TenantSource::Header(TENANT_HEADER), TenantSource::Query("t".to_owned()), TenantSource::HostLabel(0)]);
    let find = |rule: &TenantRule, header: &[u8], query: &str| {
        found(rule, "host.example", "/", Some(query), &headers(&[(TENANT_HEADER, header)]))
    };
    assert_eq!(find(&rule, b"header", "t=query"), "header");
    assert_eq!(find(&rule, b"", "t=query"), "query");
    assert_eq!(find(&rule, b"", "t="), "host");
    assert_eq!(find(&rule, b"not valid", "t=query"), "(invalid)");
    rule.from.pop();
    assert_eq!(find(&rule, b"", ""), "(missing)");
    rule.otherwise = Otherwise::Tenant(Name::tenant("default").unwrap());
    assert_eq!(find(&rule, b"", ""), "default");
    assert_eq!(find(&rule, b"not valid", ""), "(invalid)", "a default does not hide what is wrong");
}

#[test]
fn a_certificate_says_it() {
    let in_certificate = |field, certificate: &Certificate| {
        let (rule, headers) = (rule([TenantSource::ClientCertificate(field)]), Fields::new());
        match find(
            &rule,
            &Asked { host: "", path: "/", query: None, headers: &headers, certificate: Some(certificate) },
        ) {
            Found::Tenant(id) => id.into_owned(),
            Found::Missing => "(missing)".to_owned(),
            Found::Invalid => "(invalid)".to_owned(),
        }
    };
    let mut certificate = Certificate {
        dns: vec!["acme.example".to_owned()],
        uris: vec!["spiffe://example/acme".to_owned(); 2],
        common_name: Some("acme".to_owned()),
        ..Certificate::default()
    };
    assert_eq!(in_certificate(CertificateField::SanDns, &certificate), "acme.example");
    assert_eq!(in_certificate(CertificateField::SanUri, &certificate), "spiffe://example/acme");
    assert_eq!(in_certificate(CertificateField::SanEmail, &certificate), "(missing)");
    assert_eq!(in_certificate(CertificateField::CommonName, &certificate), "acme");
    certificate.dns.push("bolt.example".to_owned());
    assert_eq!(in_certificate(CertificateField::SanDns, &certificate), "(invalid)", "two names");
    certificate.common_name = Some("acme corp".to_owned());
    assert_eq!(in_certificate(CertificateField::CommonName, &certificate), "(invalid)");
}

#[test]
fn plain_ids_are_borrowed() {
    let sources = [TenantSource::PathSegment(0), TenantSource::Query("t".to_owned())];
    for source in sources {
        let rule = rule([source]);
        let headers = Fields::new();
        let found = find(
            &rule,
            &Asked { host: "", path: "/acme", query: Some("t=acme"), headers: &headers, certificate: None },
        );
        assert!(matches!(found, Found::Tenant(Cow::Borrowed("acme"))), "{found:?}");
    }
}

fn digit(value: u8) -> char {
    char::from_digit(u32::from(value), 16).unwrap()
}

proptest! {
    /// Whatever is found is what a document could name.
    #[test]
    fn what_is_found_is_an_id(host in ".{0,20}", path in "(/[a%0-9+ ]{0,8}){0,3}", query in "[t=&%0-9a+]{0,20}") {
        for source in [TenantSource::HostLabel(0), TenantSource::PathSegment(0), TenantSource::Query("t".to_owned())] {
            let (rule, headers) = (rule([source]), Fields::new());
            let asked = Asked { host: &host, path: &path, query: Some(&query), headers: &headers, certificate: None };
            if let Found::Tenant(id) = find(&rule, &asked) {
                prop_assert!(Name::tenant(&id).is_ok());
            }
        }
    }

    #[test]
    fn any_id_survives_encoding(id in "[^\u{0}-\u{20}\u{7f}]{1,30}") {
        let encoded: String = id.bytes().flat_map(|byte| ['%', digit(byte >> 4), digit(byte & 15)]).collect();
        prop_assert_eq!(in_path(&format!("/{encoded}"), 0), id.as_str());
        prop_assert_eq!(in_query(&format!("tenant+id={encoded}")), id.as_str());
    }
}
