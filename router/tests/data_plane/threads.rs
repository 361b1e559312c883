//! Connections are spread over the threads, and stopping lets answers under way end.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::support::{Client, Ending, Site, Upstream, eventually};

#[test]
fn both_threads_have_a_fair_share_of_the_connections() {
    let upstream = Upstream::ok("ok");
    let site = Site::to(&upstream).route("").threads(2).start();
    let mut clients = Vec::new();
    for _ in 0..64 {
        let mut client = site.client();
        client.get("/").assert_ok("ok");
        clients.push(client);
    }
    let live = || site.router().shared.threads.iter().map(|t| t.live.load(Ordering::Relaxed)).collect::<Vec<_>>();
    assert_eq!(live().iter().sum::<usize>(), 64);
    assert!(live().iter().all(|live| (24..=40).contains(live)), "{:?}", live());
    for client in &mut clients {
        client.get("/").assert_ok("ok");
    }
    drop(clients);
    eventually("every connection is forgotten", || live().iter().all(|live| *live == 0));
}

#[test]
fn a_router_that_stops_lets_answers_end_and_takes_no_more() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let upstream = Upstream::scripted(move |peer| {
        peer.request();
        wait.lock().unwrap().recv_timeout(super::support::PATIENCE).unwrap();
        peer.ok("late");
    });
    let site = Site::to(&upstream).route("").drain(Duration::from_secs(10)).start();
    let (mut busy, mut idle) = (site.client(), site.client());
    assert_eq!(idle.get("/a%2fb").status(), 400);
    busy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    upstream.received();
    let address = site.address();
    let stopping = std::thread::spawn(move || site.stop());
    assert_eq!(idle.ending(), Ending::Closed(Vec::new()));
    eventually("nobody listens", || {
        std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1)).map(Client::on).is_err()
    });
    go.send(()).unwrap();
    let answer = busy.answer();
    answer.assert_ok("late");
    assert_eq!(answer.header("connection"), Some("close"));
    busy.assert_closed();
    assert_eq!(stopping.join().unwrap(), 0, "nothing was cut off");
}
