//! The journeys on QEMU's models, as they are.

mod support;

use std::convert::Infallible;
use std::fs::File;
use std::os::unix::fs::FileExt;

use dmamap::buffer::DmaBuffer;
use dmamap::map::ToDevice;
use dmamap::system::Protection;
use drivers::edu::Edu;
use drivers::nvme::{CompletionMode, Settings};
use hosted::Hosted;
use journeys::IsolationError;
use journeys::disk::{DiskOptions, verify_disk, write_disk};
use journeys::mask_limits::mask_limits;
use journeys::read_only_mapping::read_only_mapping;
use journeys::two_domains::two_domains;
use journeys::unmap_blocks_device::unmap_blocks_device;
use qemu::{Disk, Medium, QemuConfig};
use rig::disks::{blank_file, bytes_at, read_and_check, test_file};
use support::Rig;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The boards with an IOMMU that has a driver.
const TRANSLATED: [&str; 3] = ["q35-vtd", "q35-virtio", "arm-virtio"];

/// The boards whose IOMMU refuses without a word what an entry it remembers does not allow: QEMU's VT-d looks for the
/// reason only in tables.
const SILENT_REFUSALS: [&str; 1] = ["q35-vtd"];

/// The boards without.
const DIRECT: [&str; 3] = ["q35", "arm", "riscv"];

fn with_disk(file: File, medium: Medium) -> impl FnOnce(QemuConfig) -> QemuConfig {
    move |config| config.with_disk(Disk::nvme(file, medium))
}

/// Test bytes from the start on.
fn test_bytes() -> impl FnMut(&mut [u8]) -> Result<(), Infallible> {
    let mut at = 0;
    move |into| {
        bytes_at(at, into);
        at += into.len() as u64;
        Ok(())
    }
}

#[test]
fn a_disk_is_read_on_every_board() {
    for board in TRANSLATED.into_iter().chain(DIRECT) {
        let Some(mut rig) = Rig::boot(board, with_disk(test_file(16 * MIB), Medium::ReadOnly))
        else {
            return;
        };
        assert_eq!(
            rig.computer.has_iommu(),
            TRANSLATED.contains(&board),
            "{board}"
        );
        let mut disk = rig.start_disk(0, Settings::default());
        assert!(
            matches!(disk.completion_mode(), CompletionMode::Polling(_)),
            "{board}: nobody takes interrupts"
        );
        read_and_check(&mut disk, 16 * MIB);
        disk.shutdown()
            .expect("the disk stops")
            .detach()
            .expect("it is detached");
        rig.finish();
    }
}

#[test]
fn what_is_written_is_in_the_disks_file() {
    for board in TRANSLATED {
        let len_bytes = 3 * MIB + 512;
        let file = blank_file(len_bytes);
        let kept = file.try_clone().expect("a file can be shared");
        let Some(mut rig) = Rig::boot(board, with_disk(file, Medium::ReadWrite)) else {
            return;
        };
        let settings = Settings {
            queue_depth: 32,
            queues: 2,
            ..Settings::default()
        };
        let mut disk = rig.start_disk(0, settings);
        let whole = DiskOptions {
            len_bytes: Some(len_bytes),
            ..DiskOptions::default()
        };
        write_disk(&mut disk, &whole, test_bytes()).expect("it is written");
        verify_disk(&mut disk, &whole, test_bytes()).expect("it reads back");
        disk.shutdown()
            .expect("the disk stops")
            .detach()
            .expect("it is detached");
        rig.finish();

        let (mut found, mut wanted) = (vec![0; len_bytes as usize], vec![0; len_bytes as usize]);
        kept.read_exact_at(&mut found, 0)
            .expect("the file is that long");
        bytes_at(0, &mut wanted);
        assert!(found == wanted, "{board}: the file differs");
    }
}

/// Runs a journey of the educational device on every board whose IOMMU has a driver, with memory above 4 GiB.
fn on_every_board<R>(journey: impl Fn(&mut Rig) -> Result<R, IsolationError>) {
    for board in TRANSLATED {
        let with = |config: QemuConfig| {
            let disk = Disk::nvme(blank_file(MIB), Medium::ReadOnly);
            config.with_ram(4 * GIB).with_edu().with_disk(disk)
        };
        let Some(mut rig) = Rig::boot(board, with) else {
            return;
        };
        if let Err(error) = journey(&mut rig) {
            panic!("{board}: {error}; QEMU said: {}", rig.qemu.said());
        }
        rig.finish_after_faults();
    }
}

#[test]
fn unmap_takes_memory_away_from_the_device() {
    on_every_board(|rig| unmap_blocks_device(&mut rig.computer));
}

#[test]
fn a_mapping_to_the_device_cannot_be_written_by_it() {
    on_every_board(|rig| {
        let silent = SILENT_REFUSALS.contains(&rig.qemu.board().name());
        match read_only_mapping(&mut rig.computer) {
            Err(IsolationError::NotReported { .. }) if silent => Ok(()),
            outcome => outcome.map(drop),
        }
    });
}

/// What the journey above does, without a report: the write does not arrive. If the IOMMU had not read the entry before,
/// it is reported too.
#[test]
fn a_write_to_what_was_read_before_is_refused() {
    for (board, read_before) in SILENT_REFUSALS
        .into_iter()
        .flat_map(|board| [(board, false), (board, true)])
    {
        let Some(mut rig) = Rig::boot(board, QemuConfig::with_edu) else {
            return;
        };
        let edus = rig.computer.edus().next().cloned();
        let function = edus.expect("the computer has that device");
        let system = rig.computer.system();
        let device = system
            .attach(&function, Protection::Strict)
            .expect("it attaches");
        let edu = Edu::start(device, &function, rig.computer.resources_mut());
        let mut edu = edu.expect("it starts");
        drop(function);
        let lend = |edu: &Edu<Hosted>, pattern: u8| {
            let mut buffer = DmaBuffer::allocate(rig.hosted, 4096).expect("there is memory");
            buffer.as_mut_slice().fill(pattern);
            edu.device().map_single(buffer, ToDevice).expect("it maps")
        };
        // What it would write.
        let pattern = lend(&edu, 0x5a);
        edu.fetch(&pattern, 0, 4096).expect("it reads");
        drop(pattern);

        let mapping = lend(&edu, 0);
        if read_before {
            edu.fetch(&mapping, 0, 64).expect("it reads");
        }
        // SAFETY: the device is confined.
        unsafe { edu.store_at(mapping.bus_addr(), 4096) }.expect("the device ends its try");
        assert_eq!(system.faults().total == 0, read_before, "{board}");
        let buffer = mapping.unmap().expect("it unmaps");
        assert!(buffer.as_slice().iter().all(|&byte| byte == 0), "{board}");
        drop(buffer);
        edu.stop().detach().expect("it is detached");
        rig.finish_after_faults();
    }
}

#[test]
fn devices_do_not_reach_each_others_memory() {
    on_every_board(|rig| two_domains(&mut rig.computer));
}

#[test]
fn few_address_lines_reach_high_memory() {
    // SAFETY: the device is behind an IOMMU.
    on_every_board(|rig| unsafe { mask_limits(&mut rig.computer) });
}
