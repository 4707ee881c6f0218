//! x
mod support;
use drivers::nvme::*;
use journeys::disk::*;
use machine::*;
use std::convert::Infallible;
use support::*;
#[test]
fn bench() {
    let len = 1u64 << 30;
    let f = std::fs::File::open("/tmp/h5s/big").unwrap();
    for (d, q, c) in [
        (32, 1, Completion::Interrupt),
        (32, 4, Completion::Interrupt),
        (256, 1, Completion::Interrupt),
        (256, 4, Completion::Interrupt),
        (1, 1, Completion::Interrupt),
        (32, 1, Completion::Polling),
    ] {
        let cfg = machine::device::nvme::NvmeConfig::new(
            f.try_clone().unwrap(),
            len,
            machine::device::nvme::Medium::ReadOnly,
        );
        let mut rig = Rig::boot(MachineConfig::default().with_disk(cfg));
        let mut disk: Disk<hosted::Hosted> = rig.start_disk(
            0,
            Settings {
                queue_depth: d,
                queues: q,
                completion: c,
                ..Settings::default()
            },
        );
        let mut x = 0u64;
        let r = read_disk(&mut disk, &DiskOptions::default(), |b| {
            x += b.iter().step_by(64).map(|&b| u64::from(b)).sum::<u64>();
            Ok::<(), Infallible>(())
        })
        .unwrap();
        println!(
            "d{d} q{q} {c:?}: {:.3} s chunk {} {x} figures {:?}",
            r.elapsed_ns as f64 / 1e9,
            r.chunk_bytes,
            disk.device().figures()
        );
        disk.shutdown().unwrap().detach().unwrap();
        rig.finish();
    }
}
