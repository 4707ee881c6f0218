#![no_main]

use firmware::Ivrs;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let _ = Ivrs::parse(body);
    if let Ok(table) = Ivrs::parse(&fuzz::table(b"IVRS", body)) {
        let _ = table.description();
    }
});
