//! The promises of `Platform`, kept on a board without devices.

mod fake_board;

use std::ptr::NonNull;
use std::sync::Arc;
use std::thread;

use board::hardware::{
    CacheOperation, Hardware, HostBridgeDescription, InboundDescription, Width, WindowDescription,
    WindowKind,
};
use dmamap::addr::{BusAddr, BusRange, PhysAddr, PhysRange, VirtAddr};
use dmamap::buffer::{DmaBuffer, DmaMemory};
use dmamap::platform::{FrameRequest, MemoryAttribute, OutOfFrames, Platform, VirtualMapError};
use fake_board::{Event, FakeBoard, RAM, REGISTERS, RESERVED};
use firmware::{PhysicalMemory, Unreadable};
use hosted::{FaultInjector, HostBridgeError, Hosted, POISON, PlatformCall, Resource, Tracer};
use safe_mmio::UniqueMmioPointer;
use safe_mmio::fields::ReadPureWrite;

fn boot() -> (Arc<FakeBoard>, Hosted) {
    let board = FakeBoard::new();
    let kernel = Hosted::boot(board.clone()).unwrap();
    (board, kernel)
}

fn virt(pointer: NonNull<u8>) -> VirtAddr {
    VirtAddr::from_ptr(pointer.as_ptr())
}

fn at(pointer: NonNull<u8>, offset: usize) -> NonNull<u8> {
    // SAFETY: the tests stay inside the memory they were lent.
    unsafe { pointer.add(offset) }
}

fn free(kernel: impl Platform, frames: PhysRange) {
    // SAFETY: the tests free what they were lent, once, and keep no pointer.
    unsafe { kernel.free_frames(frames) };
}

#[test]
fn memory_map_is_the_boards() {
    let (_, kernel) = boot();
    let mut map = Vec::new();
    kernel.memory_map(&mut |range| map.push(range.start().as_u64()..range.last().as_u64() + 1));
    assert_eq!(map, RAM);
}

#[test]
fn all_of_memory_is_lent_but_frame_zero_and_what_firmware_keeps() {
    let (_, kernel) = boot();
    let mut lent = Vec::new();
    while let Ok(frame) = kernel.allocate_frames(FrameRequest::new(1)) {
        lent.push(frame.start().as_u64());
    }
    lent.sort_unstable();
    let ram = RAM.into_iter().flat_map(|range| range.step_by(4096));
    let expected: Vec<u64> = ram
        .filter(|frame| *frame != 0 && !RESERVED.contains(frame))
        .collect();
    assert_eq!(lent, expected);
    assert_eq!(kernel.frames().in_use, kernel.frames().total);
}

#[test]
fn frames_are_memory_that_hardware_sees_at_the_same_address() {
    let (board, kernel) = boot();
    let frames = kernel.allocate_frames(FrameRequest::new(2)).unwrap();
    let start = kernel.frame_pointer(frames.start());
    // SAFETY: inside the frames.
    unsafe { at(start, 4097).write(0x5a) };
    assert_eq!(
        board.ram().load_u8(frames.start().as_u64() + 4097).unwrap(),
        0x5a
    );
    assert_eq!(
        kernel.virt_to_phys(virt(at(start, 4097))),
        frames.start().checked_add(4097)
    );
    free(kernel, frames);
}

#[test]
fn what_is_not_ram_of_the_kernel_has_no_physical_address() {
    let (_, kernel) = boot();
    let on_stack = 0_u8;
    let on_heap = Box::new(0_u8);
    for virt in [
        VirtAddr::from_ptr(&raw const on_stack),
        VirtAddr::from_ptr(&raw const *on_heap),
    ] {
        assert_eq!(kernel.virt_to_phys(virt), None);
    }
    let base = kernel.frame_pointer(PhysAddr::new(0));
    let hole = at(base, RAM[0].end as usize);
    let firmware = at(base, RESERVED.start as usize);
    assert_eq!(kernel.virt_to_phys(virt(hole)), None);
    assert_eq!(kernel.virt_to_phys(virt(firmware)), None);
    assert_eq!(kernel.virt_to_phys(VirtAddr::new(0)), None);
    assert_eq!(kernel.virt_to_phys(VirtAddr::new(u64::MAX)), None);
}

#[test]
fn freed_frames_are_poisoned_before_hardware_hears_of_it() {
    let (board, kernel) = boot();
    let frames = kernel.allocate_frames(FrameRequest::new(2)).unwrap();
    let (start, len_bytes) = (frames.start().as_u64(), frames.len_bytes());
    // SAFETY: inside the frames.
    unsafe { kernel.frame_pointer(frames.start()).write(1) };
    free(kernel, frames);
    assert_eq!(
        board.take_events(),
        [Event::Freed(start, len_bytes, POISON)]
    );
}

