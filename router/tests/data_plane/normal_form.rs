//! The one form of a request that is routed on and sent on.

use super::support::{Site, Upstream};

#[test]
fn the_path_is_forwarded_in_normal_form_and_the_query_untouched() {
    let upstream = Upstream::ok("");
    let site = Site::of(&upstream);
    let mut client = site.client();
    for (sent, received) in [
        ("/", "/"),
        ("/a/./b/../c//d%41", "/a/c/dA"),
        ("/a/./b/../c//d%41?x=/../%41//&y", "/a/c/dA?x=/../%41//&y"),
        ("/a?", "/a?"),
        ("/a??", "/a??"),
        ("//a", "/a"),
        ("/a/..", "/"),
        ("/a%7eb%2d", "/a~b-"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/a%20b;c=d,e", "/a%20b;c=d,e"),
        ("/plain/path?q=%2f%00", "/plain/path?q=%2f%00"),
        ("http://a.test/b/../c?d", "/c?d"),
        ("http://a.test", "/"),
        ("http://A.TEST/x", "/x"),
    ] {
        client.get(sent).assert_ok("");
        assert_eq!(upstream.received().first, format!("GET {received} HTTP/1.1"), "{sent}");
    }
}

#[test]
fn the_normal_form_is_what_is_routed_on() {
    let (open, secret) = (Upstream::ok("open"), Upstream::ok("secret"));
    let site = Site::builder()
        .service("open", &[open.address()])
        .service("secret", &[secret.address()])
        .document("kind: Route\nname: open\nservice: open")
        .document("kind: Route\nname: secret\npaths: [{prefix: /secret}]\nservice: secret")
        .start();
    for path in ["/secret", "/secret/x", "//secret", "/x/../secret", "/%73ecret", "/./secret/", "/x/%2e%2e/secret"] {
        site.get(path).assert_ok("secret");
    }
    for path in ["/", "/secrets", "/secret/..", "/x/secret", "/SECRET", "/secret%20"] {
        site.get(path).assert_ok("open");
    }
}

#[test]
fn hosts_are_compared_without_case_port_and_trailing_dot() {
    let (shop, other) = (Upstream::ok("shop"), Upstream::ok("other"));
    let site = Site::builder()
        .service("shop", &[shop.address()])
        .service("other", &[other.address()])
        .document("kind: Route\nname: shop\nhosts: [shop.test, '*.shop.test']\nservice: shop")
        .document("kind: Route\nname: other\nservice: other")
        .start();
    for (host, wanted) in [
        ("shop.test", "shop"),
        ("SHOP.Test:8080", "shop"),
        ("shop.test.", "shop"),
        ("a.b.shop.test", "shop"),
        ("xshop.test", "other"),
        ("shop.test.evil", "other"),
        ("127.0.0.1", "other"),
        ("[::1]:80", "other"),
    ] {
        let answer = site.exchange(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(answer.text(), wanted, "{host}");
        let upstream = if wanted == "shop" { &shop } else { &other };
        assert_eq!(upstream.received().header("host"), Some(host), "the host is sent on as it came");
    }
}
