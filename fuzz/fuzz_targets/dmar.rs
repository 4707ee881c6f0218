#![no_main]

use firmware::Dmar;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let _ = Dmar::parse(body);
    if let Ok(table) = Dmar::parse(&fuzz::table(b"DMAR", body)) {
        let _ = table.description();
    }
});
