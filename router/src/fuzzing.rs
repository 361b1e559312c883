//! What fuzzers feed: for each stage that reads what others have written, a function that takes any bytes and asserts what
//! must hold of them. `scripts/fuzz` runs them for as long as one likes; the tests run each over its kept corpus
//! (`fuzz/corpus/`) and over inputs made from that.
//!
//! Part of tests, and of builds with the feature `fuzzing`, which no program has.

#![allow(clippy::panic, reason = "a property that does not hold ends a fuzzer by a panic")]

mod body;
mod cursor;
mod documents;
mod exchange;
mod literal;
mod path;
mod proxy_protocol;
mod routing;
mod target;
mod tenant;

/// A target: its name, and what takes the bytes.
pub type Target = (&'static str, fn(&[u8]));

/// Every target, by the names that `fuzz/fuzz_targets` has. What else reads bytes of others belongs here, too.
pub const TARGETS: [Target; 9] = [
    ("request", exchange::requests),
    ("response", exchange::responses),
    ("body", body::check),
    ("target", target::check),
    ("path", path::check),
    ("routing", routing::check),
    ("tenant", tenant::check),
    ("documents", documents::check),
    ("proxy_protocol", proxy_protocol::check),
];

/// Gives the bytes to a target.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|(known, _)| *known == name);
    assert!(target.is_some(), "there is no target {name}");
    if let Some((_, check)) = target {
        check(bytes);
    }
}

#[cfg(test)]
mod tests;
