#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bigroom::fuzzing::cluster_state(data));
