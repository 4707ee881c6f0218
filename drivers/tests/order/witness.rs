//! A computer whose barriers, and touches of one device's registers, are noted in one list.
//!
//! It has no IOMMU, so that no barrier is that of a page table.

use std::sync::{Arc, Mutex, OnceLock};

use dmamap::addr::PhysRange;
use dmamap::device::Device;
use dmamap::iommu::Requester;
use dmamap::pci::Function;
use dmamap::system::Protection;
use hosted::{Barrier, BarrierObserver, Hosted};
use journeys::boot::BootOptions;
use machine::{Iommu, Machine, MachineConfig};

use rig::Rig;
use rig::observed::{Observed, Touch};

pub(crate) type Kernel = BarrierObserver<Hosted>;

/// What was done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The platform was asked for a barrier, when what is remembered held this.
    Barrier(Barrier, Memory),
    /// The register at this offset was read.
    Read(u64),
    /// The register at this offset was written, when what is remembered held this.
    Wrote(u64, u64, Memory),
}

/// What was in the memory that a register said.
type Memory = Option<Vec<u8>>;

impl Event {
    pub(crate) fn is(&self, wanted: Barrier) -> bool {
        matches!(self, Self::Barrier(barrier, _) if *barrier == wanted)
    }

    /// The register that was written, and the value.
    pub(crate) fn write(&self) -> Option<(u64, u64)> {
        match self {
            Self::Wrote(offset, value, _) => Some((*offset, *value)),
            _ => None,
        }
    }
}

/// The register that says where memory is whose content is noted with barriers and writes.
#[derive(Clone, Copy)]
pub(crate) struct Pointer {
    pub(crate) register: u64,
    pub(crate) len_bytes: usize,
}

#[derive(Default)]
struct Log {
    events: Mutex<Vec<Event>>,
    registers: OnceLock<PhysRange>,
    pointer: OnceLock<Pointer>,
    remembered: OnceLock<u64>,
}

impl Log {
    fn memory(&self, machine: &Machine) -> Memory {
        use board::hardware::Hardware;
        let (at, pointer) = (self.remembered.get()?, self.pointer.get()?);
        let mut bytes = vec![0; pointer.len_bytes];
        machine.ram().read(*at, &mut bytes).expect("it is memory");
        Some(bytes)
    }

    fn note(&self, machine: &Machine, touch: Touch) {
        let (phys, written) = match touch {
            Touch::Read { phys, .. } => (phys, None),
            Touch::Wrote { phys, value } => (phys, Some(value)),
            _ => return,
        };
        let Some(registers) = self.registers.get() else {
            return;
        };
        if !(registers.start().as_u64()..=registers.last().as_u64()).contains(&phys) {
            return;
        }
        let offset = phys - registers.start().as_u64();
        let event = match written {
            None => Event::Read(offset),
            Some(value) => {
                if self.pointer.get().is_some_and(|one| one.register == offset) {
                    self.remembered.set(value).expect("it is said once");
                }
                Event::Wrote(offset, value, self.memory(machine))
            }
        };
        self.push(event);
    }

    fn push(&self, event: Event) {
        self.events.lock().expect("nobody panicked").push(event);
    }
}

/// The computer and the list.
pub(crate) struct Witness {
    pub(crate) rig: Rig<Kernel>,
    pub(crate) platform: Kernel,
    log: Arc<Log>,
}

impl Witness {
    pub(crate) fn boot(config: MachineConfig) -> Self {
        let machine = Machine::boot(config.with_iommu(Iommu::None)).expect("the machine is sound");
        let log = Arc::new(Log::default());
        let noted = log.clone();
        let observer = move |machine: &Machine, touch| noted.note(machine, touch);
        let kernel = Hosted::boot(Observed::new(machine.clone(), observer)).expect("it boots");
        let platform = BarrierObserver::new(kernel);
        let rig = Rig::boot_on(machine, kernel, platform, BootOptions::default());
        let rig = rig.expect("the machine boots");
        let (noted, machine) = (log.clone(), Arc::downgrade(&rig.machine));
        platform.observe(move |barrier| {
            if let Some(machine) = machine.upgrade() {
                noted.push(Event::Barrier(barrier, noted.memory(&machine)));
            }
        });
        Self { rig, platform, log }
    }

    /// Notes what is done with the registers of `function` from now on, and with what `pointer` points to.
    pub(crate) fn watch(&self, function: &Function<Kernel>, pointer: Option<Pointer>) {
        let mut bars = (0..6).filter_map(|n| function.bar(n).and_then(|bar| bar.phys));
        let bar = bars.next().expect("the device has registers");
        self.log.registers.set(bar).expect("one device is watched");
        if let Some(pointer) = pointer {
            assert!(self.log.pointer.set(pointer).is_ok());
        }
    }

    pub(crate) fn attach(&self, function: &Function<Kernel>) -> Device<Kernel> {
        let requester = Requester {
            segment: 0,
            id: function.requester(),
        };
        self.rig.attach_trusted(requester, Protection::Identity)
    }

    /// Takes what was done since the last time.
    pub(crate) fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.log.events.lock().expect("nobody panicked"))
    }

    pub(crate) fn finish(self) {
        self.platform.ignore();
        self.rig.finish();
    }
}

/// Asserts that there are writes of the register at `offset`, and that each follows a barrier directly.
pub(crate) fn assert_ordered_writes(events: &[Event], offset: u64, times: usize) {
    let is_write = |event: &Event| event.write().is_some_and(|(at, _)| at == offset);
    let writes = events.windows(2).filter(|two| is_write(&two[1]));
    let mut found = 0;
    for two in writes {
        let is_barrier = two[0].is(Barrier::Write) || two[0].is(Barrier::Full);
        assert!(is_barrier, "a write of {offset:#x} follows {:?}", two[0]);
        found += 1;
    }
    assert!(found >= times, "{found} writes of {offset:#x}");
}

/// Asserts that there are reads of the register at `offset`, and that a barrier follows each directly.
pub(crate) fn assert_ordered_reads(events: &[Event], offset: u64, times: usize) {
    let reads = events
        .windows(2)
        .filter(|two| two[0] == Event::Read(offset));
    let mut found = 0;
    for two in reads {
        let is_barrier = two[1].is(Barrier::Read) || two[1].is(Barrier::Full);
        assert!(is_barrier, "{:?} follows a read of {offset:#x}", two[1]);
        found += 1;
    }
    assert!(found >= times, "{found} reads of {offset:#x}");
}