#[test]
fn a_write_to_freed_memory_is_counted() {
    let (board, kernel) = boot();
    let frames = kernel.allocate_frames(FrameRequest::new(1)).unwrap();
    free(kernel, frames);
    board
        .ram()
        .store_u8(frames.start().as_u64() + 100, 1)
        .unwrap();
    assert_eq!(kernel.allocate_frames(FrameRequest::new(1)), Ok(frames));
    assert_eq!(kernel.frames().disturbed, 1);
    free(kernel, frames);
    assert_eq!(kernel.allocate_frames(FrameRequest::new(1)), Ok(frames));
    assert_eq!(kernel.frames().disturbed, 1);
}

#[test]
fn scattered_frames_lie_side_by_side() {
    let (_, kernel) = boot();
    let frames: Vec<_> = (0..6)
        .map(|_| {
            kernel
                .allocate_frames(FrameRequest::new(1))
                .unwrap()
                .start()
        })
        .collect();
    let picked = [frames[4], frames[0], frames[2]];
    // SAFETY: the frames are lent to this test.
    let start = unsafe { kernel.map_scattered(&picked) }.unwrap();
    for (index, frame) in picked.iter().enumerate() {
        let byte = at(start, index * 4096 + 4095);
        // SAFETY: inside the mapping.
        unsafe { byte.write(index as u8 + 1) };
        assert_eq!(kernel.virt_to_phys(virt(byte)), frame.checked_add(4095));
        // SAFETY: inside the frame.
        let behind = unsafe { at(kernel.frame_pointer(*frame), 4095).read() };
        assert_eq!(behind, index as u8 + 1);
    }
    // SAFETY: nothing uses the mapping any more.
    unsafe { kernel.unmap_scattered(start, picked.len()) };
    assert_eq!(kernel.virt_to_phys(virt(start)), None);
}

#[test]
fn cache_maintenance_reaches_hardware_page_by_page() {
    let (board, kernel) = boot();
    let low = kernel.allocate_frames(FrameRequest {
        last: PhysAddr::new(0xf_ffff),
        ..FrameRequest::new(1)
    });
    let high = kernel.allocate_frames(FrameRequest::new(1)).unwrap();
    let frames = [low.unwrap().start(), high.start()];
    // SAFETY: the frames are lent to this test.
    let start = unsafe { kernel.map_scattered(&frames) }.unwrap();
    kernel.clean_cache(at(start, 4000), 100);
    kernel.invalidate_cache(at(start, 4096 + 64), 1);
    kernel.clean_cache(start, 0);
    kernel.clean_cache(NonNull::from(&mut [0_u8; 64]).cast(), 64);
    let [low, high] = frames.map(PhysAddr::as_u64);
    let expected = [
        Event::Cache(CacheOperation::Clean, low + 4000, 96),
        Event::Cache(CacheOperation::Clean, high, 4),
        Event::Cache(CacheOperation::Invalidate, high + 64, 1),
    ];
    assert_eq!(board.take_events(), expected);
}

#[test]
fn ioremap_reaches_the_registers_and_nothing_after_iounmap() {
    let (board, kernel) = boot();
    let range = PhysRange::new(PhysAddr::new(REGISTERS + 0x10), 0x20).unwrap();
    // SAFETY: these are registers of the fake board, and this test's alone.
    let start = unsafe { kernel.ioremap(range, MemoryAttribute::Uncached) }.unwrap();
    let register = at(start, 8).cast::<ReadPureWrite<u32>>();
    // SAFETY: inside the window and aligned as `range` is.
    let register = unsafe { UniqueMmioPointer::new(register) };
    assert_eq!(register.read(), REGISTERS as u32 + 0x18);
    assert_eq!(kernel.report().register_windows, 1);
    let found = |offset| kernel.ioremapped(PhysAddr::new(REGISTERS + offset));
    let fourth = VirtAddr::from_ptr(at(start, 4).as_ptr());
    assert_eq!(found(0x14), Some(fourth));
    assert_eq!((found(0xf), found(0x30)), (None, None));
    // SAFETY: as above, and no other pointer is used meanwhile.
    unsafe { UniqueMmioPointer::new(at(start, 4).cast::<ReadPureWrite<u16>>()) }.write(7);
    assert_eq!(
        board.take_events(),
        [Event::Write(REGISTERS + 0x14, Width::Word, 7)]
    );
    // SAFETY: the window is not used any more.
    unsafe { kernel.iounmap(start, 0x20) };
    assert_eq!(kernel.report().register_windows, 0);
    assert_eq!(found(0x14), None);
}

