use super::*;

#[test]
fn only_good_ocsp_responses_are_shown() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("ocsp");
    let good = [0x30, 0x82, 0x01, 0x00, 0x0a, 0x01, 0x00, 0xa0];
    for (bytes, is_good) in [
        (&good[..], true),
        (&[0x30, 0x03, 0x0a, 0x01, 0x00], true),
        // The authority was asked something that it would not answer.
        (&[0x30, 0x03, 0x0a, 0x01, 0x06], false),
        (&good[..3], false),
        (b"-----BEGIN", false),
        (b"", false),
    ] {
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(ocsp_response(&path).is_ok(), is_good, "{bytes:?}");
    }
}

#[test]
fn a_certificate_has_an_age() {
    let facts = Facts { not_before: 1_000, ..Facts::default() };
    let at = |now| Age::of(&facts, 10_000_000, now);
    assert_eq!(at(999), Age::NotYet);
    assert_eq!(at(1_000), Age::Fine);
    assert_eq!(at(10_000_000 - SOON), Age::Soon);
    assert_eq!(at(10_000_000), Age::Expired);
}

#[test]
fn what_is_asked_of_clients_tells_tickets_apart() {
    let made = |pem: &[u8]| Trusted { roots: Arc::new(RootCertStore::empty()), digest: sha256(pem) };
    let (one, other) = (made(b"one"), made(b"other"));
    let scopes = [
        Scope::default(),
        one.scope(ClientCertificateMode::Required),
        one.scope(ClientCertificateMode::Optional),
        other.scope(ClientCertificateMode::Required),
    ];
    for (at, scope) in scopes.iter().enumerate() {
        assert!(!scopes[..at].contains(scope));
    }
}
