#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bigroom::fuzzing::http1_as_hyper(data));
