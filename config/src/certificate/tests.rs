use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};

use super::*;

struct Made {
    pem: String,
    key: KeyPair,
    params: CertificateParams,
}

fn params(names: &[&str]) -> CertificateParams {
    CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap()
}

fn authority(name: &str) -> Made {
    let (mut params, key) = (params(&[]), KeyPair::generate().unwrap());
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    Made { pem: params.self_signed(&key).unwrap().pem(), key, params }
}

fn leaf(by: &Made, params: CertificateParams) -> Made {
    let key = KeyPair::generate().unwrap();
    let pem = params.signed_by(&key, &Issuer::from_params(&by.params, &by.key)).unwrap().pem();
    Made { pem, key, params }
}

#[test]
fn a_chain_with_its_key_is_read() {
    let root = authority("root");
    let mut wanted = params(&["Shop.example.com", "*.shop.example.com", "10.0.0.7"]);
    wanted.subject_alt_names.push(SanType::URI("spiffe://example/shop".try_into().unwrap()));
    wanted.distinguished_name.push(DnType::CommonName, "shop");
    let shop = leaf(&root, wanted);
    let pair = Pair::read(format!("{}{}", shop.pem, root.pem).as_bytes(), shop.key.serialize_pem().as_bytes()).unwrap();
    let facts = pair.leaf();
    assert_eq!(facts.dns, ["shop.example.com", "*.shop.example.com"]);
    assert_eq!(facts.names(), "DNS:shop.example.com, DNS:*.shop.example.com, URI:spiffe://example/shop, IP:10.0.0.7");
    assert_eq!((facts.common_name.as_deref(), facts.title()), (Some("shop"), "shop.example.com"));
    assert!(facts.subject.contains("CN=shop") && facts.issuer.contains("CN=root"), "{facts:?}");
    assert!(!facts.is_authority && pair.facts[1].is_authority);
    assert_eq!(facts.fingerprint.len(), 64);
    assert!(facts.not_before < facts.not_after && pair.expires() <= facts.not_after);
}

#[test]
fn what_does_not_fit_is_explained() {
    let root = authority("root");
    let (one, other) = (leaf(&root, params(&["one.example"])), leaf(&root, params(&["other.example"])));
    let key = one.key.serialize_pem();
    let fault = |chain: &str, key: &str| Pair::read(chain.as_bytes(), key.as_bytes()).unwrap_err().to_string();
    let turned = format!("{}{}", root.pem, one.pem);
    let strange = format!("{}{}", one.pem, other.pem);
    for (chain, key, part) in [
        (one.pem.as_str(), other.key.serialize_pem().as_str(), "key does not fit the certificate of one.example"),
        ("", &key, "no certificate in it; it begins"),
        (&key, &key, "this is a key"),
        (&one.pem, "", "no private key in it"),
        (&one.pem, &format!("{key}{key}"), "more than one key"),
        (&one.pem, "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n", "encrypted"),
        (&turned, &root.key.serialize_pem(), "put each before the one that vouches"),
        (&strange, &key, "remove what does not belong"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &key, "certificate 1 cannot be read"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n", &key, "a section has no end"),
        ("-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n", &key, "not base64"),
    ] {
        let said = fault(chain, key);
        assert!(said.contains(part), "{said}");
        assert!(!said.contains("BEGIN PRIVATE KEY-----\nM"), "{said}");
    }
}

#[test]
fn authorities_are_read() {
    let (one, two) = (authority("one"), authority("two"));
    assert_eq!(read_authorities(format!("{}{}", one.pem, two.pem).as_bytes()).unwrap().len(), 2);
    assert!(read_authorities(b"").unwrap_err().contains("no certificate"));
    assert!(read_authorities(one.key.serialize_pem().as_bytes()).is_err());
}

proptest::proptest! {
    /// Whatever a certificate holds: no panic.
    #[test]
    fn nothing_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200), at in 0_usize..600, to: u8) {
        use std::sync::OnceLock;
        static GOOD: OnceLock<Vec<u8>> = OnceLock::new();
        let good = GOOD.get_or_init(|| {
            let made = authority("root");
            made.params.self_signed(&made.key).unwrap().der().to_vec()
        });
        let mut changed = good.clone();
        let at = at % changed.len();
        changed[at] = to;
        let _either = Facts::read(&changed);
        let _either = Facts::read(&bytes);
        let _either = Pair::read(&bytes, &bytes);
    }
}
