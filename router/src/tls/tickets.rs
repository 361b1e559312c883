//! Session tickets: what clients resume with.
//!
//! One set of keys for all threads and listeners of the process, which no reload touches. Keys are made here and change by
//! themselves, or are read from a file that a whole fleet has, so that a client may resume at any router.
//!
//! Each ticket is encrypted with a key of its own, derived from the ticket key, a random salt and the scope: how often
//! a ticket key is used needs no bound. The scope is what a listener wants of its clients' certificates: a client whom one
//! listener took must not come by a ticket to another one that would not have taken it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{hmac, rand};
use parking_lot::Mutex;
use rustls::server::ProducesTickets;

use super::session;
use super::watched::{self, Watched};
use crate::source::unix_time;

/// How long a key is the one that new tickets are made with. For as long again it is good for resuming.
const ROTATE: Duration = Duration::from_hours(6);
const KEY: usize = 32;
const NAME: usize = 16;
const SALT: usize = 32;
/// Keys that a file may have.
const MAX_KEYS: usize = 16;

/// What tells the tickets of one kind of listener from those of others.
pub(crate) type Scope = [u8; 32];

/// The ticket keys of the process.
#[derive(Debug)]
pub(crate) struct Tickets {
    /// The first makes tickets, all of them open some.
    keys: ArcSwap<Vec<Key>>,
    source: Mutex<Source>,
}

#[derive(Debug)]
enum Source {
    /// Keys made here, the newest at this time.
    Own(Instant),
    File(Box<Watched<PathBuf, Vec<Key>>>),
}

#[derive(Debug, Clone)]
struct Key {
    name: [u8; NAME],
    secret: hmac::Key,
}

impl Key {
    fn of(secret: &[u8]) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let mut name = [0; NAME];
        let tag = hmac::sign(&secret, b"the name of a ticket key");
        name.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        Self { name, secret }
    }

    /// The key of one ticket.
    fn derive(&self, salt: &[u8], scope: &Scope) -> Option<LessSafeKey> {
        let mut context = hmac::Context::with_key(&self.secret);
        context.update(salt);
        context.update(scope);
        UnboundKey::new(&AES_256_GCM, context.sign().as_ref()).ok().map(LessSafeKey::new)
    }
}

/// A new key; `None` if the system has no random numbers.
fn random() -> Option<Key> {
    let mut secret = [0; KEY];
    rand::fill(&mut secret).ok()?;
    Some(Key::of(&secret))
}

impl Tickets {
    /// With keys from this file, or with keys of its own.
    pub(crate) fn new(file: Option<&Path>) -> Arc<Self> {
        let source = match file {
            Some(path) => Source::File(Box::new(Watched::new(path.to_owned()))),
            None => Source::Own(Instant::now()),
        };
        let tickets = Self { keys: ArcSwap::from_pointee(random().into_iter().collect()), source: Mutex::new(source) };
        tickets.look();
        Arc::new(tickets)
    }

    /// Looks whether it is time for another key, or whether the file has changed. Until it can be read, a key of the process's
    /// own is used.
    pub(crate) fn look(&self) {
        match &mut *self.source.lock() {
            Source::Own(made) => {
                if made.elapsed() >= ROTATE {
                    self.rotate();
                    *made = Instant::now();
                }
            }
            Source::File(file) => {
                let path = file.document.clone();
                let looked = file.look(&[&path], || parse(&watched::read(&path)?));
                if let Some(fault) = looked.fault {
                    tracing::error!("session ticket keys: {fault}; the keys in use stay");
                }
                if let Some(keys) = looked.fresh {
                    tracing::info!(keys = keys.len(), "session ticket keys read from {}", path.display());
                    self.keys.store(keys);
                }
            }
        }
    }

    fn rotate(&self) {
        let Some(fresh) = random() else { return };
        let old = self.keys.load();
        self.keys.store(Arc::new(std::iter::once(fresh).chain(old.first().cloned()).collect()));
    }

    fn encrypt(&self, scope: &Scope, plain: &[u8]) -> Option<Vec<u8>> {
        let keys = self.keys.load();
        let key = keys.first()?;
        let mut salt = [0; SALT];
        rand::fill(&mut salt).ok()?;
        let sealing = key.derive(&salt, scope)?;
        let mut sealed = plain.to_vec();
        // Each ticket has a key of its own, which is used once.
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        sealing.seal_in_place_append_tag(nonce, Aad::from(key.name), &mut sealed).ok()?;
        Some([&key.name[..], &salt, &sealed].concat())
    }

