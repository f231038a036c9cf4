#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    cas_fuzz::run("audit_entry", input);
});
