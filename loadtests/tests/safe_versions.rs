//! Checks Cargo.lock against the lowest versions that are safe to run. The advisory database may be out of reach where
//! the tests run; this table is not.

use std::fs;
use std::path::Path;

/// A crate, the lowest version that may be locked, and why.
const LOWEST: &[(&str, &str, &str)] = &[
    ("aws-lc-sys", "0.39.0", "RUSTSEC-2026-0044 to -0048"),
    ("bytes", "1.11.1", "RUSTSEC-2026-0007"),
    ("h2", "0.4.20", "RUSTSEC-2026-0258 (unbounded empty DATA frames), 2024-0332, 2024-0003, 2023-0034"),
    ("hyper", "1.12.0", "no advisory; hangs and busy loops were fixed in 1.8 to 1.11"),
    ("hyper-util", "0.1.21", "no advisory; leaks tracing spans on long connections"),
    ("quinn-proto", "0.11.15", "RUSTSEC-2026-0037, 2026-0185"),
    ("rustls", "0.23.18", "RUSTSEC-2024-0399 (panic in Acceptor::accept), 2024-0336"),
    ("rustls-webpki", "0.103.13", "RUSTSEC-2026-0049, 2026-0098, 2026-0099, 2026-0104"),
    ("tokio", "1.44.2", "RUSTSEC-2025-0023"),
    ("tonic", "0.12.3", "RUSTSEC-2024-0376"),
    ("tracing-subscriber", "0.3.20", "RUSTSEC-2025-0055 (log injection)"),
];

/// Crates that may not be locked at all, and what to use instead.
const BANNED: &[(&str, &str)] = &[
    ("backoff", "unmaintained; write the few lines"),
    ("rustls-pemfile", "unmaintained; use rustls-pki-types"),
    ("serde_yml", "unsound; use saphyr-parser"),
];

/// Names and versions of a lock file.
fn packages(lock: &str) -> Vec<(&str, &str)> {
    let mut packages = Vec::new();
    let mut name = None;
    for line in lock.lines() {
        if let Some(found) = value(line, "name = \"") {
            name = Some(found);
        } else if let (Some(version), Some(name)) = (value(line, "version = \""), name.take()) {
            packages.push((name, version));
        }
    }
    packages
}

/// The text between a beginning and the closing quotation mark.
fn value<'a>(line: &'a str, beginning: &str) -> Option<&'a str> {
    line.strip_prefix(beginning)?.strip_suffix('"')
}

/// A version as numbers; a pre-release counts as the release before it would, which errs on the safe side.
fn numbers(version: &str) -> Vec<u64> {
    let (release, pre_release) = match version.split('+').next().unwrap_or_default().split_once('-') {
        Some((release, _)) => (release, true),
        None => (version.split('+').next().unwrap_or_default(), false),
    };
    let mut numbers: Vec<u64> = release.split('.').map(|part| part.parse().unwrap_or(0)).collect();
    numbers.push(u64::from(!pre_release));
    numbers
}

/// What is wrong with a lock file.
fn complaints(lock: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for (name, version) in packages(lock) {
        for (_, lowest, why) in LOWEST.iter().filter(|(unsafe_name, ..)| *unsafe_name == name) {
            if numbers(version) < numbers(lowest) {
                complaints.push(format!("{name} {version} is below {lowest}: {why}; run `cargo update -p {name}`"));
            }
        }
        for (_, instead) in BANNED.iter().filter(|(banned, _)| *banned == name) {
            complaints.push(format!("{name} {version} may not be used: {instead}"));
        }
    }
    complaints
}

#[test]
fn the_lock_file_has_safe_versions_only() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock");
    let lock = fs::read_to_string(path).unwrap();
    assert!(packages(&lock).len() > 20, "the lock file was not understood");
    assert_eq!(complaints(&lock), Vec::<String>::new());
}

#[test]
fn unsafe_versions_are_found() {
    let locked = |name: &str, version: &str| {
        complaints(&format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\nsource = \"x\"\n")).len()
    };
    assert_eq!(locked("h2", "0.4.19"), 1);
    assert_eq!(locked("h2", "0.3.27"), 1);
    assert_eq!(locked("h2", "0.4.20"), 0);
    assert_eq!(locked("h2", "0.5.0"), 0);
    assert_eq!(locked("hyper", "1.12.0-rc.1"), 1);
    assert_eq!(locked("aws-lc-sys", "0.100.0+fips"), 0);
    assert_eq!(locked("serde_yml", "0.0.12"), 1);
    assert_eq!(locked("unheard-of", "0.0.1"), 0);
}
