//! Sockets in the file system, on both sides.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use super::support::{Client, PATIENCE, Site, Upstream, eventually};

/// A client on a socket in the file system. It goes by the type of TCP's, which reads and writes by the same calls.
fn client(path: &Path) -> Client {
    try_client(path).unwrap()
}

fn try_client(path: &Path) -> std::io::Result<Client> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(Client::at(std::os::fd::OwnedFd::from(stream).into()))
}

fn listener(path: &Path, lines: &str) -> String {
    format!("kind: Listener\nname: local\naddress: unix:{}\n{lines}", path.display())
}

fn path() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("web.sock");
    (directory, path)
}

#[test]
fn clients_come_by_a_path_and_all_threads_serve_them() {
    let (upstream, (directory, path)) = (Upstream::ok("ok"), path());
    let site = Site::to(&upstream).document(&listener(&path, "")).route("").threads(2).start();
    let mut clients: Vec<_> = (0..40).map(|_| client(&path)).collect();
    for client in &mut clients {
        client.get("/").assert_ok("ok");
        assert_eq!(upstream.received().header("x-forwarded-for"), Some("unknown"));
    }
    for thread in &site.router().shared.threads {
        assert!(thread.live.load(std::sync::atomic::Ordering::Relaxed) >= 15);
    }
    let large = "x".repeat(300_000);
    let post = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{large}", large.len());
    clients[0].send(post).answer().assert_ok("ok");
    assert_eq!(upstream.received().body.len(), large.len());
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o660);
    let shown = site.json("/snapshot");
    assert_eq!(shown["listeners"]["local"], format!("unix:{}", path.display()));
    drop(clients);
    site.stop();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn whoever_comes_by_a_path_has_no_address() {
    let (upstream, (_directory, path)) = (Upstream::ok("ok"), path());
    let limit = "kind: Limit\nname: one\nkey: [clientIp]\ntokenBucket: {rate: 1/h, burst: 1}";
    let lines = "limits: [one]\nclients: {maxConnections: 2}";
    let site = Site::to(&upstream).document(limit).document(&listener(&path, lines)).route("").start();
    // All of them together are one client.
    let (mut one, mut other) = (client(&path), client(&path));
    one.get("/").assert_ok("ok");
    other.get("/").assert_reject(429, "limit_exceeded");
    let refused = || site.metric("gridrouter_connections_refused_total{reason=\"too_many\"}");
    drop(client(&path));
    eventually("it is turned away", || refused() > 0.5);
    // Nobody's word is taken for theirs.
    assert_eq!(upstream.received().header("x-forwarded-for"), Some("unknown"));
    site.edit("maxConnections: 2", "allow: [0.0.0.0/0]");
    other.get("/").assert_reject(403, "client_denied");
    site.edit("allow: [0.0.0.0/0]", "allow: [unix]");
    other.get("/").assert_reject(429, "limit_exceeded");
}

#[test]
fn a_proxy_that_comes_by_a_path_is_believed_where_that_is_said() {
    let (upstream, (_directory, path)) = (Upstream::ok("ok"), path());
    let site = Site::to(&upstream).document(&listener(&path, "trustedProxies: [unix, 10.0.0.0/8]")).route("").start();
    let mut local = client(&path);
    for (says, told) in [("192.0.2.1", "192.0.2.1"), ("192.0.2.1, 10.0.0.1", "192.0.2.1, 10.0.0.1")] {
        local.get_with("/", &format!("X-Forwarded-For: {says}\r\n")).assert_ok("ok");
        assert_eq!(upstream.received().header("x-forwarded-for"), Some(told));
    }
    local.get("/").assert_ok("ok");
    assert_eq!(upstream.received().header("x-forwarded-for"), Some("unknown"));
    // By TCP, at a listener that trusts nobody.
    site.get_with("/", "X-Forwarded-For: 192.0.2.1\r\n").assert_ok("ok");
    assert_eq!(upstream.received().header("x-forwarded-for"), Some("127.0.0.1"));
}

#[test]
fn a_balancer_that_comes_by_a_path_says_whose_connection_it_is() {
    let (upstream, (_directory, path)) = (Upstream::ok("ok"), path());
    let lines = "proxyProtocol: {from: [unix]}\nclients: {deny: [192.0.2.66, unix]}";
    let site = Site::to(&upstream).document(&listener(&path, lines)).route("").start();
    let mut local = client(&path);
    local.send("PROXY TCP4 192.0.2.1 198.51.100.1 1 2\r\n").get("/").assert_ok("ok");
    assert_eq!(upstream.received().header("x-forwarded-for"), Some("192.0.2.1"));
    client(&path).send("PROXY TCP4 192.0.2.66 198.51.100.1 1 2\r\n");
    let refused = |reason: &str| site.metric(&format!("gridrouter_connections_refused_total{{reason=\"{reason}\"}}"));
    eventually("it is turned away", || refused("denied") > 0.5);
    client(&path).send("GET / HTTP/1.1\r\n");
    eventually("it is turned away", || refused("proxy_header_missing") > 0.5);
    // An address that nobody has is not that of those who come by a path.
    let mut forged = client(&path);
    forged.send("PROXY TCP6 :: :: 1 2\r\n").get("/").assert_reject(403, "client_denied");
}

