//! A device is pulled out: nothing waits for it, and its memory comes back by the word of its unit.

use std::time::{Duration, Instant};

use dmamap::buffer::DmaBuffer;
use dmamap::device::ResetError;
use dmamap::map::{Bidirectional, FromDevice};
use dmamap::pci::{FunctionResetError, ResetPatience};
use dmamap::platform::Platform;
use dmamap::system::Protection;
use drivers::edu::EduError;
use drivers::nvme::{Blocks, CommandError, Completion, ControllerError, Nvme, Settings};
use hosted::Hosted;
use machine::MachineConfig;
use machine::device::nvme::{Medium, Misbehaviour, NvmeConfig};

use crate::reset::DISK;
use crate::ways::ways;
use rig::idle::{WAITS, boot_counting};
use rig::{EDU, PAGE, Rig, buffer_of, impatient, small};

/// For how long units, resets and disks are waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Less than one wait to the end of that, and far more than all that is done without one takes on a busy host.
const SOON: Duration = PATIENCE.checked_div(2).expect("not by zero");

/// [`PATIENCE`] in milliseconds.
const PATIENCE_MS: u64 = PATIENCE.as_secs() * 1000;

fn boot(config: MachineConfig) -> Rig {
    boot_counting(config, impatient(PATIENCE_MS))
}

#[test]
fn a_device_that_is_pulled_out_is_told_of_and_gives_its_memory_back() {
    for way in ways() {
        let name = &way.name;
        let mut rig = boot(way.config());
        let function = rig.function(EDU);
        let mut edu = rig.edu_on(way.attach(&rig, EDU));
        let mapping = edu
            .device()
            .map_single(buffer_of(rig.kernel, PAGE, 0x3c), Bidirectional)
            .unwrap();
        let shared = edu.device().alloc_coherent::<u64>(100).unwrap();
        edu.fetch(&mapping, 0, 64).unwrap();
        WAITS.set(0);
        rig.kernel.relax();
        assert_eq!(WAITS.take(), 1, "a wait is counted");
        assert!(function.is_present());
        rig.machine.remove(EDU.id);
        assert!(!function.is_present(), "{name}");
        let begun = Instant::now();
        assert_eq!(edu.fetch(&mapping, 0, 64), Err(EduError::Removed));
        assert_eq!(edu.store(&mapping, 0, 64), Err(EduError::Removed));
        assert_eq!(edu.factorial(5), Err(EduError::Removed));
        assert_eq!(edu.check_liveness(0), Err(EduError::Removed));
        assert_eq!(WAITS.get(), 0, "{name}: the device was waited for");
        let mut device = edu.stop();
        let reset = device.reset(ResetPatience {
            pending_ms: PATIENCE_MS,
            ready_ms: PATIENCE_MS,
        });
        let gone = FunctionResetError::Gone(function.address());
        assert_eq!(reset, Err(ResetError::Function(gone)));
        // It makes no requests, but that is not what counts: its unit says so.
        let buffer = mapping.unmap().unwrap();
        assert_eq!(buffer.as_slice(), [0x3c; PAGE as usize]);
        shared.free().unwrap();
        way.check(&device);
        device.detach().unwrap();
        assert!(begun.elapsed() < SOON, "{name}: it was waited for");
        drop((buffer, function));
        way.finish(rig, 0);
    }
}

#[test]
fn memory_of_a_device_that_is_gone_is_kept_until_it_is_revoked() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let buffer = buffer_of(rig.kernel, PAGE, 1);
    let mapping = device.map_single(buffer, Bidirectional).unwrap();
    let (bus, phys) = (mapping.bus_addr(), mapping.phys().start());
    rig.machine.remove(EDU.id);
    // Still mapped, and still nobody else's.
    assert_eq!(device.translate(bus), Some(phys));
    assert_eq!(device.figures().live_mappings, 1);
    assert_ne!(rig.machine.audit().leaves, []);
    device.detach().unwrap();
    assert_eq!(rig.machine.audit().leaves, []);
    drop(mapping.unmap().unwrap());
    // What is not there can be attached and detached all the same.
    let function = rig.function(EDU);
    let again = rig.system().attach(&function, Protection::Strict).unwrap();
    again.detach().unwrap();
    drop(function);
    rig.finish();
}

type Disk = Nvme<Hosted, DmaBuffer<Hosted>>;

fn endless_disk() -> NvmeConfig {
    let file = tempfile::tempfile().expect("the host has room");
    let mut config = NvmeConfig::new(file, 1 << 20, Medium::ReadWrite);
    config.misbehaviour = Misbehaviour {
        // No command ends before the disk is gone.
        delay: Duration::from_secs(3600),
        ..Misbehaviour::default()
    };
    config
}

#[test]
fn a_disk_that_is_pulled_out_at_work_fails_its_commands_and_nothing_hangs() {
    for completion in [Completion::Interrupt, Completion::Polling] {
        let mut rig = boot(small().with_disk(endless_disk()));
        let function = rig.function(DISK);
        let device = rig.attach(DISK);
        let settings = Settings {
            queues: 2,
            completion,
            command_timeout: PATIENCE,
            ready_timeout: PATIENCE,
            shutdown_timeout: PATIENCE,
            ..Settings::default()
        };
        let resources = rig.computer.resources_mut();
        let mut disk: Disk = Nvme::start(device, &function, resources, settings).unwrap();
        let tickets: Vec<_> = (0..6)
            .map(|n| {
                let blocks = Blocks {
                    first: n * 8,
                    count: 8,
                };
                let memory = DmaBuffer::allocate(rig.kernel, PAGE).unwrap();
                disk.submit_read(n as usize % 2, blocks, memory).unwrap()
            })
            .collect();
        rig.machine.remove(DISK.id);
        let begun = Instant::now();
        for ticket in tickets {
            let failed = disk.complete(ticket).expect_err("the disk is gone");
            assert!(
                matches!(
                    failed.error,
                    CommandError::Controller(ControllerError::Removed)
                ),
                "{}",
                failed.error
            );
            assert!(failed.buffer.is_some(), "the unit took it back");
        }
        assert_eq!(disk.lost(), Some(ControllerError::Removed));
        let failed = disk.shutdown().expect_err("it is gone");
        failed.device.detach().unwrap();
        assert!(begun.elapsed() < SOON, "it was waited for");
        drop(function);
        rig.finish();
    }
}

#[test]
fn requests_under_way_arrive_before_memory_comes_back() {
    use machine::bus::Access;
    use machine::iommu::translator::Translator;

    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let buffer = buffer_of(rig.kernel, PAGE, 1);
    let mapping = device.map_single(buffer, FromDevice).unwrap();
    let unit = rig.unit(0).clone();
    let bus = mapping.bus_addr().as_u64();
    let request = unit.translate(EDU.id, bus, Access::Write).unwrap();
    rig.machine.remove(EDU.id);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let unmapping = scope.spawn(|| {
            let buffer = mapping.unmap();
            done.store(true, std::sync::atomic::Ordering::SeqCst);
            buffer
        });
        std::thread::sleep(Duration::from_millis(30));
        assert!(!done.load(std::sync::atomic::Ordering::SeqCst));
        drop(request);
        drop(unmapping.join().unwrap().unwrap());
    });
    drop(device);
    rig.finish();
}
