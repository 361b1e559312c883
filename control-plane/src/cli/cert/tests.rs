use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use crate::cli::Status;
use crate::cli::tests::run_on;

fn made(host: &str, year: i32) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    params.not_after = date_time_ymd(year, 1, 1);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn check(words: &[&str]) -> (Status, String) {
    let words = [&["cert", "check"], words].concat();
    let (status, out, error) = run_on(false, &words, "");
    (status, out + &error)
}

#[test]
fn files_are_checked() {
    let place = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = place.path().join(name).display().to_string();
        std::fs::write(&path, text).unwrap();
        path
    };
    let ((good, key), (old, old_key)) = (made("shop.example", 4096), made("shop.example", 2000));
    let (good, key, old, old_key) = (write("a", &good), write("b", &key), write("c", &old), write("d", &old_key));
    let (status, said) = check(&["--chain", &good, "--key", &key, "--host", "SHOP.example"]);
    assert!(status == Status::Fine && said.contains("good") && said.contains("shop.example"), "{said}");
    assert_eq!(check(&["--chain", &good]).0, Status::Fine);
    for (words, part) in [
        (["--chain", &good, "--key", &old_key], "key does not fit"),
        (["--chain", &old, "--key", &old_key], "expired"),
        (["--chain", &key, "--key", &key], "this is a key"),
        (["--chain", &good, "--host", "other.example"], "it is not for other.example"),
        (["--chain", &good, "--within", "10000000d"], "expiring"),
    ] {
        let (status, said) = check(&words);
        assert!(status == Status::Problems && said.contains(part), "{said}");
    }
    let (status, said) = check(&["--chain", "/not/there"]);
    assert!(status == Status::Failed && said.contains("/not/there cannot be read"), "{said}");
    assert_eq!(check(&["--key", &key]).0, Status::Failed);
}

#[test]
fn a_store_is_checked() {
    let place = tempfile::tempdir().unwrap();
    let indented = |pem: &str| pem.lines().flat_map(|line| ["    ", line, "\n"].map(str::to_owned)).collect::<String>();
    let (chain, key) = made("shop.example", 4096);
    let inline = format!("inline:\n  chain: |\n{}  key: |\n{}", indented(&chain), indented(&key));
    let files = "files: {chain: /not/there.pem, key: /not/there.key}";
    let documents = format!("kind: Certificate\nname: shop\n{inline}---\nkind: Certificate\nname: away\n{files}\n");
    std::fs::write(place.path().join("a.yaml"), documents).unwrap();
    let store = place.path().display().to_string();
    let (status, said) = check(&["--store", &store]);
    assert!(status == Status::Fine && said.contains("not here"), "{said}");
    let (_, said) = check(&["--store", &store, "shop", "-o", "json"]);
    let looked: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&looked[0]["name"], &looked[0]["state"]), (&"shop".into(), &"good".into()));
    assert!(!said.contains("PRIVATE KEY"));
    let (status, said) = check(&["--store", &store, "shpo"]);
    assert!(status == Status::Failed && said.contains("did you mean \"shop\"?"), "{said}");
}
