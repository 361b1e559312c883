//! Clients that do not speak TLS, or do not get on with it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::OK;
use crate::support::tls::{Authority, BOTH, Trusting};
use crate::support::{PATIENCE, Site, Upstream, assert_fired, eventually};

fn site(upstream: &Upstream, root: &Authority, timeout: &str) -> Site {
    Site::to(upstream)
        .route("")
        .document(&root.certify(&["shop.test"]).document("shop"))
        .listener(&format!("tls: {{handshakeTimeout: {timeout}}}"))
        .start()
}

fn failures(site: &Site, reason: &str) -> u64 {
    site.count(&format!("gridrouter_tls_handshake_failures_total{{reason=\"{reason}\"}}"))
}

/// What is answered to these bytes, until the connection ends. How it ends makes no difference.
fn answer(site: &Site, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(site.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        answer.extend_from_slice(&buffer[..n]);
    }
    answer
}

#[test]
fn http_in_clear_is_told_so() {
    let (upstream, root) = (Upstream::answering(OK), Authority::new("root"));
    let site = site(&upstream, &root, "5s");
    let answer = String::from_utf8(answer(&site, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("use https://\"}}\n"), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{answer}");
    serde_json::from_str::<serde_json::Value>(body).unwrap();
    eventually("it is counted", || failures(&site, "plain_http") == 1);
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn garbage_costs_one_connection() {
    let (upstream, root) = (Upstream::answering(OK), Authority::new("root"));
    let site = site(&upstream, &root, "5s");
    let mut good = Trusting::new(&root, &BOTH, None).connect(site.address(), "shop.test");
    let hello_of_zeros = [&[22, 3, 1, 0, 100, 1, 0, 0, 96][..], &[0; 96]].concat();
    let long_record = [&[22, 3, 1, 255, 255][..], &vec![0; 70_000]].concat();
    let endless_hello = [&[22, 3, 1, 64, 0, 1, 255, 255, 255][..], &vec![0; 200_000]].concat();
    for garbage in [&b"\0\0\0\0"[..], b"\x80\x2e\x01", &hello_of_zeros, &long_record, &endless_hello] {
        let _alert = answer(&site, garbage);
        assert_eq!(good.get("/").1, b"hi");
    }
    eventually("all are counted", || failures(&site, "protocol") + failures(&site, "gone") == 5);
    eventually("all are gone", || site.count("gridrouter_connections") == 1);
}

#[test]
fn a_broken_record_ends_a_connection_and_no_other() {
    let (upstream, root) = (Upstream::answering(OK), Authority::new("root"));
    let site = site(&upstream, &root, "5s");
    let client = Trusting::new(&root, &BOTH, None);
    let (mut good, mut bad) =
        (client.connect(site.address(), "shop.test"), client.connect(site.address(), "shop.test"));
    bad.get("/");
    bad.stream.sock.write_all(&[23, 3, 3, 0, 40]).unwrap();
    bad.stream.sock.write_all(&[7; 40]).unwrap();
    assert!(bad.try_get("/", "").is_err());
    assert_eq!(good.get("/").1, b"hi");
}

#[test]
fn handshakes_end_in_time_and_good_clients_do_not_wait() {
    let (upstream, root) = (Upstream::answering(OK), Authority::new("root"));
    let timeout = Duration::from_millis(700);
    let site = site(&upstream, &root, "700ms");
    let began = Instant::now();
    // Some say nothing, some the beginning of a greeting, some a byte every now and then.
    let mut slow: Vec<TcpStream> = (0..60).map(|_| TcpStream::connect(site.address()).unwrap()).collect();
    for stream in slow.iter_mut().skip(20) {
        stream.write_all(&[22, 3, 1, 2, 0, 1]).unwrap();
    }
    let client = Trusting::new(&root, &BOTH, None);
    assert_eq!(client.connect(site.address(), "shop.test").get("/").1, b"hi");
    while began.elapsed() < timeout {
        for stream in slow.iter_mut().skip(40) {
            let _closed: std::io::Result<()> = stream.write_all(&[0]);
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    for stream in &mut slow {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // Its end, or a reset.
        assert!(!matches!(stream.read(&mut [0; 64]), Ok(1..)));
    }
    assert_fired(began, timeout);
    eventually("all are counted", || failures(&site, "timeout") == 60);
    assert_eq!(site.count("gridrouter_tls_handshakes_under_way"), 0);
}

#[test]
fn a_client_that_speaks_no_protocol_of_ours_is_refused() {
    let (upstream, root) = (Upstream::answering(OK), Authority::new("root"));
    let site = site(&upstream, &root, "5s");
    let output = std::process::Command::new("openssl")
        .args(["s_client", "-alpn", "h9", "-servername", "shop.test", "-connect", &site.address().to_string()])
        .stdin(std::process::Stdio::null())
        .output();
    // Where there is no such program there is nothing to be tested.
    let Ok(output) = output else { return };
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("no application protocol"), "{said}");
    eventually("it is counted", || failures(&site, "incompatible") == 1);
}
