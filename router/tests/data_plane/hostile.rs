//! Clients that mean harm: what they cost is bounded, it ends by itself, and good clients notice nothing.
//!
//! Nothing here depends on how fast the machine is: what is looked at is bytes, counts, and that things end.

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use super::support::{Client, Ending, Message, PATIENCE, QUIET, Site, Upstream, eventually};

/// What hostile clients may cost in memory, all of them together. Their own sockets and buffers are counted, too.
const MOST: usize = 64 << 20;

/// What the process has in memory.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

/// A site with a good client that was there before.
struct Besieged {
    site: Site,
    good: Client,
    before: usize,
    served: usize,
}

impl Besieged {
    fn new(site: Site) -> Self {
        let mut good = site.client();
        good.get("/good").assert_ok("ok");
        Self { site, good, before: resident(), served: 0 }
    }

    /// The good client is served, on its connection and on a new one, and no more memory is used than may be.
    #[track_caller]
    fn holds(&mut self) {
        self.good.get("/good").assert_ok("ok");
        self.site.get("/good").assert_ok("ok");
        self.served += 1;
        let grown = resident().saturating_sub(self.before);
        assert!(grown < MOST, "{} KiB more in memory", grown >> 10);
    }

    /// Connections that the router has.
    fn live(&self) -> usize {
        let threads = &self.site.router().shared.threads;
        threads.iter().map(|thread| thread.live.load(std::sync::atomic::Ordering::Relaxed)).sum()
    }

    /// Waits until all is over but the good client, who is served meanwhile.
    #[track_caller]
    fn outlives(&mut self) {
        eventually("all of them are gone", || {
            self.holds();
            self.live() <= 1
        });
    }
}

/// One that answers, and hangs where the path says so.
fn endpoint() -> Upstream {
    Upstream::scripted(|peer| {
        while let Some(request) = peer.try_head() {
            if request.first.starts_with("GET /large") {
                peer.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n");
                while peer.try_send([b'x'; 16 * 1024]) {}
                peer.log(&Message { first: "ended".to_owned(), ..Message::default() });
                return;
            }
            let mut whole = request.clone();
            if peer.try_body(&mut whole, false).is_none() {
                peer.log(&Message { first: "ended".to_owned(), ..Message::default() });
                return;
            }
            peer.ok("ok");
        }
    })
}

fn besieged(upstream: &Upstream, timeouts: &str) -> Besieged {
    Besieged::new(Site::to(upstream).listener(&format!("timeouts: {{{timeouts}}}")).route("").threads(2).start())
}

fn crowd(besieged: &Besieged, size: usize) -> Vec<Client> {
    (0..size).map(|_| besieged.site.client()).collect()
}

/// Whether the router has ended it, with this status if it was told one.
#[track_caller]
fn assert_refused(client: &mut Client, status: &str) {
    let (Ending::Closed(got) | Ending::Reset(got)) = client.ending_within(PATIENCE) else { panic!("it goes on") };
    let got = String::from_utf8_lossy(&got).into_owned();
    assert!(got.is_empty() || got.starts_with(&format!("HTTP/1.1 {status} ")), "{got}");
}

#[test]
fn a_thousand_connections_that_never_speak() {
    let upstream = endpoint();
    let mut besieged = besieged(&upstream, "idle: 5s");
    let mut silent = crowd(&besieged, 1000);
    eventually("all are connected", || besieged.live() >= 1000);
    besieged.holds();
    let each = resident().saturating_sub(besieged.before) / 1000;
    assert!(each < 16 << 10, "{each} bytes for one that says nothing");
    besieged.outlives();
    for client in &mut silent {
        client.assert_closed();
    }
}

/// Each sends its head byte by byte, so that something comes all the time.
#[test]
fn heads_that_trickle() {
    let upstream = endpoint();
    let mut besieged = besieged(&upstream, "head: 1s");
    let mut slow = crowd(&besieged, 300);
    for client in &mut slow {
        client.try_send("GET / HTTP/1.1\r\nHost: a\r\nx: ");
    }
    let series = "gridrouter_rejects_total{code=\"head_timeout\"}";
    eventually("all of them are refused", || {
        for client in &mut slow {
            client.try_send("y");
        }
        besieged.holds();
        besieged.site.metric(series) > 299.5
    });
    for client in &mut slow {
        assert_refused(client, "408");
    }
    drop(slow);
    besieged.outlives();
    assert_eq!(upstream.drain().len(), 0, "none of them reached the endpoint");
}

#[test]
fn bodies_that_stop() {
    let upstream = endpoint();
    let mut besieged = besieged(&upstream, "bodyRead: 1s");
    let mut slow = crowd(&besieged, 200);
    for (n, client) in slow.iter_mut().enumerate() {
        let framing = ["Content-Length: 1000000\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\nfffff\r\nabc"][n % 2];
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}"));
    }
    besieged.holds();
    for client in &mut slow {
        assert_refused(client, "408");
    }
    drop(slow);
    besieged.outlives();
    for _ in 0..200 {
        assert_eq!(upstream.received().first, "ended", "its connection to the endpoint is given up as well");
    }
}

