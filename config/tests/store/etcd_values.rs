//! Whatever lies under the prefix: nothing panics, and no good document is unseated.

use gridrouter_config::store::etcd::writer::Writer;

use super::support::reader::{Reader, bodies};
use super::support::server::{Raw, Server};
use super::support::{by, options, put, route, writer};

/// Publishes something, so that what was written before is in force as far as it can be.
fn move_on(writer: &mut Writer, round: usize) -> u64 {
    let view = writer.read().unwrap();
    writer.publish(&view.base, &[put("mover", &round.to_string())], &by("test")).unwrap().generation
}

fn values() -> Vec<Vec<u8>> {
    let deep = [b"{\"a\":".repeat(20_000), b"1".to_vec(), b"}".repeat(20_000)].concat();
    let mut values: Vec<Vec<u8>> = [
        "",
        " ",
        "null",
        "{}",
        "[]",
        "1",
        "\"text\"",
        "{",
        "}",
        "{\"kind\": \"Route\"",
        "--- \n--- \n",
        "a: &a [*a]",
        "{\"kind\": \"Route\", \"name\": \"good\", \"unknown\": 1}",
        "{\"kind\": \"Rote\", \"name\": \"good\"}",
        "{\"kind\": \"Route\", \"name\": \"\"}",
        "{\"kind\": \"Route\", \"name\": 7}",
        "{\"kind\": \"Limit\", \"name\": \"good\"}",
        "{\"kind\": \"Route\", \"name\": \"good\", \"hosts\": null, \"respond\": {\"status\": 99999999999999999999}}",
        "\u{feff}{}",
        "\0",
        "kind: Route\nname: good\nkind: Route\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    // Another document, one more beside the right one, and the neighbour's.
    values.push(route("other", "x").into_bytes());
    values.push([route("good", "x"), "\n---\n".to_owned(), route("other", "x")].concat().into_bytes());
    values.push(route("neighbour", "stolen").into_bytes());
    values.push(vec![0xff; 64]);
    values.push([route("good", "x").as_bytes(), b"\xc3\x28"].concat());
    values.push(deep);
    values.push(b"[".repeat(100_000));
    values.push(vec![b'x'; 1024 * 1024]);
    values.push(route("good", &"y".repeat(1024 * 1024)).into_bytes());
    values
}

#[test]
fn no_value_of_a_document_unseats_it_or_its_neighbour() {
    let server = Server::start();
    let options = options(&server.urls());
    let (mut writer, mut raw) = (writer(&options), server.raw());
    let base = writer.base().unwrap();
    writer.publish(&base, &[put("good", "1"), put("neighbour", "1")], &by("test")).unwrap();
    let mut reader = Reader::etcd(&options);
    reader.until_generation(1);
    for (round, value) in values().into_iter().enumerate() {
        let shown = String::from_utf8_lossy(&value[..value.len().min(60)]).into_owned();
        raw.put("/gridrouter/config/route/good", value);
        let generation = move_on(&mut writer, round);
        reader.until_generation(generation);
        let found = reader.bodies();
        assert_eq!(found.get("neighbour").map(String::as_str), Some("1"), "{shown}");
        // A good value of a megabyte is a good value.
        assert!(found.get("good").is_some_and(|body| body == "1" || body.starts_with("yyy")), "{shown}");
        assert_eq!(found.get("other"), None, "{shown}");
        assert_eq!(found["mover"], round.to_string(), "{shown}");
    }
}

#[test]
fn keys_that_name_no_document_are_told_and_harm_nothing() {
    let server = Server::start();
    let options = options(&server.urls());
    let (mut writer, mut raw): (Writer, Raw) = (writer(&options), server.raw());
    let base = writer.base().unwrap();
    writer.publish(&base, &[put("good", "1")], &by("test")).unwrap();
    let mut reader = Reader::etcd(&options);
    reader.until_generation(1);
    let keys: [&[u8]; 8] = [
        b"/gridrouter/config/",
        b"/gridrouter/config/route",
        b"/gridrouter/config/route/",
        b"/gridrouter/config/rote/good",
        b"/gridrouter/config/Route/good",
        b"/gridrouter/config/route/Good",
        b"/gridrouter/config/route/go\xffd",
        b"/gridrouter/config//good",
    ];
    for key in keys {
        raw.put(key, route("good", "other"));
    }
    // These are nobody's business.
    for key in
        ["/gridrouter/", "/gridrouter/control/x", "/gridrouter/staged/x", "/gridrouter/history/x", "/gridrouterx"]
    {
        raw.put(key, "nonsense");
    }
    let generation = move_on(&mut writer, 1);
    reader.until("the faults", |reader| reader.listing.faults.len() == keys.len());
    reader.until_generation(generation);
    assert_eq!(reader.bodies(), bodies(&[("good", "1"), ("mover", "1")]));
    let mut late = Reader::etcd(&options);
    late.until_generation(generation);
    assert_eq!((late.bodies(), late.listing.faults.len()), (reader.bodies(), keys.len()));
    assert!(writer.history(10).unwrap().len() == 2);
}

#[test]
fn a_head_that_cannot_be_read_changes_nothing_until_it_is_mended() {
    let server = Server::start();
    let options = options(&server.urls());
    let (mut writer, mut raw): (Writer, Raw) = (writer(&options), server.raw());
    let base = writer.base().unwrap();
    writer.publish(&base, &[put("good", "1")], &by("test")).unwrap();
    let good = raw.below("/gridrouter/head", 0)[0].value().to_vec();
    let mut reader = Reader::etcd(&options);
    reader.until_generation(1);
    let staged =
        String::from_utf8(good.clone()).unwrap().replacen('{', "{\"staged\":{\"writer\":\"x\",\"chunks\":3},", 1);
    for bad in [&b"{"[..], b"", b"\xff", b"[]", &vec![b'1'; 1024 * 1024], staged.as_bytes()] {
        raw.put("/gridrouter/head", bad);
        reader.until("an error", |reader| reader.error.is_some());
        let error = reader.error.clone().unwrap();
        assert!(error.contains("/gridrouter/head") || error.contains("0 of 3 chunks"), "{error}");
        assert!(error.contains("revision"), "{error}");
        assert_eq!(reader.bodies(), bodies(&[("good", "1")]));
        raw.put("/gridrouter/head", good.clone());
        reader.until_fine();
    }
    let base = writer.base().unwrap();
    writer.publish(&base, &[put("good", "2")], &by("test")).unwrap();
    reader.until_generation(2);
}