#[test]
fn ioremap_refuses_ram() {
    let (_, kernel) = boot();
    for (start, len_bytes) in [
        (0x1000, 0x1000),
        (RAM[0].end - 1, 2),
        (RAM[0].end, 0),
        (0, u64::MAX),
    ] {
        let range = PhysRange::new(PhysAddr::new(start), len_bytes).unwrap();
        // SAFETY: refused.
        let refused = unsafe { kernel.ioremap(range, MemoryAttribute::Uncached) };
        assert_eq!(refused, Err(VirtualMapError::NothingThere(range)));
    }
}

#[test]
fn a_message_of_a_device_ends_a_wait() {
    let (board, kernel) = boot();
    let interrupt = kernel.allocate_interrupt(None).unwrap();
    let deadline = kernel.now_ns() + 100_000_000_000;
    thread::scope(|scope| {
        scope.spawn(|| board.write_message(interrupt.address().as_u64(), interrupt.data()));
        assert_eq!(kernel.wait_for_interrupt(interrupt, 0, deadline), 1);
    });
    assert_eq!(kernel.interrupt_count(interrupt), 1);
    kernel.free_interrupt(interrupt);
    assert!(kernel.report().is_clean());
}

#[test]
fn firmware_tables_can_be_read_and_holes_cannot() {
    let (board, kernel) = boot();
    board.ram().write(RESERVED.start, b"RSD PTR ").unwrap();
    let mut signature = [0; 8];
    kernel
        .read(kernel.rsdp().unwrap().as_u64(), &mut signature)
        .unwrap();
    assert_eq!(&signature, b"RSD PTR ");
    // Nor what may be behind a reference, even by one byte.
    let buffer = DmaBuffer::allocate(kernel, 4096).unwrap();
    let lent = buffer.segment(0).start().as_u64();
    let edge = RESERVED.end - 4;
    for phys in [RAM[0].end - 4, RAM[0].end, u64::MAX, lent, edge] {
        assert_eq!(kernel.read(phys, &mut signature), Err(Unreadable { phys }));
    }
}

#[test]
fn host_bridges_are_the_boards_and_checked() {
    let (board, kernel) = boot();
    let window = WindowDescription {
        kind: WindowKind::Memory,
        phys: 0xc000_0000,
        bus: 0x8000_0000,
        len_bytes: 0x1000_0000,
    };
    let inbound = InboundDescription {
        bus: 1 << 40,
        phys: 0,
        len_bytes: 8 << 30,
    };
    let described = HostBridgeDescription {
        segment: 0,
        first_bus: 0,
        last_bus: 9,
        windows: vec![window],
        inbound: vec![inbound],
        snooping: board::hardware::Snooping::On,
    };
    *board.bridges.lock().unwrap() = vec![described.clone()];
    let bridges = kernel.host_bridges().unwrap();
    assert_eq!(bridges.len(), 1);
    assert_eq!(bridges[0].last_bus(), 9);
    assert_eq!(
        bridges[0].bus_to_phys(BusAddr::new(0x8000_0010)),
        Some(PhysAddr::new(0xc000_0010))
    );
    let memory = PhysRange::new(PhysAddr::new(0x1000), 16).unwrap();
    let bus = BusRange::new(BusAddr::new((1 << 40) + 0x1000), 16).unwrap();
    assert_eq!(bridges[0].memory_to_bus(memory), Some(bus));

    let twice = HostBridgeDescription {
        windows: vec![window, window],
        ..described.clone()
    };
    let endless = HostBridgeDescription {
        windows: vec![WindowDescription {
            len_bytes: u64::MAX,
            ..window
        }],
        ..described
    };
    *board.bridges.lock().unwrap() = vec![twice];
    assert!(matches!(
        kernel.host_bridges(),
        Err(HostBridgeError::Bridge(_))
    ));
    *board.bridges.lock().unwrap() = vec![endless];
    assert!(matches!(
        kernel.host_bridges(),
        Err(HostBridgeError::Address(_))
    ));
}

#[test]
fn after_shutdown_nothing_is_lent_and_kept_pointers_stay_valid() {
    let (board, kernel) = boot();
    let frames = kernel.allocate_frames(FrameRequest::new(2)).unwrap();
    let start = kernel.frame_pointer(frames.start());
    // SAFETY: both frames are lent to this test.
    let scattered = unsafe { kernel.map_scattered(&[frames.start()]) }.unwrap();
    // SAFETY: inside the frames.
    unsafe { start.write(1) };

    let report = kernel.shutdown();
    assert_eq!((report.frames.in_use, report.scattered_mappings), (2, 1));
    assert!(!report.is_clean());
    assert_eq!(
        Arc::strong_count(&board),
        1,
        "the kernel let go of the board"
    );

    // What is lent may be looked at by somebody who saw what it was.
    // SAFETY: RAM stays mapped.
    assert_eq!(unsafe { (start.read(), scattered.read()) }, (1, 1));
    let request = FrameRequest::new(1);
    assert_eq!(kernel.allocate_frames(request), Err(OutOfFrames(request)));
    assert!(kernel.allocate_interrupt(None).is_err());
    assert!(kernel.is_shut_down() && kernel.rsdp().is_none());
    free(kernel, frames);
    assert_eq!(kernel.shutdown().frames.in_use, 0);
}

