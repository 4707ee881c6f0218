#![no_main]

use firmware::Rsdp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = Rsdp::parse(bytes);
});
