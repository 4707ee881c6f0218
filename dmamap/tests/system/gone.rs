//! A unit that is gone, as one that is unplugged or loses its power: its registers read as all ones. Nothing that it was
//! to confirm counts as confirmed, nobody waits for it long, and it tells of no faults.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::kinds::kinds;
use crate::rig::{EDU, PAGE, Rig, buffer_of, small};
use board::hardware::{CacheOperation, Hardware, HostBridgeDescription, InterruptSink, Width};
use board::ram::Ram;
use dmamap::iommu::{RevokeError, UnitError};
use dmamap::map::ToDevice;
use hosted::Hosted;
use journeys::boot::BootOptions;
use machine::Machine;

/// More than the entries of any queue, each time one submission of two or more: all places in a ring are met.
const TIMES: usize = 300;

/// Far less than a single wait of a driver that waits to the end of its patience.
const SOON: Duration = Duration::from_secs(3);

/// A machine none of whose registers answer while it is away.
struct Fading {
    machine: Arc<Machine>,
    is_away: AtomicBool,
}

impl Hardware for Fading {
    fn name(&self) -> &str {
        self.machine.name()
    }

    fn ram(&self) -> &Arc<Ram> {
        self.machine.ram()
    }

    fn uncached_ram(&self) -> Option<&Arc<Ram>> {
        self.machine.uncached_ram()
    }

    fn rsdp(&self) -> Option<u64> {
        self.machine.rsdp()
    }

    fn host_bridges(&self) -> Vec<HostBridgeDescription> {
        self.machine.host_bridges()
    }

    fn reserved_ram(&self) -> Vec<Range<u64>> {
        self.machine.reserved_ram()
    }

    fn read(&self, phys: u64, width: Width) -> u64 {
        match self.is_away.load(Ordering::Acquire) {
            true => width.ones(),
            false => self.machine.read(phys, width),
        }
    }

    fn write(&self, phys: u64, width: Width, value: u64) {
        if !self.is_away.load(Ordering::Acquire) {
            self.machine.write(phys, width, value);
        }
    }

    fn message_window(&self) -> Range<u64> {
        self.machine.message_window()
    }

    fn connect_interrupts(&self, sink: Arc<dyn InterruptSink>) {
        self.machine.connect_interrupts(sink);
    }

    fn maintain_cache(&self, operation: CacheOperation, phys: u64, len_bytes: u64) {
        self.machine.maintain_cache(operation, phys, len_bytes);
    }

    fn frames_freed(&self, phys: u64, len_bytes: u64) {
        self.machine.frames_freed(phys, len_bytes);
    }

    fn idle(&self) {
        self.machine.idle();
    }
}

#[test]
fn a_unit_that_is_gone_confirms_nothing_and_is_not_waited_for() {
    for (kind, iommu) in kinds() {
        let machine = Machine::boot(small().with_iommu(iommu)).expect("a machine");
        let fading = Arc::new(Fading {
            machine: machine.clone(),
            is_away: AtomicBool::new(false),
        });
        let kernel = Hosted::boot(fading.clone()).expect("a kernel");
        let rig = Rig::boot_on(machine, kernel, kernel, BootOptions::default()).expect("it boots");
        let device = rig.attach(EDU);
        let away = |is_away| fading.is_away.store(is_away, Ordering::Release);
        let started = Instant::now();
        for time in 0..TIMES {
            let buffer = buffer_of(rig.kernel, PAGE, 1);
            let mapping = device.map_single(buffer, ToDevice).expect("it is mapped");
            away(true);
            let ended = mapping.unmap();
            rig.system().service_faults();
            away(false);
            match ended.map_err(|quarantined| quarantined.error) {
                Err(RevokeError::Unit(UnitError::QueueStopped { .. })) => {}
                other => panic!("{kind}, time {time}: {other:?}"),
            }
            assert!(started.elapsed() < SOON, "{kind}: it was waited for");
        }
        assert_eq!(rig.system().faults().total, 0, "{kind}");
        away(true);
        let detached = device.detach().map_err(|error| error.to_string());
        let error = detached.expect_err("nobody confirms it");
        assert!(
            error.contains("stopped its command queue"),
            "{kind}: {error}"
        );
        assert!(started.elapsed() < SOON, "{kind}: it was waited for");
        rig.abandon();
    }
}
