//! What QEMU's VT-d does in each of its modes: which tables it walks, and which reasons its faults have.

mod support;

use board::hardware::{Hardware, Width};
use dmamap::addr::BusAddr;
use dmamap::buffer::DmaBuffer;
use dmamap::iommu::fault::Access;
use dmamap::map::ToDevice;
use dmamap::system::{Protection, Settings, Stage, TableMode};
use drivers::edu::Edu;
use hw::vtd::regs::{self, RootTableAddress, TranslationTableMode};
use journeys::boot::BootOptions;
use support::Rig;

/// Where QEMU has the unit's registers.
const UNIT: u64 = 0xfed9_0000;

const LEN: u64 = 64;

/// An address of the device's 28 bits where nothing is mapped.
const UNMAPPED: BusAddr = BusAddr::new(0x0666_0000);

/// What a device attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    ReadUnmapped,
    WriteUnmapped,
    WriteReadOnly,
}

/// The reason code of the fault that `attempt` gives, and the mode the unit was in.
fn refuse(
    board: &str,
    settings: Settings,
    attempt: Attempt,
) -> Option<(u16, TranslationTableMode)> {
    let options = BootOptions {
        units: settings,
        ..BootOptions::default()
    };
    let mut rig = Rig::boot_as(board, options, |config| config.with_edu())?;
    let root = RootTableAddress::from_bits(rig.qemu.read(UNIT + regs::RTADDR_REG, Width::Qword));
    let function = rig.computer.edus().next().expect("it is there").clone();
    let device = rig.computer.system().attach(&function, Protection::Strict);
    let device = device.expect("it attaches");
    let mut edu = Edu::start(device, &function, rig.computer.resources_mut()).expect("it comes up");
    let mut buffer = DmaBuffer::allocate(rig.hosted, 4096).expect("there is memory");
    buffer.as_mut_slice().fill(0x5a);
    let mapping = edu.device().map_single(buffer, ToDevice).expect("it maps");
    if attempt != Attempt::WriteReadOnly {
        // (What it remembers as read-only QEMU refuses without a report.)
        edu.fetch(&mapping, 0, LEN).expect("it is read");
        assert_eq!(rig.computer.system().faults().total, 0);
    }
    let (bus, access) = match attempt {
        Attempt::ReadUnmapped => (UNMAPPED, Access::Read),
        Attempt::WriteUnmapped => (UNMAPPED, Access::Write),
        Attempt::WriteReadOnly => (mapping.bus_addr(), Access::Write),
    };
    // SAFETY: the unit confines the device to what is mapped, which it may only read.
    let done = unsafe {
        match access {
            Access::Read | Access::Unknown => edu.fetch_at(bus, LEN),
            Access::Write => edu.store_at(bus, LEN),
        }
    };
    done.expect("the device answers");
    let faults = rig.computer.system().faults().first_per_requester;
    let Some(fault) = faults.first() else {
        panic!("{board}: {attempt:?} was not told");
    };
    assert_eq!((fault.address, fault.access), (bus, access), "{fault}");
    assert_ne!(fault.reason.text, "unknown reason", "{fault}");
    let code = fault.reason.code;
    let buffer = mapping.unmap().expect("it comes back");
    assert!(buffer.as_slice().iter().all(|&byte| byte == 0x5a));
    drop((buffer, function));
    edu.stop().detach().expect("it is detached");
    rig.finish_after_faults();
    Some((code, root.ttm()))
}

const ATTEMPTS: [Attempt; 3] = [
    Attempt::ReadUnmapped,
    Attempt::WriteUnmapped,
    Attempt::WriteReadOnly,
];

#[track_caller]
fn check(board: &str, settings: Settings, codes: [u16; 3], mode: TranslationTableMode) {
    let results = ATTEMPTS.map(|attempt| refuse(board, settings, attempt));
    for (expected, result) in codes.into_iter().zip(results) {
        let Some(result) = result else { return };
        assert_eq!(result, (expected, mode), "{board}: {results:x?}");
    }
}

#[test]
fn legacy_mode_gives_legacy_reasons_on_every_unit() {
    let legacy = Settings {
        mode: Some(TableMode::Legacy),
        ..Settings::default()
    };
    for board in ["q35-vtd", "q35-vtd-first-stage", "q35-vtd-second-stage"] {
        check(board, legacy, [6, 5, 5], TranslationTableMode::Legacy);
    }
}

#[test]
fn first_stage_tables_are_walked_where_the_unit_has_them() {
    let first = Settings {
        stage: Some(Stage::First),
        ..Settings::default()
    };
    for settings in [Settings::default(), first] {
        check(
            "q35-vtd-first-stage",
            settings,
            [0x71, 0x71, 0x85],
            TranslationTableMode::Scalable,
        );
    }
}

#[test]
fn second_stage_tables_give_the_reasons_of_legacy_mode() {
    let second = Settings {
        stage: Some(Stage::Second),
        ..Settings::default()
    };
    for settings in [Settings::default(), second] {
        check(
            "q35-vtd-second-stage",
            settings,
            [6, 5, 5],
            TranslationTableMode::Scalable,
        );
    }
}
