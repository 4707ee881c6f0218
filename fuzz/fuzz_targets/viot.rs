#![no_main]

use firmware::Viot;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let _ = Viot::parse(body);
    if let Ok(table) = Viot::parse(&fuzz::table(b"VIOT", body)) {
        let _ = table.description();
    }
});
