#![no_main]

use firmware::Rimt;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let _ = Rimt::parse(body);
    if let Ok(table) = Rimt::parse(&fuzz::table(b"RIMT", body)) {
        let _ = table.description();
    }
});