#[test]
fn a_socket_is_replaced_renamed_and_removed_with_its_document() {
    let (upstream, (directory, path)) = (Upstream::ok("ok"), path());
    // Left behind by one that was killed.
    drop(UnixListener::bind(&path).unwrap());
    let site = Site::to(&upstream).document(&listener(&path, "")).route("").start();
    let mut held = client(&path);
    held.get("/").assert_ok("ok");
    site.edit("name: local", "name: renamed");
    client(&path).get("/").assert_ok("ok");
    site.edit("name: renamed", "name: renamed\nsocketMode: \"0600\"");
    eventually("it has other permissions", || {
        std::fs::metadata(&path).is_ok_and(|found| found.mode() & 0o777 == 0o600) && try_client(&path).is_ok()
    });
    client(&path).get("/").assert_ok("ok");
    let moved = directory.path().join("moved.sock");
    site.edit(&format!("unix:{}", path.display()), &format!("unix:{}", moved.display()));
    eventually("it has moved", || try_client(&moved).is_ok() && !path.exists());
    held.get("/").assert_ok("ok");
    // Somebody else's is left alone, and the place is taken when it is free.
    let other = UnixListener::bind(&path).unwrap();
    site.edit(&format!("unix:{}", moved.display()), &format!("unix:{}", path.display()));
    let (mut theirs, _) = (UnixStream::connect(&path).unwrap(), other.accept().unwrap());
    theirs.write_all(b"x").unwrap();
    drop(other);
    eventually("it listens", || try_client(&path).is_ok());
    client(&path).get("/").assert_ok("ok");
}

/// An endpoint at a path: it answers the paths it is asked for, on one connection after another.
fn endpoint(path: &Path) {
    let socket = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        for stream in socket.incoming() {
            let Ok(stream) = stream else { return };
            std::thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().unwrap());
                let mut stream = stream;
                loop {
                    let (mut first, mut line) = (String::new(), String::new());
                    lines.read_line(&mut first).unwrap();
                    let mut length = 0;
                    while line != "\r\n" {
                        line.clear();
                        if lines.read_line(&mut line).unwrap() == 0 {
                            return;
                        }
                        length = line.strip_prefix("content-length: ").map_or(length, |n| n.trim().parse().unwrap());
                    }
                    let mut body = vec![0; length];
                    lines.read_exact(&mut body).unwrap();
                    let said = format!("{} {length}", first.trim());
                    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{said}", said.len());
                    stream.write_all(answer.as_bytes()).unwrap();
                }
            });
        }
    });
}

/// By TCP the kernel would try again; a Unix socket says at once that too many wait.
#[test]
fn an_endpoint_on_which_too_many_wait_is_given_its_time() {
    let (_directory, path) = path();
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    socket.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    socket.listen(0).unwrap();
    let site = Site::builder()
        .document(&format!("kind: Service\nname: all\nendpoints: {{blue: [{{address: 'unix:{}'}}]}}", path.display()))
        .route("timeouts: {connect: 300ms}")
        .start();
    // One may wait beside the one that is being accepted; whoever comes then is turned away.
    let _first = UnixStream::connect(&path).unwrap();
    site.get("/").assert_reject(504, "upstream_connect_timeout");
    site.edit("connect: 300ms", "connect: 30s");
    let asking = std::thread::scope(|scope| {
        let asking = scope.spawn(|| site.get("/late"));
        std::thread::park_timeout(std::time::Duration::from_millis(100));
        let (waited, _) = socket.accept().unwrap();
        drop(waited);
        let (stream, _) = socket.accept().unwrap();
        let mut stream = UnixStream::from(std::os::fd::OwnedFd::from(stream));
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        assert_eq!(line, "GET /late HTTP/1.1\r\n");
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
        asking.join().unwrap()
    });
    asking.assert_ok("");
}

#[test]
fn endpoints_are_reached_by_a_path() {
    let (directory, path) = path();
    endpoint(&path);
    let site = Site::builder()
        .document(&format!(
            "kind: Service\nname: all\nendpoints: {{blue: [{{address: 'unix:{}'}}]}}\n\
             balance: {{maxFails: 0}}",
            path.display()
        ))
        .route("")
        .start();
    let mut client = site.client();
    for _ in 0..3 {
        client.get("/a").assert_ok("GET /a HTTP/1.1 0");
    }
    let body = "x".repeat(200_000);
    client
        .send(format!("POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
        .answer()
        .assert_ok("POST /b HTTP/1.1 200000");
    let gone = directory.path().join("gone.sock");
    site.edit(&path.display().to_string(), &gone.display().to_string());
    client.get("/").assert_reject(502, "upstream_connect_failed");
    endpoint(&gone);
    client.get("/").assert_ok("GET / HTTP/1.1 0");
}
