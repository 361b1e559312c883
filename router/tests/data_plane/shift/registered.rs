//! Tracks whose endpoints register themselves.

use super::super::support::etcd::{InEtcd, Server, publish};
use super::super::support::{Upstream, eventually};
use super::running;

#[test]
fn endpoints_that_register_on_the_new_track_get_its_requests() {
    let server = Server::start();
    let (blue, green) = (Upstream::ok("blue"), Upstream::ok("green"));
    let mut raw = server.raw();
    let mut register = |rest: &str, upstream: &Upstream| {
        let value = format!("{{\"address\": \"{}\"}}", upstream.address());
        raw.put(format!("/gridrouter/live/endpoints/all/one/{rest}"), value);
    };
    let site = "kind: Listener\nname: web\naddress: 127.0.0.1:0\n---\nkind: Grid\nname: grid\ncells: [one]\n---\nkind: \
                Cell\nname: one\n---\nkind: Service\nname: all\ncells: {one: {blue: [], green: []}}\n---\nkind: \
                Route\nname: all\nservice: all\ngrid: grid\ntenant: {from: [{header: x-tenant}], otherwise: {tenant: \
                nobody}}\n---\n";
    publish(&server, &format!("{site}{}", running("0%")));
    let router = InEtcd::start(&server, "r", None);
    router.get("/").assert_reject(503, "no_endpoint_available");
    register("green/one", &green);
    register("blue/one", &blue);
    eventually("both tracks have an endpoint", || router.get("/").status() == 200);
    router.get("/").assert_ok("blue");
    publish(&server, &running("100%"));
    eventually("the share has risen", || router.get("/").text() == "green");
    let told = router.admin("/tracks").text();
    assert!(told.contains("\"share\": \"100%\""), "{told}");
}
