//! What HTTP/1.1 says of framing, hosts, targets and methods, as tables of cases: what is sent, what the client must get,
//! and what the endpoint must have received, to the byte.
//!
//! Each file beside this one is a table, and a case is one entry:
//!
//! ```text
//! [its name]
//! the section or advisory that it comes from
//! # why, where the router is lenient
//! -> what the client sends, line by line; each ends in CRLF, unless it ends in a backslash
//! => what the endpoint receives; `+` stands for the lines that the router adds
//! =| what it may receive at the most, but never to the end
//! <= what the endpoint answers; `(end)`: then it closes the connection
//! <- what the client gets, without the date
//! == 400 bad_host, 200, open
//! ```
//!
//! The last line has the answers' statuses, with the reject's code, and how it goes on: `open`, `closes`, `resets`, `waits` (for the
//! rest), or `cut` (the client sends no more). Escapes: `\r`, `\n`, `\t`, `\s` (a blank), `\0`, `\x7f`, `\(text*times)`.
//!
//! Every case runs over one router with all others, at once and in small pieces, and another client is served in between.

mod endpoint;
mod run;
mod table;

use super::support::Builder;

#[track_caller]
fn check(text: &str) {
    run::run(&table::read(text), |site: Builder| site.route(""));
}

#[test]
fn lines() {
    check(include_str!("cases/lines.txt"));
}

#[test]
fn framing() {
    check(include_str!("cases/framing.txt"));
}

#[test]
fn chunks() {
    check(include_str!("cases/chunks.txt"));
}

#[test]
fn hosts() {
    check(include_str!("cases/hosts.txt"));
}

#[test]
fn targets() {
    check(include_str!("cases/targets.txt"));
}

#[test]
fn methods() {
    check(include_str!("cases/methods.txt"));
}

#[test]
fn hops() {
    check(include_str!("cases/hops.txt"));
}

#[test]
fn upgrades() {
    check(include_str!("cases/upgrades.txt"));
}

#[test]
fn sizes() {
    check(include_str!("cases/sizes.txt"));
}

/// The same for what endpoints answer.
#[test]
fn answers() {
    check(include_str!("cases/answers.txt"));
}