    fn decrypt(&self, scope: &Scope, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_at_checked(NAME)?;
        let (salt, sealed) = rest.split_at_checked(SALT)?;
        let keys = self.keys.load();
        let key = keys.iter().find(|key| key.name == *name)?;
        let opening = key.derive(salt, scope)?;
        let mut plain = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        let length = opening.open_in_place(nonce, Aad::from(key.name), &mut plain).ok()?.len();
        plain.truncate(length);
        Some(plain)
    }
}

/// Reads a file of keys: one a line, in hexadecimal digits.
fn parse(bytes: &[u8]) -> Result<Vec<Key>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is no text".to_owned())?;
    let mut keys = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let secret = unhex(line).filter(|secret| secret.len() == KEY);
        // The line itself is a secret.
        let secret = secret
            .ok_or_else(|| format!("line {} is no key; write 64 hexadecimal digits: openssl rand -hex 32", at + 1))?;
        keys.push(Key::of(&secret));
    }
    match keys.len() {
        0 => Err("there is no key in it; write one a line: openssl rand -hex 32".to_owned()),
        1..=MAX_KEYS => Ok(keys),
        n => Err(format!("there are {n} keys in it; {MAX_KEYS} are the most")),
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}

/// The tickets of one kind of listener.
#[derive(Debug)]
pub(crate) struct Scoped {
    pub(crate) tickets: Arc<Tickets>,
    pub(crate) scope: Scope,
    /// Whether clients are asked for certificates.
    pub(crate) asks_clients: bool,
}

impl ProducesTickets for Scoped {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(ROTATE.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.tickets.encrypt(&self.scope, plain)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let session = self.tickets.decrypt(&self.scope, ticket)?;
        (!self.asks_clients || session::counts_at(&session, unix_time())).then_some(session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCOPE: Scope = [7; 32];

    #[test]
    fn a_ticket_opens_with_the_key_it_was_made_with_and_with_nothing_else() {
        let (tickets, other) = (Tickets::new(None), Tickets::new(None));
        let ticket = tickets.encrypt(&SCOPE, b"session").unwrap();
        assert_eq!(tickets.decrypt(&SCOPE, &ticket).as_deref(), Some(&b"session"[..]));
        assert_eq!(other.decrypt(&SCOPE, &ticket), None);
        assert_eq!(tickets.decrypt(&[8; 32], &ticket), None, "another kind of listener");
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(tickets.decrypt(&SCOPE, &changed), None);
            assert_eq!(tickets.decrypt(&SCOPE, &ticket[..at]), None);
        }
        assert_ne!(ticket, tickets.encrypt(&SCOPE, b"session").unwrap());
    }

    #[test]
    fn a_key_is_good_for_one_more_rotation() {
        let tickets = Tickets::new(None);
        let ticket = tickets.encrypt(&SCOPE, b"session").unwrap();
        tickets.rotate();
        assert!(tickets.decrypt(&SCOPE, &ticket).is_some());
        tickets.rotate();
        assert!(tickets.decrypt(&SCOPE, &ticket).is_none());
    }

    #[test]
    fn routers_with_one_file_open_each_others_tickets() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("keys");
        let (first, second) = ("1".repeat(64), "2".repeat(64));
        std::fs::write(&file, format!("# the first makes tickets\n{first}\n{second}\n")).unwrap();
        let one = Tickets::new(Some(&file));
        let ticket = one.encrypt(&SCOPE, b"session").unwrap();
        // One that has the keys the other way round, as in the midst of a rotation.
        std::fs::write(&file, format!("{second}\n{first}\n\n")).unwrap();
        let other = Tickets::new(Some(&file));
        assert!(other.decrypt(&SCOPE, &ticket).is_some());
        // What is no file of keys changes nothing.
        std::fs::write(&file, "secret\n").unwrap();
        other.look();
        other.look();
        assert!(other.decrypt(&SCOPE, &ticket).is_some());
        std::fs::write(&file, &second).unwrap();
        other.look();
        assert!(other.decrypt(&SCOPE, &ticket).is_none());
    }

    #[test]
    fn what_is_no_key_is_not_quoted() {
        for bad in ["", "secret", &"x".repeat(64), &"1".repeat(62), &format!("{}\n", "1".repeat(64)).repeat(17)] {
            let said = parse(bad.as_bytes()).unwrap_err();
            assert!(!said.contains("secret") && !said.contains("111"), "{said}");
        }
    }
}
