//! What QEMU's AMD-Vi says of what it refuses: little, and always the same.
//!
//! Every refusal is an IO_PAGE_FAULT of the device's id. Its flags are those of an interrupt (I) and nothing else, and
//! its address is 0: so neither where the device went nor whether it wrote is known, and why is always "not present".
//! Reserved bits of page-table entries QEMU does not look at.

mod support;

use board::hardware::{Hardware, Width};
use dmamap::addr::BusAddr;
use dmamap::buffer::DmaBuffer;
use dmamap::iommu::fault::{Access, FaultReason};
use dmamap::map::{FromDevice, ToDevice};
use dmamap::system::Protection;
use drivers::edu::Edu;
use hw::amd::device_table::{TranslationWord, entry_offset};
use hw::amd::event::EventCode;
use hw::amd::page_table::{Entry, LEAF_RESERVED, NEXT_LEVEL_LEAF};
use hw::amd::regs::{self, DeviceTableBase};
use support::Rig;

/// Where QEMU has the unit's registers.
const UNIT: u64 = 0xfed8_0000;

const LEN: u64 = 64;

/// An address of the device's 28 bits where nothing is mapped.
const UNMAPPED: BusAddr = BusAddr::new(0x0666_0000);

/// What a device holds before it attempts anything.
const SENT: u8 = 0xa5;
/// What memory holds.
const KEPT: u8 = 0x5a;

/// What a device attempts.
#[derive(Clone, Copy, Debug)]
enum Attempt {
    ReadUnmapped,
    WriteUnmapped,
    /// To write what is mapped to be read.
    WriteReadOnly,
    /// To read what is mapped to be read, with the page's entry changed to this.
    ReadChanged(fn(Entry) -> Entry),
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Refused,
    Passed,
}

/// Physical address of the entry of the page at `bus` in the tables of `device`, found as the unit finds it.
fn leaf(hardware: &dyn Hardware, device: u16, bus: BusAddr) -> u64 {
    let ram = hardware.ram();
    let base = hardware.read(UNIT + regs::DEVICE_TABLE_BASE, Width::Qword);
    let at = DeviceTableBase::from_bits(base).base() + entry_offset(device);
    let word = TranslationWord::from_bits(ram.load_u64(at).expect("the table lies in RAM"));
    assert!(word.v() && word.tv() && word.ir() && word.iw(), "{word:?}");
    let (mut table, mut level) = (word.root(), u32::from(word.mode()));
    loop {
        let at = table + (bus.as_u64() >> (12 + 9 * (level - 1)) & 0x1ff) * 8;
        let entry = Entry::from_bits(ram.load_u64(at).expect("the tables lie in RAM"));
        assert!(entry.pr(), "level {level}: {entry:?}");
        if entry.next_level() == NEXT_LEVEL_LEAF {
            return at;
        }
        (table, level) = (entry.addr(), entry.next_level().into());
    }
}

