//! The GridRouter data plane as a program.

fn main() {}
