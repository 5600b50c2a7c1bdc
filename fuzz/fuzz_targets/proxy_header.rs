#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bigroom::fuzzing::proxy_header(data));
