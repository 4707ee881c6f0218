use super::super::VtdConfig;
use super::bench::*;
use crate::bus::Access;
use crate::iommu::translator::Translator;
use std::time::Instant;
#[test]
fn speed() {
    let (bench, top) = Bench::translating(VtdConfig::default(), 4);
    for p in 0..256u64 {
        bench.map(top, 4, p << 12, 1, 0x5000 | RW);
        let _ = bench.read(p << 12);
    }
    let t = Instant::now();
    for i in 0..1_000_000u64 {
        drop(bench.unit.translate(DEVICE, (i & 255) << 12, Access::Read));
    }
    println!("hit {:?}", t.elapsed() / 1_000_000);
    let t = Instant::now();
    let n = 2000u32;
    for _ in 0..n {
        for p in 0..32u64 {
            bench.map(top, 4, p << 12, 1, 0x5000 | RW);
        }
        for p in 0..32u64 {
            drop(bench.unit.translate(DEVICE, p << 12, Access::Read));
        }
        for p in 0..32u64 {
            bench.map(top, 4, p << 12, 1, 0);
        }
        bench.submit_and_wait(&[iotlb_pages(DOMAIN, 0, 5, 1)]);
    }
    println!("cycle of 32 pages {:?}", t.elapsed() / n);
    let t = Instant::now();
    for _ in 0..1000 {
        crate::iommu::Unit::frames_freed(&*bench.unit, 0x70_0000, 0x1000);
    }
    println!("freed {:?}", t.elapsed() / 1000);
}