/// They ask for a gigabyte each and do not take it.
#[test]
fn answers_that_nobody_takes() {
    let upstream = endpoint();
    let mut besieged = besieged(&upstream, "bodyWrite: 1s");
    let mut slow = crowd(&besieged, 50);
    for client in &mut slow {
        client.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    for _ in 0..50 {
        besieged.holds();
        assert_eq!(upstream.received().first, "ended");
    }
    besieged.outlives();
    for client in &mut slow {
        assert!(!matches!(client.ending(), Ending::Open(_) | Ending::Closed(_)), "a clean end would pass for whole");
    }
}

/// They send header lines without end. The router reads no more than a head may have.
#[test]
fn floods_of_header_lines() {
    let upstream = endpoint();
    let mut besieged = besieged(&upstream, "head: 5s");
    for line in ["x: y\r\n", "x: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n", "y", ": "] {
        let mut crowd = crowd(&besieged, 50);
        for client in &mut crowd {
            client.send("GET / HTTP/1.1\r\nHost: a\r\n");
            client.try_send(line.repeat((200 << 10) / line.len()));
        }
        besieged.holds();
        for client in &mut crowd {
            let answer = client.try_head().map(|answer| answer.status());
            assert!(matches!(answer, Some(400 | 431)), "{line:?}: {answer:?}");
        }
    }
    assert_eq!(upstream.drain().len(), 0);
    besieged.outlives();
}

/// Each segment of them is one byte: slower, but nothing else.
#[test]
fn tiny_segments() {
    let upstream = endpoint();
    let mut besieged = besieged(&upstream, "head: 30s");
    let request = "POST /tiny HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let mut crowd = crowd(&besieged, 50);
    for byte in request.bytes() {
        for client in &mut crowd {
            client.send([byte]);
        }
    }
    besieged.holds();
    for client in &mut crowd {
        client.answer().assert_ok("ok");
    }
}

/// A body in chunks of one byte is forty times as long on the wire as in memory, and nothing of it is gathered.
#[test]
fn tiny_chunks() {
    let upstream = endpoint();
    let mut besieged = besieged(&upstream, "bodyRead: 30s");
    let mut client = besieged.site.client();
    client.send("POST /tiny HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunks = format!("1;{}\r\nx\r\n", "e".repeat(200)).repeat(500);
    for _ in 0..20 {
        client.send(&chunks);
        besieged.holds();
    }
    client.send("0\r\n\r\n").answer().assert_ok("ok");
}

/// Requests are read no faster than their answers are taken.
#[test]
fn requests_whose_answers_nobody_takes() {
    let upstream = Upstream::scripted(|peer| {
        while peer.request().is_some() {
            peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{}", 1 << 16, "x".repeat(1 << 16)));
        }
    });
    let site = Site::to(&upstream).listener("timeouts: {bodyWrite: 1s}").route("").start();
    let client = site.client();
    client.stream.set_nonblocking(true).unwrap();
    let requests = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000);
    let mut sent = 0;
    let ended = || matches!(client.stream.peek(&mut [0]), Err(e) if e.kind() == ErrorKind::ConnectionReset);
    // Sending stops where the sockets' own buffers are full; what is left is to be given up.
    eventually("the router gives up", || {
        match (&client.stream).write(requests.as_bytes()) {
            Ok(n) => sent += n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return true,
        }
        assert!(sent < 64 << 20, "there is no end to what it takes");
        ended()
    });
    let answered = upstream.drain().len();
    assert!(answered < 2000, "{answered} requests were answered that nobody took the answers of");
    client.stream.set_nonblocking(false).unwrap();
    let mut rest = Vec::new();
    let _reset = (&client.stream).read_to_end(&mut rest);
    assert!(site.client().get("/").status() == 200);
}

/// Empty lines are not taken for a sign of life.
#[test]
fn empty_lines_forever() {
    let upstream = endpoint();
    let mut besieged = besieged(&upstream, "idle: 2s");
    let mut alive = crowd(&besieged, 20);
    let mut flooding = crowd(&besieged, 20);
    for client in &mut flooding {
        client.try_send("\r\n".repeat(100));
        assert_refused(client, "400");
    }
    eventually("all of them are gone", || {
        for client in &mut alive {
            client.try_send("\r\n");
        }
        besieged.holds();
        besieged.live() <= 1 + flooding.len()
    });
    for client in &mut alive {
        let ending = client.ending_within(QUIET);
        assert!(!matches!(ending, Ending::Open(_)), "{ending:?}");
    }
    drop(flooding);
    besieged.outlives();
}

/// They come, speak and go as fast as they can, in every way of going.
#[test]
fn connections_that_come_and_go() {
    let upstream = endpoint();
    let mut besieged = besieged(&upstream, "idle: 30s");
    for n in 0..1000 {
        let mut client = besieged.site.client();
        match n % 5 {
            0 => {}
            1 => client.abort(),
            2 => drop(client.send("GET / HT")),
            3 => {
                client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
                client.abort();
            }
            _ => {
                client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
                client.abort();
            }
        }
        if n % 100 == 0 {
            besieged.holds();
        }
    }
    besieged.outlives();
    eventually("nothing is left behind", || {
        besieged.holds();
        upstream.connections() > 0 && besieged.live() <= 1
    });
    assert!(besieged.served > 0);
}

/// A client that sends its body for longer than the answer took is not read from forever.
#[test]
fn a_refused_client_that_never_stops_sending() {
    let upstream = endpoint();
    let mut besieged = besieged(&upstream, "bodyRead: 1s");
    let mut client = besieged.site.client();
    client.send("POST /a%2fb HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000000\r\n\r\n");
    client.answer().assert_reject(400, "bad_path");
    client.stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let block = vec![b'x'; 1 << 16];
    for _ in 0..100 {
        client.try_send(&block);
        besieged.holds();
    }
    drop(client);
    besieged.outlives();
}
