#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| everlink::fuzzing::tutorial(data));
