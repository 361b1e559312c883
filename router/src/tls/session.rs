//! What a session that is to be resumed says of its client's certificates.
//!
//! rustls does not look at them again when a session is resumed, and gives out new tickets then: who came back often enough would be known by
//! a certificate long after it has expired. So a session is read as far as the client's certificates, in the form in which rustls keeps it.
//! What has another form is not resumed: a full handshake is never wrong.

use gridrouter_config::certificate::Facts;
use rustls::pki_types::CertificateDer;

/// Whether each certificate that the client has shown counts at this time, in seconds since 1970. So it is where it has shown none.
pub(super) fn counts_at(session: &[u8], now: u64) -> bool {
    let counts = |der: &CertificateDer<'_>| Facts::read(der).is_ok_and(|facts| facts.counts_at(now));
    certificates(session).is_some_and(|shown| shown.iter().all(counts))
}

/// The certificates that the client has shown; `None` where they cannot be found.
fn certificates(session: &[u8]) -> Option<Vec<CertificateDer<'_>>> {
    let mut rest = Rest(session);
    // The server's name; the version and the cipher suite; the secret; whether it is extended.
    if rest.flag()? {
        rest.vector(1)?;
    }
    rest.take(4)?;
    rest.vector(1)?;
    rest.flag()?;
    let mut shown = Vec::new();
    if rest.flag()? {
        let mut chain = Rest(rest.vector(3)?);
        while !chain.0.is_empty() {
            shown.push(CertificateDer::from(chain.vector(3)?));
        }
    }
    Some(shown)
}

/// What was not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.take(1)? {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }

    /// What has its length ahead of it, in so many bytes.
    fn vector(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let length = self.take(bytes)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3600;
    /// The first of January 2031.
    const START: u64 = 1_924_992_000;

    /// A certificate that counts from the start until so many days later.
    fn certificate(days: u8) -> Vec<u8> {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["client.test".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2031, 1, 1);
        params.not_after = rcgen::date_time_ymd(2031, 1, 1 + days);
        params.self_signed(&key).unwrap().der().to_vec()
    }

    fn vector(bytes: usize, content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).unwrap().to_be_bytes();
        [&length[4 - bytes..], content].concat()
    }

    fn session(server: Option<&str>, shown: &[Vec<u8>]) -> Vec<u8> {
        let server = server.map_or(vec![0], |name| [&[1][..], &vector(1, name.as_bytes())].concat());
        let chain: Vec<u8> = shown.iter().flat_map(|der| vector(3, der)).collect();
        let chain = if shown.is_empty() { vec![0] } else { [&[1][..], &vector(3, &chain)].concat() };
        [server, vec![3, 4, 0x13, 1], vector(1, &[9; 48]), vec![1], chain, vec![0; 15]].concat()
    }

    #[test]
    fn a_session_counts_for_as_long_as_all_that_the_client_has_shown() {
        let (short, long) = (certificate(1), certificate(20));
        for server in [None, Some("shop.test")] {
            let one = session(server, std::slice::from_ref(&long));
            let two = session(server, &[long.clone(), short.clone()]);
            for (now, first, second) in [
                (START - 1, false, false),
                (START, true, true),
                (START + DAY, true, true),
                (START + DAY + 1, true, false),
                (START + 20 * DAY + 1, false, false),
            ] {
                assert_eq!(counts_at(&one, now), first, "{now}");
                assert_eq!(counts_at(&two, now), second, "{now}");
            }
            assert!(counts_at(&session(server, &[]), 0));
        }
    }

    #[test]
    fn what_cannot_be_read_does_not_count() {
        let whole = session(Some("shop.test"), &[certificate(1)]);
        for length in 0..whole.len() - 15 {
            assert!(!counts_at(&whole[..length], START + 1), "{length}");
        }
        assert!(!counts_at(&session(None, &[b"no certificate".to_vec()]), START + 1));
        assert!(!counts_at(&[2; 100], START + 1));
    }
}
