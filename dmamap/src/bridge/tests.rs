use alloc::vec;

use super::*;

fn bus(start: u64, len_bytes: u64) -> BusRange {
    BusRange::new(BusAddr::new(start), len_bytes).unwrap()
}

fn phys(start: u64, len_bytes: u64) -> PhysRange {
    PhysRange::new(PhysAddr::new(start), len_bytes).unwrap()
}

fn window(kind: WindowKind, bus_start: u64, phys_start: u64, len_bytes: u64) -> Window {
    Window {
        kind,
        bus: bus(bus_start, len_bytes),
        phys: phys(phys_start, len_bytes),
    }
}

fn inbound(bus_start: u64, phys_start: u64, len_bytes: u64) -> Inbound {
    Inbound {
        bus: bus(bus_start, len_bytes),
        phys: phys(phys_start, len_bytes),
    }
}

fn bridge(windows: Vec<Window>, inbound: Vec<Inbound>) -> Result<HostBridge, BridgeError> {
    HostBridge::new(0, 0, 255, windows, inbound)
}

#[test]
fn every_edge_of_every_window_converts_there_and_back() {
    let windows = vec![
        window(WindowKind::Memory, 0x8000_0000, 0xc000_0000, 0x1000_0000),
        window(
            WindowKind::PrefetchableMemory,
            0x40_0000_0000,
            0x60_0000_0000,
            1 << 32,
        ),
    ];
    let bridge = bridge(windows.clone(), vec![]).unwrap();
    for window in windows {
        for offset in [0, 1, window.bus.len_bytes() / 2, window.bus.len_bytes() - 1] {
            let a = window.bus.start().checked_add(offset).unwrap();
            let b = bridge.bus_to_phys(a).unwrap();
            assert_eq!(b, window.phys.start().checked_add(offset).unwrap());
            assert_eq!(bridge.phys_to_bus(b), Some(a));
        }
        let past = window.bus.last().checked_add(1).unwrap();
        assert_eq!(bridge.bus_to_phys(past), None);
        let past = window.phys.last().checked_add(1).unwrap();
        assert_eq!(bridge.phys_to_bus(past), None);
    }
}

#[test]
fn io_ports_are_a_space_of_their_own() {
    let bridge = bridge(
        vec![
            window(WindowKind::Io, 0x0, 0xd800_0000, 0x1_0000),
            window(WindowKind::PrefetchableMemory, 0x0, 0xe000_0000, 0x1_0000),
        ],
        vec![],
    )
    .unwrap();
    assert_eq!(
        bridge.io_to_phys(BusAddr::new(0x10)),
        Some(PhysAddr::new(0xd800_0010))
    );
    assert_eq!(
        bridge.bus_to_phys(BusAddr::new(0x10)),
        Some(PhysAddr::new(0xe000_0010))
    );
    assert_eq!(
        bridge.phys_to_io(PhysAddr::new(0xd800_0010)),
        Some(BusAddr::new(0x10))
    );
    assert_eq!(bridge.phys_to_bus(PhysAddr::new(0xd800_0010)), None);
}

#[test]
fn windows_that_share_addresses_are_refused() {
    let low = window(WindowKind::Memory, 0x8000_0000, 0xc000_0000, 0x2000);
    let same_phys = window(WindowKind::Memory, 0x9000_0000, 0xc000_1000, 0x2000);
    assert!(matches!(
        bridge(vec![low, same_phys], vec![]),
        Err(BridgeError::PhysOverlap {
            kind: RangeKind::Window(WindowKind::Memory),
            ..
        })
    ));
    let same_bus = window(
        WindowKind::PrefetchableMemory,
        0x8000_1fff,
        0xd000_0000,
        0x2000,
    );
    assert!(matches!(
        bridge(vec![low, same_bus], vec![]),
        Err(BridgeError::BusOverlap { .. })
    ));
}

#[test]
fn unequal_empty_and_unreachable_windows_are_refused() {
    let unequal = Window {
        kind: WindowKind::Io,
        bus: bus(0, 0x100),
        phys: phys(0xd800_0000, 0x200),
    };
    assert!(matches!(
        bridge(vec![unequal], vec![]),
        Err(BridgeError::UnequalLengths { .. })
    ));
    let empty = window(WindowKind::Memory, 0, 0xd800_0000, 0);
    assert!(matches!(
        bridge(vec![empty], vec![]),
        Err(BridgeError::Empty { .. })
    ));
    let high = window(WindowKind::Memory, 0xffff_f000, 0xd800_0000, 0x2000);
    assert!(matches!(
        bridge(vec![high], vec![]),
        Err(BridgeError::Above4GiB { .. })
    ));
    assert_eq!(
        HostBridge::new(0, 9, 8, vec![], vec![]),
        Err(BridgeError::BusNumbers { first: 9, last: 8 })
    );
}

#[test]
fn without_inbound_ranges_devices_see_memory_where_the_cpu_does() {
    let bridge = bridge(vec![], vec![]).unwrap();
    assert_eq!(
        bridge.memory_to_bus(phys(0x1234_5000, 0x1000)),
        Some(bus(0x1234_5000, 0x1000))
    );
    assert_eq!(
        bridge.bus_to_memory(bus(0x1234_5000, 0x1000)),
        Some(phys(0x1234_5000, 0x1000))
    );
}

#[test]
fn each_inbound_range_has_an_offset_of_its_own() {
    let bridge = bridge(
        vec![],
        vec![
            inbound(0xc000_0000, 0, 0x4000_0000),
            inbound(0x4_0000_0000, 0x1_0000_0000, 1 << 32),
        ],
    )
    .unwrap();
    for (y, z) in [
        (0, 0xc000_0000),
        (0x3fff_f000, 0xffff_f000),
        (0x1_2000_0000, 0x4_2000_0000),
    ] {
        assert_eq!(bridge.memory_to_bus(phys(y, 0x1000)), Some(bus(z, 0x1000)));
        assert_eq!(bridge.bus_to_memory(bus(z, 0x1000)), Some(phys(y, 0x1000)));
    }
    assert_eq!(bridge.memory_to_bus(phys(0x3fff_f000, 0x1001)), None);
    assert_eq!(bridge.memory_to_bus(phys(0x8000_0000, 0x1000)), None);
    assert_eq!(bridge.bus_to_memory(bus(0, 0x1000)), None);
}

#[test]
fn inbound_ranges_that_share_addresses_are_refused() {
    let first = inbound(0x1000_0000, 0, 0x1000);
    assert!(matches!(
        bridge(vec![], vec![first, inbound(0x1000_0800, 0x10_0000, 0x1000)]),
        Err(BridgeError::BusOverlap {
            kind: RangeKind::Inbound,
            ..
        })
    ));
    assert!(matches!(
        bridge(vec![], vec![first, inbound(0x2000_0000, 0xfff, 0x1000)]),
        Err(BridgeError::PhysOverlap {
            kind: RangeKind::Inbound,
            ..
        })
    ));
}
