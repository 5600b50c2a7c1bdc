#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| statsvr::fuzzing::stats_wire(data));
