//! Each target over its kept corpus, and over inputs made from that: the same ones every time.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

use gridrouter_config::store::etcd::Random;

use super::{TARGETS, run};

/// Inputs made for each target. Documents take longer, and have more in them to break.
const MADE: usize = 6_000;
const MADE_DOCUMENTS: usize = 800;
/// The longest input that is made.
const LONGEST: usize = 4096;

/// What stands between the things of a message or a document.
const SPICES: [&[u8]; 28] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b"%2e",
    b"%2F",
    b"%",
    b"..",
    b"/",
    b"//",
    b";",
    b"?",
    b"#",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: a.b:80\r\n",
    b"x-tenant: t\r\n",
    b"cookie: t=1; t=1\r\n",
    b"0\r\n\r\n",
    b"5;a=b\r\n",
    b"\xff",
    b"\n---\n",
    b"- ",
    b": ",
    b"\"",
];

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    // The same order everywhere.
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Runs a target, and says what it was given when something does not hold.
fn checked(target: &str, bytes: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(target, bytes))) {
        println!("{target} was given b\"{}\"", bytes.escape_ascii());
        resume_unwind(panic);
    }
}

fn below(random: &mut Random, end: usize) -> usize {
    (random.number() % end.max(1) as u64) as usize
}

/// Something like the inputs of a corpus.
fn made(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = corpus[below(random, corpus.len())].clone();
    for _ in 0..=below(random, 4) {
        let at = below(random, bytes.len() + 1);
        let end = (at + below(random, 16)).min(bytes.len());
        match below(random, 5) {
            0 => drop(bytes.drain(at..end)),
            1 => drop(bytes.splice(at..at, SPICES[below(random, SPICES.len())].iter().copied())),
            2 => drop(bytes.splice(at..end, SPICES[below(random, SPICES.len())].iter().copied())),
            3 => {
                let other = &corpus[below(random, corpus.len())];
                bytes.truncate(at);
                bytes.extend_from_slice(&other[below(random, other.len() + 1)..]);
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = random.number() as u8;
                }
            }
        }
        bytes.truncate(LONGEST);
    }
    bytes
}

/// A target, its whole corpus, and what is made from it.
fn over(target: &str, count: usize) {
    let corpus = corpus(target);
    assert!(!corpus.is_empty(), "{target} has no corpus");
    for bytes in &corpus {
        checked(target, bytes);
    }
    let mut random = Random::seeded(1);
    for _ in 0..count {
        checked(target, &made(&corpus, &mut random));
    }
}

#[test]
fn what_is_read_of_a_connection_holds() {
    for target in ["request", "response", "body", "target"] {
        over(target, MADE);
    }
}

#[test]
fn what_requests_are_routed_by_holds() {
    for target in ["path", "tenant", "routing"] {
        over(target, MADE);
    }
}

#[test]
fn what_proxies_tell_ahead_of_connections_holds() {
    over("proxy_protocol", MADE);
}

#[test]
fn what_documents_say_holds() {
    over("documents", MADE_DOCUMENTS);
}

#[test]
fn every_target_has_its_fuzzer_and_its_corpus() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    let mut bytes = 0;
    for (target, _) in TARGETS {
        let source = std::fs::read_to_string(fuzz.join(format!("fuzz_targets/{target}.rs"))).unwrap();
        assert!(source.contains(&format!("run(\"{target}\"")), "{target}");
        assert!(manifest.contains(&format!("name = \"{target}\"")), "{target}");
        bytes += corpus(target).iter().map(Vec::len).sum::<usize>();
    }
    assert!(bytes < 500_000, "the corpora have {bytes} bytes: let `scripts/fuzz --shrink` make them smaller");
}
