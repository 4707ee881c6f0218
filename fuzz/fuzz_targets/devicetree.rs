#![no_main]

use firmware::Devicetree;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|blob: &[u8]| {
    if let Ok(tree) = Devicetree::parse(blob) {
        let _ = tree.iommus();
        let _ = tree.host_bridges();
        let _ = tree.memory();
        let _ = tree.reserved_memory();
        let _ = tree.device_memory();
    }
});
