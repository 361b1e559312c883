//! The health service at the admin address.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;

use super::super::http2::requests::with_client_at;
use super::super::support::frames::Raw;
use super::super::support::{Client, Site, closed_port};
use super::{Told, begin, call, server, to};

const SERVING: &[u8] = b"\0\0\0\0\x02\x08\x01";
const NOT_SERVING: &[u8] = b"\0\0\0\0\x02\x08\x02";
const SERVICE_UNKNOWN: &[u8] = b"\0\0\0\0\x02\x08\x03";

fn question(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.extend_from_slice(&[10, service.len() as u8]);
        message.extend_from_slice(service.as_bytes());
    }
    [&[0, 0, 0, 0, message.len() as u8][..], &message].concat().into()
}

async fn ask(client: &SendRequest<Bytes>, method: &str, body: Bytes) -> Told {
    let (answer, mut send) = begin(client, call(&format!("/grpc.health.v1.Health/{method}"), &[])).await;
    send.send_data(body, true).unwrap();
    Told::of(answer.await.unwrap()).await
}

fn admin(site: &Site) -> std::net::SocketAddr {
    site.router().admin().unwrap()
}

#[test]
fn services_are_serving_where_they_have_an_endpoint() {
    let upstream = server();
    let site = to(upstream.address())
        .route("")
        .document(&format!(
            "kind: Service\nname: gone\nendpoints: {{blue: [{{address: {}, down: true}}]}}",
            closed_port()
        ))
        .document("kind: Route\nname: gone\npaths: [{prefix: /gone}]\nservice: gone")
        .start();
    with_client_at(admin(&site), async |client| {
        for (service, wanted) in [("", SERVING), ("all", SERVING), ("gone", NOT_SERVING)] {
            let told = ask(&client, "Check", question(service)).await;
            assert_eq!(
                (&*told.body, told.header("content-type"), told.trailer("grpc-status")),
                (wanted, "application/grpc", "0"),
                "{service}"
            );
        }
        for nobody in ["other", "No Name", "grpc.health.v1.Health"] {
            let told = ask(&client, "Check", question(nobody)).await;
            assert_eq!((&*told.body, told.header("grpc-status")), (&b""[..], "5"), "{nobody}");
        }
        let list = ask(&client, "List", question("")).await;
        let of = |name: &str, status: u8| {
            [&[10, name.len() as u8 + 6, 10, name.len() as u8][..], name.as_bytes(), &[18, 2, 8, status]].concat()
        };
        for (name, status) in [("all", 1), ("gone", 2)] {
            let wanted = of(name, status);
            assert!(list.body.windows(wanted.len()).any(|part| part == wanted), "{name} in {:?}", list.body);
        }
        assert_eq!(list.trailer("grpc-status"), "0");
    });
}

#[test]
fn what_is_no_question_is_refused() {
    let site = to(closed_port()).route("").start();
    with_client_at(admin(&site), async |client| {
        for (body, status) in [
            (Bytes::new(), "3"),
            (Bytes::from_static(b"\0\0\0\0\x05ab"), "3"),
            (Bytes::from_static(b"\x01\0\0\0\0"), "12"),
            (Bytes::from_static(b"\0\0\0\0\x02\x0a\x09"), "3"),
            (vec![0; 5_000].into(), "8"),
        ] {
            let told = ask(&client, "Check", body).await;
            assert_eq!((told.status.as_u16(), told.header("grpc-status"), &*told.body), (200, status, &b""[..]));
        }
        assert_eq!(ask(&client, "Other", question("")).await.header("grpc-status"), "12");
        // Everything else is there by HTTP/2 as it is by HTTP/1.1.
        let ready = http::Request::get("http://a.test/live").body(()).unwrap();
        let (answer, _) = client.clone().ready().await.unwrap().send_request(ready, true).unwrap();
        assert_eq!(&*Told::of(answer.await.unwrap()).await.body, b"live\n");
        let post = http::Request::post("http://a.test/grpc.health.v1.Health/Check").body(()).unwrap();
        let (answer, _) = client.clone().ready().await.unwrap().send_request(post, true).unwrap();
        assert_eq!(answer.await.unwrap().status().as_u16(), 405);
    });
}

#[test]
fn who_watches_is_told_of_every_change() {
    let upstream = server();
    let site = to(upstream.address()).route("").start();
    with_client_at(admin(&site), async |client| {
        let watch = async |service: &str| {
            let (answer, mut send) = begin(&client, call("/grpc.health.v1.Health/Watch", &[])).await;
            send.send_data(question(service), true).unwrap();
            answer.await.unwrap().into_body()
        };
        let (mut all, mut later) = (watch("all").await, watch("later").await);
        assert_eq!(all.data().await.unwrap().unwrap(), SERVING);
        assert_eq!(later.data().await.unwrap().unwrap(), SERVICE_UNKNOWN);
        let endpoint = format!("{{address: {}}}", upstream.address());
        site.edit(&endpoint, &endpoint.replace('}', ", down: true}"));
        assert_eq!(all.data().await.unwrap().unwrap(), NOT_SERVING);
        let documents = format!(
            "kind: Service\nname: later\nendpoints: {{blue: [{endpoint}]}}\n---\nkind: Route\nname: later\npaths: [{{prefix: \
             /later}}]\nservice: later"
        );
        site.change(|| site.write("later.yaml", &documents));
        assert_eq!(later.data().await.unwrap().unwrap(), SERVING);
        site.edit(", down: true", "");
        assert_eq!(all.data().await.unwrap().unwrap(), SERVING);
    });
}

#[test]
fn a_router_that_stops_is_not_serving() {
    let upstream = server();
    let site = to(upstream.address()).route("").drain(Duration::from_secs(3)).start();
    let mut busy = site.client();
    busy.send("POST /ok HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhal");
    upstream.logged();
    let address = admin(&site);
    let stopping = std::thread::spawn(move || site.stop());
    with_client_at(address, async |client| {
        let (answer, mut send) = begin(&client, call("/grpc.health.v1.Health/Watch", &[])).await;
        send.send_data(question(""), true).unwrap();
        let mut body = answer.await.unwrap().into_body();
        let mut told = body.data().await.unwrap().unwrap();
        if told == SERVING {
            told = body.data().await.unwrap().unwrap();
        }
        assert_eq!(told, NOT_SERVING);
        assert_eq!(&*ask(&client, "Check", question("all")).await.body, NOT_SERVING);
    });
    busy.send("fo").answer().assert_ok("halfo");
    stopping.join().unwrap();
}

#[test]
fn whatever_a_connection_begins_with_the_others_go_on() {
    let site = to(closed_port()).route("").start();
    // A half of the preface, and one that goes on otherwise.
    let mut half = TcpStream::connect(admin(&site)).unwrap();
    half.write_all(b"PRI * HT").unwrap();
    let mut other = Client::connect(admin(&site));
    other.send("PRI * HTTP/2.0\r\n\r\nnonsense nonsense");
    let _silent = TcpStream::connect(admin(&site)).unwrap();
    assert_eq!(site.admin("/live").status(), 200);
    half.write_all(b"TP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let mut raw = Raw { stream: half };
    assert!(raw.next().is_some_and(|frame| frame.kind == super::super::support::frames::SETTINGS));
}
