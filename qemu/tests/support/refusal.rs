//! One attempt of a device that must be refused, by tables as the driver left them or as the test altered them in RAM.

use board::hardware::{Hardware, Width};
use dmamap::addr::BusAddr;
use dmamap::buffer::DmaBuffer;
use dmamap::iommu::fault::{Access, Fault};
use dmamap::map::{Bidirectional, Direction, Mapping, ToDevice};
use dmamap::system::{Protection, Settings};
use drivers::edu::Edu;
use firmware::UnitPlace;
use hosted::Hosted;
use journeys::boot::BootOptions;
use qemu::Qemu;

use super::Rig;

const LEN: u64 = 64;

/// An address of the device's 28 bits where nothing is mapped.
const UNMAPPED: BusAddr = BusAddr::new(0x0666_0000);

/// What the buffer holds. The device's own holds zeros.
const KEPT: u8 = 0x5a;

/// What a device attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// To read where nothing is mapped.
    ReadUnmapped,
    /// To write where nothing is mapped.
    WriteUnmapped,
    /// To write what it may read.
    WriteReadOnly,
    /// To read what it may read and write.
    Read,
    /// To write what it may read and write.
    Write,
}

impl Attempt {
    fn access(self) -> Access {
        match self {
            Self::ReadUnmapped | Self::Read => Access::Read,
            Self::WriteUnmapped | Self::WriteReadOnly | Self::Write => Access::Write,
        }
    }
}

/// A unit's tables in RAM, before the device's first request: the unit remembers nothing of them yet.
pub struct Tables<'a> {
    qemu: &'a Qemu,
    unit: u64,
    /// The device: its bus in bits 15:8, device in 7:3, function in 2:0.
    pub requester: u16,
    /// What is mapped for the device.
    pub bus: u64,
    /// Words that were altered, as they were.
    before: Vec<(u64, u64)>,
}

impl Tables<'_> {
    /// The unit's 32-bit register.
    pub fn register_u32(&self, offset: u64) -> u32 {
        self.qemu.read(self.unit + offset, Width::Dword) as u32
    }

    /// The unit's 64-bit register.
    pub fn register(&self, offset: u64) -> u64 {
        self.qemu.read(self.unit + offset, Width::Qword)
    }

    /// The words of an entry.
    pub fn words<const N: usize>(&self, phys: u64) -> [u64; N] {
        std::array::from_fn(|n| {
            let word = self.qemu.ram().load_u64(phys + 8 * n as u64);
            word.expect("tables lie in RAM")
        })
    }

    /// One word of an entry.
    pub fn word(&self, phys: u64) -> u64 {
        let [word] = self.words(phys);
        word
    }

    /// Alters a word until the attempt is over.
    pub fn alter(&mut self, phys: u64, change: impl FnOnce(u64) -> u64) {
        let word = self.word(phys);
        let altered = change(word);
        assert_ne!(word, altered, "the change at {phys:#x} is none");
        self.before.push((phys, word));
        self.store(phys, altered);
    }

    fn store(&self, phys: u64, word: u64) {
        let stored = self.qemu.ram().store_u64(phys, word);
        stored.expect("tables lie in RAM");
    }
}

/// The driver finds its tables as it left them.
impl Drop for Tables<'_> {
    fn drop(&mut self) {
        for (phys, word) in self.before.iter().rev() {
            self.store(*phys, *word);
        }
    }
}

/// How an attempt was told, and what it was.
#[derive(Clone, Copy, Debug)]
pub struct Refusal {
    pub fault: Fault,
    pub bus: BusAddr,
    pub access: Access,
}

impl Refusal {
    /// Checks the reason, and that the rest of the fault is told as it was.
    #[track_caller]
    pub fn check(&self, context: &str, code: u16, text: &str) {
        self.check_reason(context, code, text);
        let told = (self.fault.address, self.fault.access);
        assert_eq!(told, (self.bus, self.access), "{context}: {}", self.fault);
    }

    /// Checks the reason alone, where the unit tells no more.
    #[track_caller]
    pub fn check_reason(&self, context: &str, code: u16, text: &str) {
        let reason = self.fault.reason;
        assert_eq!((reason.code, reason.text), (code, text), "{context}");
    }
}

