#![no_main]

use firmware::Iort;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let _ = Iort::parse(body);
    if let Ok(table) = Iort::parse(&fuzz::table(b"IORT", body)) {
        let _ = table.description();
    }
});
