#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gridrouter::fuzzing::run("proxy_protocol", bytes));