#[test]
fn each_kind_of_request_can_be_made_to_fail() {
    let (_, kernel) = boot();
    let platform = FaultInjector::new(kernel);
    let registers = PhysRange::new(PhysAddr::new(REGISTERS), 0x1000).unwrap();
    let mut outcomes = Vec::new();
    let failed = platform.fail_each_in_turn(|_| {
        let frames = platform.allocate_frames(FrameRequest::new(1));
        // SAFETY: the frame is lent to this test, or frame 1 is nobody's.
        let mapped = unsafe { platform.map_scattered(&[PhysAddr::new(0x1000)]) };
        // SAFETY: the registers are this test's alone.
        let window = unsafe { platform.ioremap(registers, MemoryAttribute::Uncached) };
        let interrupt = platform.allocate_interrupt(None);
        outcomes.push([
            frames.is_ok(),
            mapped.is_ok(),
            window.is_ok(),
            interrupt.is_ok(),
        ]);
        frames.into_iter().for_each(|frames| free(platform, frames));
        // SAFETY: nothing uses the mapping and the window any more.
        unsafe {
            mapped
                .into_iter()
                .for_each(|start| platform.unmap_scattered(start, 1));
            window
                .into_iter()
                .for_each(|start| platform.iounmap(start, 0x1000));
        }
        interrupt
            .into_iter()
            .for_each(|interrupt| platform.free_interrupt(interrupt));
    });
    assert_eq!(failed, 4);
    let all_but = |index: usize| std::array::from_fn(|other| other != index);
    assert_eq!(
        outcomes,
        [all_but(0), all_but(1), all_but(2), all_but(3), [true; 4]]
    );
    assert!(kernel.report().is_clean());
}

#[test]
fn all_that_follows_can_be_made_to_fail_too() {
    let (_, kernel) = boot();
    let platform = FaultInjector::new(kernel);
    let mut outcomes = Vec::new();
    let failed = platform.exhaust_each_in_turn(|nth| {
        let frames = platform.allocate_frames(FrameRequest::new(1));
        let interrupts = [(); 2].map(|()| platform.allocate_interrupt(None));
        outcomes.push((
            nth,
            [frames.is_ok(), interrupts[0].is_ok(), interrupts[1].is_ok()],
        ));
        frames.into_iter().for_each(|frames| free(platform, frames));
        for interrupt in interrupts.into_iter().flatten() {
            platform.free_interrupt(interrupt);
        }
    });
    let before = |nth| std::array::from_fn(|index| index + 1 < nth);
    assert_eq!(failed, 3);
    assert_eq!(outcomes, [1, 2, 3, 4].map(|nth| (nth as u64, before(nth))));
    assert!(kernel.report().is_clean());
}

#[test]
fn an_exhausted_resource_stays_exhausted_and_others_do_not() {
    let (_, kernel) = boot();
    let platform = FaultInjector::new(kernel);
    platform.exhaust_from(Resource::Interrupt, 2);
    let interrupt = platform.allocate_interrupt(None).unwrap();
    let frames = platform.allocate_frames(FrameRequest::new(1)).unwrap();
    assert!(platform.allocate_interrupt(None).is_err());
    assert!(platform.allocate_interrupt(None).is_err());
    assert_eq!(
        (platform.injected(), platform.last_injected()),
        (2, Some(Resource::Interrupt))
    );
    platform.relent();
    platform.free_interrupt(platform.allocate_interrupt(None).unwrap());
    platform.free_interrupt(interrupt);
    free(platform, frames);
    assert!(kernel.report().is_clean());
}

#[test]
fn a_tracer_keeps_the_youngest_calls_in_order() {
    let (_, kernel) = boot();
    let platform = Tracer::new(kernel, 3);
    let frames = platform.allocate_frames(FrameRequest::new(1)).unwrap();
    let start = platform.frame_pointer(frames.start());
    platform.clean_cache(start, 8);
    platform.dma_wmb();
    free(platform, frames);
    let expected = [
        PlatformCall::CleanCache(virt(start), Some(frames.start()), 8),
        PlatformCall::WriteBarrier,
        PlatformCall::FreeFrames(frames),
    ];
    assert_eq!(platform.take(), expected);
    assert_eq!(platform.lost(), 1);
    assert_eq!(platform.take(), []);
}
