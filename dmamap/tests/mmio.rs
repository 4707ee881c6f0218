//! Windows onto registers: order, width, division and end.

mod pci_support;

use board::hardware::Width;
use dmamap::mmio::{Mmio, MmioError};
use dmamap::platform::{MemoryAttribute, Platform};
use dmamap::resource::ResourceTree;
use hosted::{Hosted, PlatformCall, Tracer};
use pci_support::{FakePci, PLAIN, phys};

fn tree(kernel: Hosted) -> ResourceTree {
    let mut tree = ResourceTree::of(kernel.machine());
    // SAFETY: the fake board's registers are there.
    unsafe { tree.insert_registers("registers", phys(PLAIN, 32)).unwrap() };
    tree
}

fn map(kernel: Hosted, tree: &mut ResourceTree) -> Mmio<Hosted> {
    let claim = tree.request("driver", phys(PLAIN, 32)).unwrap();
    Mmio::ioremap(kernel, claim, MemoryAttribute::Uncached).unwrap()
}

#[test]
fn each_access_has_the_registers_width() {
    let board = FakePci::new();
    let kernel = Hosted::boot(board.clone()).unwrap();
    let mmio = map(kernel, &mut tree(kernel));
    mmio.register::<u64>(8)
        .unwrap()
        .write(0x1122_3344_5566_7788);
    assert_eq!(mmio.register::<u8>(9).unwrap().read(), 0x77);
    assert_eq!(mmio.register::<u16>(10).unwrap().read_relaxed(), 0x5566);
    mmio.register::<u32>(12).unwrap().write_relaxed(0xaabb_ccdd);
    assert_eq!(
        board.take_accesses(),
        [
            (8, Width::Qword, Some(0x1122_3344_5566_7788)),
            (9, Width::Byte, None),
            (10, Width::Word, None),
            (12, Width::Dword, Some(0xaabb_ccdd)),
        ]
    );
}

#[test]
fn a_wide_register_can_be_accessed_in_halves() {
    let board = FakePci::new();
    let kernel = Hosted::boot(board.clone()).unwrap();
    let register = map(kernel, &mut tree(kernel)).register::<u64>(16).unwrap();
    register.write_lo_hi(0x1122_3344_5566_7788);
    assert_eq!(register.read_lo_hi(), 0x1122_3344_5566_7788);
    assert_eq!(
        board.take_accesses(),
        [
            (16, Width::Dword, Some(0x5566_7788)),
            (20, Width::Dword, Some(0x1122_3344)),
            (16, Width::Dword, None),
            (20, Width::Dword, None),
        ]
    );
}

#[test]
fn registers_outside_or_astride_are_refused() {
    let board = FakePci::new();
    let kernel = Hosted::boot(board).unwrap();
    let mmio = map(kernel, &mut tree(kernel));
    let window = phys(PLAIN, 32);
    for offset in [29, 32, u64::MAX - 1] {
        assert_eq!(
            mmio.register::<u32>(offset).unwrap_err(),
            MmioError::OutOfWindow {
                offset,
                len_bytes: 4,
                window
            }
        );
    }
    assert_eq!(
        mmio.register::<u32>(2).unwrap_err(),
        MmioError::Misaligned {
            offset: 2,
            len_bytes: 4,
            window
        }
    );
    assert!(mmio.register::<u32>(28).is_ok());
}

#[test]
fn parts_reach_only_what_is_theirs() {
    let board = FakePci::new();
    let kernel = Hosted::boot(board.clone()).unwrap();
    let mut mmio = map(kernel, &mut tree(kernel));
    let mut upper = mmio.split_off(16).unwrap();
    assert_eq!(
        (mmio.phys(), upper.phys()),
        (phys(PLAIN, 16), phys(PLAIN + 16, 16))
    );
    assert!(mmio.register::<u32>(16).is_err());
    upper.register::<u32>(0).unwrap().write(7);
    assert_eq!(board.take_accesses(), [(16, Width::Dword, Some(7))]);

    let hole = upper.carve(4, 8).unwrap();
    assert_eq!(hole.phys(), phys(PLAIN + 20, 8));
    assert_eq!(
        upper.register::<u32>(8).unwrap_err(),
        MmioError::Carved {
            offset: 8,
            window: phys(PLAIN + 16, 16)
        }
    );
    assert!(upper.register::<u64>(0).is_err());
    assert!(upper.register::<u32>(0).is_ok() && upper.register::<u32>(12).is_ok());
    assert!(upper.carve(11, 1).is_err());
    assert!(upper.split_off(8).is_err());
    assert!(upper.split_off(17).is_err());
    assert!(upper.split_off(16).unwrap().is_empty());
}

#[test]
fn the_mapping_and_the_claim_end_with_the_last_part() {
    let board = FakePci::new();
    let kernel = Hosted::boot(board).unwrap();
    let mut tree = tree(kernel);
    let mut mmio = map(kernel, &mut tree);
    let part = mmio.split_off(16).unwrap();
    let register = part.register::<u32>(0).unwrap();
    let held = |tree: &mut ResourceTree| tree.request("other", phys(PLAIN, 4)).is_err();
    drop(mmio);
    drop(part);
    assert!(held(&mut tree) && kernel.report().register_windows == 1);
    register.write(1);
    drop(register);
    assert!(!held(&mut tree) && kernel.report().register_windows == 0);
}

#[test]
fn ordered_accesses_order_memory_around_them() {
    let board = FakePci::new();
    let kernel = Hosted::boot(board).unwrap();
    let tracer = Tracer::new(kernel, 64);
    let claim = tree(kernel).request("driver", phys(PLAIN, 32)).unwrap();
    let mmio = Mmio::ioremap(tracer, claim, MemoryAttribute::Uncached).unwrap();
    let register = mmio.register::<u32>(0).unwrap();
    tracer.take();
    register.write_relaxed(1);
    register.read_relaxed();
    assert_eq!(tracer.take(), []);
    register.write(1);
    assert_eq!(tracer.take(), [PlatformCall::WriteBarrier]);
    register.read();
    assert_eq!(tracer.take(), [PlatformCall::ReadBarrier]);
    let halves = mmio.register::<u64>(8).unwrap();
    halves.write_lo_hi(1);
    assert_eq!(tracer.take(), [PlatformCall::WriteBarrier]);
    halves.read_lo_hi();
    assert_eq!(tracer.take(), [PlatformCall::ReadBarrier]);
}

#[test]
fn registers_of_another_machine_are_not_mapped() {
    let boards = [(); 2].map(|()| FakePci::new());
    let [here, there] = boards.map(|board| Hosted::boot(board).unwrap());
    let mut resources = tree(there);
    let claim = resources.request("driver", phys(PLAIN, 32)).unwrap();
    let error = MmioError::OtherMachine {
        range: phys(PLAIN, 32),
        machine: there.machine(),
        platform: here.machine(),
    };
    let refused = Mmio::ioremap(here, claim, MemoryAttribute::Uncached);
    assert_eq!(refused.err(), Some(error));
    assert_eq!(here.report().register_windows, 0);
    // The claim was released, and its own machine maps it.
    map(there, &mut resources);
}