/// Lets a device make the attempt; memory is as it was afterwards. What is told of a refusal is checked here.
fn attempt(attempt: Attempt) -> Option<Outcome> {
    let mut rig = Rig::boot("q35-amd", qemu::QemuConfig::with_edu)?;
    let function = rig.computer.edus().next().expect("it is there").clone();
    let system = rig.computer.system();
    let device = system.attach(&function, Protection::Strict);
    let device = device.expect("it attaches");
    let requester = device.requester();
    let mut edu = Edu::start(device, &function, rig.computer.resources_mut()).expect("it comes up");
    let buffer = |pattern: u8| {
        let mut buffer = DmaBuffer::allocate(rig.hosted, 4096).expect("there is memory");
        buffer.as_mut_slice().fill(pattern);
        buffer
    };
    let sent = edu.device().map_single(buffer(SENT), ToDevice);
    edu.fetch(&sent.expect("it maps"), 0, LEN)
        .expect("it is read");
    // The unit has not used this mapping yet, so it remembers nothing of it.
    let mapping = edu.device().map_single(buffer(KEPT), ToDevice);
    let mapping = mapping.expect("it maps");
    assert_eq!(system.faults().total, 0);

    let ram = rig.qemu.ram();
    let entry = leaf(&*rig.qemu, function.requester(), mapping.bus_addr());
    let sound = ram.load_u64(entry).expect("it lies in RAM");
    if let Attempt::ReadChanged(change) = attempt {
        let changed = change(Entry::from_bits(sound)).into_bits();
        assert_ne!(changed, sound);
        ram.store_u64(entry, changed).expect("it lies in RAM");
    }
    // SAFETY: the unit confines the device to what is mapped, which it may only read.
    let done = unsafe {
        match attempt {
            Attempt::ReadUnmapped => edu.fetch_at(UNMAPPED, LEN),
            Attempt::ReadChanged(_) => edu.fetch_at(mapping.bus_addr(), LEN),
            Attempt::WriteUnmapped => edu.store_at(UNMAPPED, LEN),
            Attempt::WriteReadOnly => edu.store_at(mapping.bus_addr(), LEN),
        }
    };
    done.expect("the device answers");
    ram.store_u64(entry, sound).expect("it lies in RAM");

    let report = system.faults();
    assert_eq!(report.overflows, 0);
    let outcome = match &report.first_per_requester[..] {
        [] => Outcome::Passed,
        [fault] => {
            assert_eq!((fault.requester, fault.unit.as_u64()), (requester, UNIT));
            // All that QEMU does not tell.
            assert_eq!(fault.access, Access::Unknown);
            assert_eq!(fault.address, BusAddr::new(0));
            let reason = FaultReason {
                code: EventCode::IoPageFault.code().into(),
                text: "I/O page fault: page not present",
            };
            assert_eq!(fault.reason, reason);
            Outcome::Refused
        }
        several => panic!("one device faulted: {several:?}"),
    };
    // What the device holds now.
    let held = edu.device().map_single(buffer(0), FromDevice);
    let held = held.expect("it maps");
    edu.store(&held, 0, LEN).expect("it is written");
    let held = held.unmap().expect("it comes back");
    let bytes = &held.as_slice()[..LEN as usize];
    let read = outcome == Outcome::Passed;
    assert_eq!(bytes.iter().all(|&byte| byte == KEPT), read, "{bytes:x?}");
    assert_eq!(system.faults().total, report.total, "that was mapped");

    let lent = mapping.unmap().expect("it comes back");
    assert!(lent.as_slice().iter().all(|&byte| byte == KEPT));
    drop((held, lent, function));
    edu.stop().detach().expect("it is detached");
    rig.finish_after_faults();
    Some(outcome)
}

#[track_caller]
fn check(attempted: Attempt, expected: Outcome) {
    if let Some(outcome) = attempt(attempted) {
        assert_eq!(outcome, expected, "{attempted:?}");
    }
}

#[test]
fn what_is_not_mapped_is_out_of_reach() {
    check(Attempt::ReadUnmapped, Outcome::Refused);
    check(Attempt::WriteUnmapped, Outcome::Refused);
}

#[test]
fn what_is_mapped_to_be_read_is_not_written() {
    check(Attempt::WriteReadOnly, Outcome::Refused);
}

#[test]
fn an_entry_that_grants_nothing_refuses() {
    check(
        Attempt::ReadChanged(|entry| entry.with_pr(false)),
        Outcome::Refused,
    );
    check(
        Attempt::ReadChanged(|entry| entry.with_ir(false)),
        Outcome::Refused,
    );
}

/// A real unit refuses such an entry (48882 2.2.3); the machine's model does. QEMU takes the page as if they were zero.
#[test]
fn reserved_bits_of_an_entry_are_not_looked_at() {
    check(
        Attempt::ReadChanged(|entry| Entry::from_bits(entry.into_bits() | LEAF_RESERVED)),
        Outcome::Passed,
    );
}
