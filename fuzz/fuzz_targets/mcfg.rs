#![no_main]

use firmware::Mcfg;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let _ = Mcfg::parse(body);
    let _ = Mcfg::parse(&fuzz::table(b"MCFG", body));
});