/// Boots `board` with the educational device, lets `alter` at the tables before the device's first request, and has
/// the device make `attempt`, which must be refused and told. `None` where there is no QEMU.
pub fn refuse(
    board: &str,
    units: Settings,
    attempt: Attempt,
    alter: impl FnOnce(&mut Tables<'_>),
) -> Option<Refusal> {
    let options = BootOptions {
        units,
        ..BootOptions::default()
    };
    let mut rig = Rig::boot_as(board, options, |config| config.with_edu())?;
    let function = rig.computer.edus().next().expect("it is there").clone();
    let device = rig.computer.system().attach(&function, Protection::Strict);
    let device = device.expect("it attaches");
    let mut edu = Edu::start(device, &function, rig.computer.resources_mut()).expect("it comes up");
    let mut buffer = DmaBuffer::allocate(rig.hosted, 4096).expect("there is memory");
    buffer.as_mut_slice().fill(KEPT);
    let refusal = match attempt {
        Attempt::WriteReadOnly => {
            let mapping = edu.device().map_single(buffer, ToDevice).expect("it maps");
            attempt_at(&rig, &mut edu, mapping, attempt, alter)
        }
        _ => {
            let mapping = edu.device().map_single(buffer, Bidirectional);
            attempt_at(&rig, &mut edu, mapping.expect("it maps"), attempt, alter)
        }
    };
    drop(function);
    edu.stop().detach().expect("it is detached");
    rig.finish_after_faults();
    Some(refusal)
}

fn attempt_at<D: Direction>(
    rig: &Rig,
    edu: &mut Edu<Hosted>,
    mapping: Mapping<Hosted, DmaBuffer<Hosted>, D>,
    attempt: Attempt,
    alter: impl FnOnce(&mut Tables<'_>),
) -> Refusal {
    let requester = edu.device().requester();
    let mut tables = Tables {
        qemu: &rig.qemu,
        unit: unit_of(rig),
        requester: requester.id,
        bus: mapping.bus_addr().as_u64(),
        before: Vec::new(),
    };
    alter(&mut tables);
    let unit = tables.unit;
    let access = attempt.access();
    let bus = match attempt {
        Attempt::ReadUnmapped | Attempt::WriteUnmapped => UNMAPPED,
        Attempt::WriteReadOnly | Attempt::Read | Attempt::Write => mapping.bus_addr(),
    };
    // SAFETY: what the device may reach, if it is not refused, is the test's own buffer.
    let done = unsafe {
        match access {
            Access::Read | Access::Unknown => edu.fetch_at(bus, LEN),
            Access::Write => edu.store_at(bus, LEN),
        }
    };
    done.expect("the device answers");
    drop(tables);
    let faults = rig.computer.system().faults();
    let [fault] = faults.first_per_requester[..] else {
        panic!("{attempt:?} was not told: {faults:?}");
    };
    assert_eq!(faults.overflows, 0, "{fault}");
    assert_eq!((fault.requester, fault.unit.as_u64()), (requester, unit));
    let buffer = mapping.unmap().expect("it comes back");
    let kept = buffer.as_slice().iter().all(|&byte| byte == KEPT);
    assert!(kept, "{attempt:?} was told, and made");
    Refusal { fault, bus, access }
}

/// Where the board's one unit has its registers.
fn unit_of(rig: &Rig) -> u64 {
    let rsdp = rig.hosted.rsdp().expect("the board has ACPI");
    let tables = firmware::Tables::find(rsdp.as_u64(), &rig.hosted);
    let iommus = tables.and_then(|tables| tables.iommus());
    let iommus = iommus.expect("firmware's tables are sound");
    let [unit] = &iommus.units[..] else {
        panic!("one unit, not {:?}", iommus.units);
    };
    match unit.place {
        UnitPlace::Registers { phys, .. } => phys,
        UnitPlace::Function { requester, .. } => {
            let mut functions = rig.computer.topology().functions();
            let function = functions.find(|function| function.requester() == requester);
            let function = function.expect("firmware names a function that is there");
            let registers = function.bar(0).and_then(|bar| bar.phys);
            registers.expect("it has registers").start().as_u64()
        }
    }
}
