//! Enumeration of buses that are as they should be, and of hostile ones.

mod pci_support;

use dmamap::addr::DmaMask;
use dmamap::bridge::WindowKind;
use dmamap::pci::{
    BarKind, BusMaster, ClaimBarError, ConfigError, DevicePath, EnumerateError, FunctionResetError,
    Guarded, MsixError, PathError, PciAddress, PortType, Problem, ResetPatience,
};
use dmamap::platform::{Interrupt, Platform};
use pci_support::{ECAM, FakeFunction, FakePci, host_bridge, phys};

fn address(bus: u8, device: u8, function: u8) -> PciAddress {
    PciAddress {
        segment: 0,
        bus,
        device,
        function,
    }
}

#[test]
fn buses_are_numbered_depth_first_and_paths_lead_through_them() {
    let board = FakePci::new();
    // Numbers that firmware left, which would send two buses to one place.
    let stale = || FakeFunction::port().with(0x18, 3, 0x05_01_00);
    let first = board.add(None, 1, 0, stale());
    let inner = board.add(
        Some(first),
        0,
        0,
        FakeFunction::bare_bridge().with_express(7),
    );
    board.add(Some(inner), 3, 0, FakeFunction::device());
    let second = board.add(None, 2, 0, stale());
    board.add(Some(second), 0, 0, FakeFunction::device().with_express(0));
    let found = board.enumerate();

    assert_eq!(
        found.addresses(),
        [
            "0000:00:01.0",
            "0000:00:02.0",
            "0000:01:00.0",
            "0000:02:03.0",
            "0000:03:00.0"
        ]
    );
    assert_eq!(found.problems(), [""; 0]);
    assert_eq!(board.config(first, 0x18, 3), 0x02_01_00);
    assert_eq!(board.config(inner, 0x18, 3), 0x02_02_01);
    assert_eq!(board.config(second, 0x18, 3), 0x03_03_00);

    let deep = found
        .topology
        .find_path(0, 0, &[(1, 0), (0, 0), (3, 0)])
        .unwrap();
    assert_eq!(
        (deep.address(), deep.requester()),
        (address(2, 3, 0), 0x0218)
    );
    let above: Vec<_> = deep.path().map(|bridge| bridge.address()).collect();
    assert_eq!(above, [address(1, 0, 0), address(0, 1, 0)]);
    let port = found.function(0, 1, 0);
    assert_eq!(port.port_type(), Some(PortType::RootPort));
    let below: Vec<_> = found.topology.below(&port).map(|f| f.address()).collect();
    assert_eq!(below, [address(1, 0, 0), address(2, 3, 0)]);
    assert_eq!(
        found
            .topology
            .find_path(0, 0, &[(2, 0), (0, 0), (0, 0)])
            .unwrap_err(),
        PathError::NoBridge(address(3, 0, 0))
    );
    assert_eq!(
        found.topology.find_path(0, 0, &[(9, 0)]).unwrap_err(),
        PathError::NoFunction(address(0, 9, 0))
    );
    assert_eq!(
        found.topology.find_path(0, 0, &[]).unwrap_err(),
        PathError::Empty
    );
    assert_eq!(
        found.topology.find_path(1, 0, &[(1, 0)]).unwrap_err(),
        PathError::NoFunction(PciAddress {
            segment: 1,
            ..address(0, 1, 0)
        })
    );
}

#[test]
fn further_functions_count_only_where_the_device_says_so() {
    let board = FakePci::new();
    board.add(None, 1, 0, FakeFunction::device().multi_function());
    board.add(None, 1, 5, FakeFunction::device());
    board.add(None, 2, 0, FakeFunction::device());
    board.add(None, 2, 1, FakeFunction::device());
    board.add(None, 3, 1, FakeFunction::device());
    assert_eq!(
        board.enumerate().addresses(),
        ["0000:00:01.0", "0000:00:01.5", "0000:00:02.0"]
    );
}

#[test]
fn only_device_0_is_looked_for_at_the_end_of_a_link() {
    let board = FakePci::new();
    let port = board.add(None, 1, 0, FakeFunction::port());
    board.add(Some(port), 0, 0, FakeFunction::device());
    board.add(Some(port), 1, 0, FakeFunction::device());
    assert_eq!(
        board.enumerate().addresses(),
        ["0000:00:01.0", "0000:01:00.0"]
    );
}

#[test]
fn a_goes_into_the_bar_and_b_into_the_tree() {
    let board = FakePci::new();
    let port = board.add(None, 1, 0, FakeFunction::port());
    // Firmware left it decoding, at an address of its own choice.
    let disk = FakeFunction::device()
        .with_memory64(0, 0x4, 0x4000)
        .with(0x10, 4, 0xdead_0004);
    let disk = board.add(Some(port), 0, 0, disk.with(0x04, 2, 0x3));
    let legacy = FakeFunction::device()
        .with_ports(0, 0x20)
        .with_memory(1, 0x1000)
        .with_memory64(2, 0xc, 0x10_0000);
    let legacy = board.add(None, 3, 0, legacy);
    let found = board.enumerate();

    assert_eq!(found.problems(), [""; 0]);
    assert_eq!(board.writes_while_decoding(), 0);
    let bar = *found.function(1, 0, 0).bar(0).unwrap();
    assert_eq!(bar.kind, BarKind::Memory64);
    let (a, b) = (bar.bus.start().as_u64(), bar.phys.unwrap().start().as_u64());
    assert_eq!(b - a, 0x4000_0000);
    assert_eq!(board.config(disk, 0x10, 8), a | 0x4);
    // The port forwards the 1 MiB around it, and nothing else.
    let granule = a >> 16 & 0xfff0;
    assert_eq!(board.config(port, 0x20, 4), granule << 16 | granule);
    assert_eq!(board.config(port, 0x04, 2) & 0x7, 0x2);
    assert_eq!(board.config(legacy, 0x10, 4), 0x1001);
    assert_eq!(
        found.tree.to_string(),
        "\
c0000000-cfffffff : PCI Bus 0000:00
  c0000000-c00fffff : PCI Bus 0000:01
    c0000000-c0003fff : 0000:01:00.0
  c0100000-c0100fff : 0000:00:03.0
d8000000-d800ffff : PCI Bus 0000:00
  d8001000-d800101f : 0000:00:03.0
e0000000-efffffff : PCI MMCONFIG
  e0000000-efffffff : PCI ECAM
6000000000-60ffffffff : PCI Bus 0000:00
  6000000000-60000fffff : 0000:00:03.0
"
    );
}

#[test]
fn a_capability_list_that_loops_ends_and_is_reported() {
    let board = FakePci::new();
    let looping = FakeFunction::device()
        .with_capability(0x40, &[0x01, 0])
        .with_capability(0x50, &[0x09, 0, 4, 28])
        .with_express(0)
        .with(0x51, 1, 0x40)
        .with(0x100, 4, 0x1401_000f)
        .with(0x140, 4, 0x1001_000d);
    board.add(None, 1, 0, looping);
    let outside = FakeFunction::device()
        .with_capability(0x40, &[0x01, 0])
        .with(0x41, 1, 0x3c);
    board.add(None, 2, 0, outside);
    let found = board.enumerate();
    assert_eq!(
        found.topology.problems(),
        [
            Problem::CapabilityLoop {
                address: address(0, 1, 0),
                offset: 0x40
            },
            Problem::CapabilityPointer {
                address: address(0, 2, 0),
                offset: 0x3c
            },
        ]
    );
    let function = found.function(0, 1, 0);
    assert_eq!(function.capability(0x09), Some(0x50));
    assert_eq!(function.address_lines(), Some(28));
    assert_eq!(function.capability(0x11), None);
}

#[test]
fn an_extended_list_that_loops_ends_and_is_reported() {
    let board = FakePci::new();
    let looping = FakeFunction::device()
        .with_express(0)
        .with(0x100, 4, 0x1401_000f)
        .with(0x140, 4, 0x1001_000d);
    board.add(None, 1, 0, looping);
    let found = board.enumerate();
    let function = found.function(0, 1, 0);
    assert_eq!(function.extended_capability(0x000f), Some(0x100));
    assert_eq!(function.extended_capability(0x000d), Some(0x140));
    assert_eq!(function.extended_capability(0x001b), None);
    assert_eq!(
        found.topology.problems(),
        [Problem::CapabilityLoop {
            address: address(0, 1, 0),
            offset: 0x100
        }]
    );
}

#[test]
fn a_function_that_is_gone_at_any_moment_stops_nothing() {
    for reads in 0..80 {
        let board = FakePci::new();
        let fading = FakeFunction::device()
            .with_memory64(0, 0x4, 0x4000)
            .with_msix(4, 0, 0x2000)
            .with_express(0)
            .vanishing_after(reads);
        board.add(None, 1, 0, fading);
        let port = board.add(None, 2, 0, FakeFunction::port().vanishing_after(reads));
        board.add(
            Some(port),
            0,
            0,
            FakeFunction::device().with_memory(0, 0x1000),
        );
        board.add(None, 3, 0, FakeFunction::device().with_memory(0, 0x1000));
        let found = board.enumerate();
        let steady = found.function(0, 3, 0);
        assert!(steady.bar(0).unwrap().phys.is_some(), "after {reads} reads");
        assert!(steady.enable_memory().is_ok());
    }
}

#[test]
fn a_function_that_is_not_ready_is_waited_for_a_bounded_time() {
    let board = FakePci::new();
    board.add(None, 1, 0, FakeFunction::device().ready_after(20));
    for device in 2..32 {
        board.add(
            None,
            device,
            0,
            FakeFunction::device().ready_after(usize::MAX),
        );
    }
    let start = std::time::Instant::now();
    let found = board.enumerate();
    assert!(
        start.elapsed().as_secs() < 20,
        "one second is for all of them"
    );
    assert_eq!(found.addresses(), ["0000:00:01.0"]);
    assert_eq!(found.problems().len(), 30);
    assert!(matches!(
        found.topology.problems()[0],
        Problem::NotReady { address: at, .. } if at == address(0, 2, 0)
    ));
}

#[test]
fn a_bar_that_does_not_fit_is_reported_and_left_disabled() {
    let board = FakePci::new();
    let greedy = FakeFunction::device()
        .with_memory(0, 0x1000)
        .with_memory(1, 0x4000_0000)
        .with_ports(2, 0x20)
        .with(0x14, 4, 0x4000_0000)
        .with(0x04, 2, 0x7);
    let greedy = board.add(None, 1, 0, greedy);
    board.add(None, 2, 0, FakeFunction::device().with_memory(0, 0x1000));
    let mut found = board.enumerate();
    let at = address(0, 1, 0);
    assert_eq!(
        found.topology.problems(),
        [Problem::BarUnassigned {
            address: at,
            index: 1,
            kind: BarKind::Memory32,
            len_bytes: 0x4000_0000
        }]
    );
    assert_eq!(board.config(greedy, 0x14, 4), 0);
    assert_eq!(board.config(greedy, 0x04, 2) & 0x7, 0);
    let function = found.function(0, 1, 0);
    assert_eq!(
        function.enable_memory(),
        Err(ConfigError::BarUnassigned {
            address: at,
            index: 1
        })
    );
    assert_eq!(function.enable_io(), Ok(()));
    assert_eq!(
        function
            .claim_bar(1, "driver", &mut found.tree)
            .unwrap_err(),
        ClaimBarError::Unassigned {
            address: at,
            index: 1
        }
    );
    assert!(found.function(0, 2, 0).enable_memory().is_ok());
}

#[test]
fn an_exhausted_window_serves_as_many_as_fit() {
    let board = FakePci::new();
    for device in 0..3 {
        let port = board.add(None, device, 0, FakeFunction::port());
        board.add(
            Some(port),
            0,
            0,
            FakeFunction::device().with_memory(0, 0x800_0000),
        );
    }
    let found = board.enumerate();
    let assigned = (1..=3).filter(|&bus| found.function(bus, 0, 0).enable_memory().is_ok());
    assert_eq!(assigned.count(), 2);
    assert!(matches!(
        found.topology.problems(),
        [Problem::BarUnassigned { .. }]
    ));
}

#[test]
fn bridges_without_a_bus_number_left_are_reported() {
    let board = FakePci::new();
    let mut above = None;
    for _ in 0..4 {
        above = Some(board.add(above, 0, 0, FakeFunction::port()));
    }
    let other = board.add(None, 1, 0, FakeFunction::port());
    board.add(Some(other), 0, 0, FakeFunction::device());
    let found = board.enumerate_with(host_bridge(2), &[]);
    assert_eq!(
        found.addresses(),
        [
            "0000:00:00.0",
            "0000:00:01.0",
            "0000:01:00.0",
            "0000:02:00.0"
        ]
    );
    assert_eq!(
        found.topology.problems(),
        [
            Problem::BusNumbersExhausted {
                address: address(2, 0, 0),
                last_bus: 2
            },
            Problem::BusNumbersExhausted {
                address: address(0, 1, 0),
                last_bus: 2
            },
        ]
    );
    assert_eq!(board.config(other, 0x18, 3), 0);
    assert_eq!(found.function(0, 1, 0).buses(), None);
    assert_eq!(found.topology.below(&found.function(0, 1, 0)).count(), 0);
}

#[test]
fn a_chain_as_long_as_there_are_bus_numbers_is_followed() {
    let board = FakePci::new();
    let mut above = None;
    for _ in 0..256 {
        above = Some(board.add(above, 0, 0, FakeFunction::port()));
    }
    let found = board.enumerate();
    assert_eq!(found.addresses().len(), 256);
    assert_eq!(found.function(255, 0, 0).path().count(), 255);
}

#[test]
fn a_bridge_that_keeps_nothing_is_reported() {
    let board = FakePci::new();
    let numb = FakeFunction::port().with_writable(0x18, 3, 0);
    let numb = board.add(None, 1, 0, numb);
    board.add(Some(numb), 0, 0, FakeFunction::device());
    let stuck = board.add(None, 2, 0, FakeFunction::port().with_writable(0x20, 4, 0));
    board.add(
        Some(stuck),
        0,
        0,
        FakeFunction::device().with_memory(0, 0x1000),
    );
    let found = board.enumerate();
    assert_eq!(
        found.topology.problems(),
        [
            Problem::BusNumbersRefused {
                address: address(0, 1, 0)
            },
            Problem::WindowRefused {
                address: address(0, 2, 0),
                kind: WindowKind::Memory
            },
            Problem::BarUnassigned {
                address: address(1, 0, 0),
                index: 0,
                kind: BarKind::Memory32,
                len_bytes: 0x1000
            },
        ]
    );
    assert_eq!(board.config(stuck, 0x04, 2) & 0x3, 0);
    assert!(found.function(1, 0, 0).enable_memory().is_err());
}

#[test]
fn odd_bars_are_reported_and_left_disabled() {
    let board = FakePci::new();
    let odd = [
        // Writable bits that are no power of two.
        FakeFunction::device().with_bar(0, 0x0, 0xffff_5000),
        // A reserved memory type.
        FakeFunction::device().with_bar(0, 0x6, 0xffff_f000),
        // A 64-bit BAR without room for its upper half.
        FakeFunction::device().with_bar(5, 0x4, 0xffff_f000),
    ];
    for (device, function) in odd.into_iter().enumerate() {
        board.add(None, device as u8, 0, function);
    }
    let found = board.enumerate();
    assert_eq!(found.problems().len(), 3);
    for (device, problem) in found.topology.problems().iter().enumerate() {
        let at = address(0, device as u8, 0);
        assert!(
            matches!(problem, Problem::BarMask { address, .. } if *address == at),
            "{problem}"
        );
        assert!(found.function(0, device as u8, 0).enable_memory().is_err());
        assert!(
            found
                .function(0, device as u8, 0)
                .bars()
                .iter()
                .all(Option::is_none)
        );
    }
}

#[test]
fn bits_left_by_firmware_do_not_disturb_sizing() {
    let board = FakePci::new();
    let left = FakeFunction::device()
        .with_memory(0, 0x1000)
        .with(0x10, 4, 0xfebf_f000);
    board.add(None, 1, 0, left);
    let found = board.enumerate();
    assert_eq!(
        found.function(0, 1, 0).bar(0).unwrap().bus.len_bytes(),
        0x1000
    );
}

#[test]
fn decoding_that_firmware_left_on_is_off_while_bars_are_sized() {
    let board = FakePci::new();
    let left = FakeFunction::device()
        .with_memory(0, 0x1000)
        .with(0x10, 4, 0xfebf_f000)
        .with(0x04, 2, 0x3);
    board.add(None, 1, 0, left);
    let found = board.enumerate();
    assert!(found.function(0, 1, 0).bar(0).is_some());
    assert_eq!(board.writes_while_decoding(), 0);
}

#[test]
fn unknown_headers_are_switched_off_and_left_out() {
    let board = FakePci::new();
    let odd = board.add(
        None,
        1,
        0,
        FakeFunction::device().with(0x0e, 1, 2).with(0x04, 2, 0x7),
    );
    let found = board.enumerate();
    assert_eq!(found.addresses(), [""; 0]);
    assert_eq!(
        found.topology.problems(),
        [Problem::UnknownHeader {
            address: address(0, 1, 0),
            layout: 2
        }]
    );
    assert_eq!(board.config(odd, 0x04, 2) & 0x7, 0);
}

#[test]
fn bus_mastering_is_off_but_for_what_firmware_keeps() {
    let board = FakePci::new();
    let running = || FakeFunction::device().with(0x04, 2, 0x4);
    let stopped = board.add(None, 1, 0, running());
    let port = board.add(None, 2, 0, FakeFunction::port().with(0x04, 2, 0x4));
    let kept = board.add(Some(port), 0, 0, running());
    let idle_port = board.add(None, 3, 0, FakeFunction::port().with(0x04, 2, 0x4));
    let paths: [&[(u8, u8)]; 2] = [&[(2, 0), (0, 0)], &[(7, 0)]];
    let kept_paths = paths.map(|path| DevicePath {
        segment: 0,
        start_bus: 0,
        path,
    });
    let found = board.enumerate_with(host_bridge(255), &kept_paths);
    let masters = [stopped, port, kept, idle_port].map(|id| board.config(id, 0x04, 2) & 0x4 != 0);
    assert_eq!(masters, [false, true, true, false]);
    assert_eq!(
        found.topology.problems(),
        [Problem::KeptNotFound(PathError::NoFunction(address(
            0, 7, 0
        )))]
    );
}

#[test]
fn a_bus_master_is_let_through_by_the_bridges_above() {
    let board = FakePci::new();
    let port = board.add(None, 1, 0, FakeFunction::port());
    let disk = board.add(Some(port), 0, 0, FakeFunction::device());
    let found = board.enumerate();
    let function = found.function(1, 0, 0);
    assert_eq!(function.read_bus_master(), BusMaster::Off);
    // SAFETY: the fake does no DMA.
    unsafe { function.enable_bus_master() };
    assert_eq!(function.read_bus_master(), BusMaster::On);
    assert_eq!(board.config(port, 0x04, 2) & 0x4, 0x4);
    function.disable_bus_master();
    assert_eq!(board.config(disk, 0x04, 2) & 0x4, 0);
    assert_eq!(board.config(port, 0x04, 2) & 0x4, 0x4);
}

#[test]
fn a_claimed_bar_answers_through_c_and_belongs_to_one_driver() {
    let board = FakePci::new();
    board.add(
        None,
        1,
        0,
        FakeFunction::device().with_memory64(0, 0x4, 0x4000),
    );
    let mut found = board.enumerate();
    let function = found.function(0, 1, 0);
    let registers = function.claim_bar(0, "nvme", &mut found.tree).unwrap();
    let register = registers.register::<u32>(0x10).unwrap();
    assert_eq!(register.read(), u32::MAX, "nothing decodes yet");
    function.enable_memory().unwrap();
    register.write(0x1234_5678);
    assert_eq!(register.read(), 0x1234_5678);
    let error = function.claim_bar(0, "other", &mut found.tree).unwrap_err();
    assert_eq!(
        error.to_string(),
        "0000:00:01.0: other (0xc0000000-0xc0003fff) is in conflict with nvme (0xc0000000-0xc0003fff)"
    );
    drop(registers);
    assert!(
        function.claim_bar(0, "other", &mut found.tree).is_err(),
        "a register still lives"
    );
    drop(register);
    assert!(function.claim_bar(0, "other", &mut found.tree).is_ok());
    assert_eq!(
        found.kernel.report().register_windows,
        1,
        "only configuration space is left"
    );
    assert!(matches!(
        function.claim_bar(1, "other", &mut found.tree),
        Err(ClaimBarError::NoBar { index: 1, .. })
    ));
}

#[test]
fn header_registers_are_not_for_drivers_to_write() {
    let board = FakePci::new();
    board.add(
        None,
        1,
        0,
        FakeFunction::device().with_writable(0x40, 4, 0xffff_ffff),
    );
    let found = board.enumerate();
    let function = found.function(0, 1, 0);
    assert_eq!(function.read_config::<u16>(0x00), Ok(0x1b36));
    assert_eq!(
        function.write_config::<u16>(0x04, 0x7),
        Err(ConfigError::HeaderRegister {
            address: address(0, 1, 0),
            offset: 4
        })
    );
    assert_eq!(function.write_config::<u32>(0x40, 0xabcd), Ok(()));
    assert_eq!(
        function.modify_config::<u16>(0x40, |value| value + 1),
        Ok(())
    );
    assert_eq!(function.read_config::<u32>(0x40), Ok(0xabce));
    for (offset, bytes) in [(0x41, 2), (0xffe, 4)] {
        let error = match bytes {
            2 => function.read_config::<u16>(offset).map(u32::from),
            _ => function.read_config::<u32>(offset),
        };
        assert!(matches!(error, Err(ConfigError::NoRegister { .. })));
    }
}

/// A function with capabilities and registers between them, all of which keep what is written.
fn all_writable() -> FakeFunction {
    let function = FakeFunction::device()
        .with_capability(0x50, &[0x05, 0, 0x80, 0])
        .with_capability(0x90, &[0x09, 0, 0x10, 0])
        .with_capability(0xa0, &[0x09, 0, 0x14, 5])
        .with_express(0)
        .with(0x100, 4, 0x1401_000d)
        .with(0x140, 4, 0x0001_0001);
    let words = (0x40..0x180).step_by(8);
    words.fold(function, |function, at| {
        function.with_writable(at, 8, u64::MAX)
    })
}

#[test]
fn registers_that_reach_beyond_the_function_are_not_for_safe_code_to_write() {
    let board = FakePci::new();
    board.add(None, 1, 0, all_writable());
    board.add(None, 2, 0, all_writable().with(0, 4, 0x1041_1af4));
    let found = board.enumerate();
    let plain = found.function(0, 1, 0);
    let express = plain
        .capability(hw::pci::capability::id::PCI_EXPRESS)
        .unwrap();
    let table = [
        (express + 8, Some(Guarded::Express)),
        (0x54, Some(Guarded::Interrupts)),
        // The longest kind of the capability.
        (0x64, Some(Guarded::Interrupts)),
        (0x68, None),
        // A vendor's capability is its driver's.
        (0x94, None),
        (0x104, Some(Guarded::Isolation)),
        (0x124, Some(Guarded::Isolation)),
        (0x128, None),
        // Errors are the driver's to look at.
        (0x148, None),
    ];
    for (offset, guarded) in table {
        for function in [&plain, &found.function(0, 2, 0)] {
            let address = function.address();
            let expected = match guarded {
                Some(guarded) => Err(ConfigError::GuardedRegister {
                    address,
                    offset,
                    guarded,
                }),
                None => Ok(()),
            };
            let before = function.read_config::<u32>(offset).unwrap();
            assert_eq!(
                function.write_config(offset, !before),
                expected,
                "{offset:#x}"
            );
            let now = function.read_config::<u32>(offset).unwrap();
            assert_eq!(now == before, guarded.is_some(), "{offset:#x}");
            let changed = function.modify_config(offset, |bits: u32| !bits);
            assert_eq!(changed, expected, "{offset:#x}");
            assert_eq!(function.read_config(offset), Ok(before), "{offset:#x}");
        }
    }
    // The window onto base addresses is virtio's alone.
    assert_eq!(plain.write_config(0xa8, 1u32), Ok(()));
    let virtio = found.function(0, 2, 0);
    let refused = virtio.write_config(0xa8, 1u32);
    let guarded = Guarded::Window;
    assert!(
        matches!(refused, Err(ConfigError::GuardedRegister { guarded: found, .. }) if found == guarded)
    );
    // SAFETY: the fake writes no messages.
    unsafe { plain.write_config_guarded(0x54, 0xfee0_0000u32) }.unwrap();
    assert_eq!(plain.read_config::<u32>(0x54), Ok(0xfee0_0000));
}

#[test]
fn windows_of_disks_and_what_a_vendor_designated_are_not_for_safe_code_to_write() {
    let board = FakePci::new();
    let function = FakeFunction::device()
        .with_capability(0x50, &[0x12, 0, 0x10, 0])
        .with_capability(0x70, &[0x12, 0, 0x10, 0])
        .with_capability(0x78, &[0x09, 0, 0x08, 0])
        .with_express(0)
        // What it says of its own length is no bound.
        .with(0x100, 4, 0x1401_0023)
        .with(0x104, 4, 0x00c0_1e98)
        .with(0x140, 4, 0xf001_0001)
        .with(0xf00, 4, 0x0001_0023);
    let writable = [0x50, 0x58, 0x60, 0x78, 0x108, 0x138, 0x148, 0xff8];
    let function = writable.into_iter().fold(function, |function, at| {
        function.with_writable(at, 8, u64::MAX)
    });
    board.add(None, 1, 0, function);
    let found = board.enumerate();
    let function = found.function(0, 1, 0);
    let address = function.address();
    let table = [
        // Where the pair is, the pair, and what follows it.
        (0x54, Some(Guarded::Window)),
        (0x58, Some(Guarded::Window)),
        (0x5c, Some(Guarded::Window)),
        (0x60, None),
        // It does not reach into the next one.
        (0x7c, None),
        (0x108, Some(Guarded::Translation)),
        (0x13c, Some(Guarded::Translation)),
        (0x148, None),
        // The last one ends with the function.
        (0xffc, Some(Guarded::Translation)),
    ];
    for (offset, guarded) in table {
        let expected = guarded.map_or(Ok(()), |guarded| {
            Err(ConfigError::GuardedRegister {
                address,
                offset,
                guarded,
            })
        });
        let before = function.read_config::<u32>(offset).unwrap();
        assert_eq!(
            function.write_config(offset, !before),
            expected,
            "{offset:#x}"
        );
        let now = function.read_config::<u32>(offset).unwrap();
        assert_eq!(now == before, guarded.is_some(), "{offset:#x}");
    }
}

#[test]
fn no_register_of_a_bridge_is_for_safe_code_to_write() {
    let board = FakePci::new();
    // To the host, to ISA, to further buses whatever its class says, and to none.
    let classes = [0x06_00_00, 0x06_01_00, 0x06_80_00, 0x08_80_00, 0x05_06_06];
    for (class, device) in classes.into_iter().zip(1..) {
        let function = match class {
            0x08_80_00 => FakeFunction::bare_bridge().with_writable(0x40, 8, u64::MAX),
            _ => all_writable(),
        };
        board.add(None, device, 0, function.with(0x08, 4, class << 8));
    }
    let found = board.enumerate();
    for device in 1..=4 {
        let function = found.function(0, device, 0);
        // Before every capability.
        let (address, offset) = (function.address(), 0x40);
        let guarded = Guarded::Bridge;
        let refused = Err(ConfigError::GuardedRegister {
            address,
            offset,
            guarded,
        });
        let before = function.read_config::<u32>(offset).unwrap();
        assert_eq!(function.write_config(offset, !before), refused);
        let changed = function.modify_config(offset, |bits: u32| !bits);
        assert_eq!(changed, refused);
        assert_eq!(function.read_config(offset), Ok(before));
        // SAFETY: nothing is behind the fake's registers.
        unsafe { function.write_config_guarded(offset, !before) }.unwrap();
        assert_eq!(function.read_config(offset), Ok(!before));
    }
    let memory = found.function(0, 5, 0);
    assert_eq!(memory.write_config(0x40, 1u32), Ok(()));
}

#[test]
fn a_function_that_is_an_iommu_by_its_class_is_its_drivers_alone() {
    let board = FakePci::new();
    let unit = all_writable().with(0x08, 4, 0x08_06_00 << 8);
    board.add(None, 1, 0, unit);
    let found = board.enumerate();
    let function = found.function(0, 1, 0);
    let address = function.address();
    for offset in [0x54, 0x68, 0x148] {
        let refused = function.write_config(offset, 1u32);
        assert_eq!(refused, Err(ConfigError::Unit { address }));
        let refused = function.modify_config(offset, |bits: u32| bits + 1);
        assert_eq!(refused, Err(ConfigError::Unit { address }));
    }
    let refused = function.reset(ResetPatience::default());
    assert_eq!(refused, Err(FunctionResetError::Unit(address)));
}

#[test]
fn an_msix_table_is_carved_out_of_the_drivers_window() {
    let board = FakePci::new();
    let disk = FakeFunction::device()
        .with_memory64(0, 0x4, 0x4000)
        .with_msix(4, 0, 0x2000);
    let disk = board.add(None, 1, 0, disk);
    let mut found = board.enumerate();
    let function = found.function(0, 1, 0);
    let mut registers = function.claim_bar(0, "nvme", &mut found.tree).unwrap();
    let before = registers.register::<u32>(0x2008).unwrap();
    let table = function
        .claim_msix("nvme", &mut found.tree, Some(&mut registers))
        .unwrap();
    assert_eq!(table.entries(), 4);
    assert!(registers.register::<u32>(0x2000).is_err());
    assert!(registers.register::<u32>(0x203c).is_err());
    assert!(registers.register::<u32>(0x2040).is_ok());

    let interrupt = found.kernel.allocate_interrupt(None).unwrap();
    table.program(0, &interrupt, DmaMask::ALL).unwrap();
    assert_eq!(before.read(), interrupt.data());
    let all = entry_words(&found, &function, 0x2000);
    assert_eq!(
        u64::from(all[0]) | u64::from(all[1]) << 32,
        interrupt.address().as_u64()
    );
    assert_eq!(all[3], 1, "masked");
    table.unmask(0).unwrap();
    assert_eq!(entry_words(&found, &function, 0x2000)[3], 0);
    table.mask(0).unwrap();
    assert_eq!(entry_words(&found, &function, 0x2000)[3], 1);
    assert_eq!(board.config(disk, 0xa2, 2) & 0xc000, 0x4000);
    table.enable();
    assert_eq!(board.config(disk, 0xa2, 2) & 0xc000, 0x8000);
    assert_eq!(
        table.unmask(4),
        Err(MsixError::NoEntry {
            address: function.address(),
            entry: 4,
            entries: 4
        })
    );
    assert!(
        function.claim_msix("other", &mut found.tree, None).is_err(),
        "the BAR is held"
    );
    assert!(
        function
            .claim_msix("nvme", &mut found.tree, Some(&mut registers))
            .is_err()
    );
    drop(table);
    assert_eq!(board.config(disk, 0xa2, 2) & 0xc000, 0x4000);
    found.kernel.free_interrupt(interrupt);
}

/// The four words of a table entry, read past its owner.
fn entry_words(
    found: &pci_support::Found,
    function: &dmamap::pci::Function<hosted::Hosted>,
    offset: u64,
) -> [u32; 4] {
    use board::hardware::{Hardware, Width};
    let at = function.bar(0).unwrap().phys.unwrap().start().as_u64() + offset;
    [0, 4, 8, 12].map(|field| found.board.read(at + field, Width::Dword) as u32)
}

#[test]
fn an_entry_that_is_programmed_anew_is_masked_first() {
    let board = FakePci::new();
    let disk = FakeFunction::device()
        .with_memory64(0, 0x4, 0x4000)
        .with_msix(4, 0, 0x2000);
    board.add(None, 1, 0, disk);
    let mut found = board.enumerate();
    let function = found.function(0, 1, 0);
    let table = function.claim_msix("nvme", &mut found.tree, None).unwrap();
    let interrupt = found.kernel.allocate_interrupt(None).unwrap();
    table.program(0, &interrupt, DmaMask::ALL).unwrap();
    table.unmask(0).unwrap();
    table.program(0, &interrupt, DmaMask::ALL).unwrap();
    assert_eq!(entry_words(&found, &function, 0x2000)[3], 1);
    drop(table);
    found.kernel.free_interrupt(interrupt);
}

#[test]
fn an_msix_table_in_a_bar_of_its_own_is_claimed() {
    let board = FakePci::new();
    let device = FakeFunction::device()
        .with_memory(0, 0x1000)
        .with_memory(4, 0x1000)
        .with_msix(2, 4, 0);
    board.add(None, 1, 0, device);
    let mut found = board.enumerate();
    let function = found.function(0, 1, 0);
    let mut registers = function.claim_bar(0, "driver", &mut found.tree).unwrap();
    let table = function
        .claim_msix("driver", &mut found.tree, Some(&mut registers))
        .unwrap();
    assert!(matches!(
        function.claim_bar(4, "other", &mut found.tree),
        Err(ClaimBarError::Resource { .. })
    ));
    drop(table);
    assert!(function.claim_bar(4, "other", &mut found.tree).is_ok());
}

#[test]
fn a_message_beyond_the_devices_reach_is_refused() {
    let board = FakePci::new();
    board.add(
        None,
        1,
        0,
        FakeFunction::device()
            .with_memory(0, 0x1000)
            .with_msix(1, 0, 0),
    );
    let mut found = board.enumerate();
    let function = found.function(0, 1, 0);
    let table = function
        .claim_msix("driver", &mut found.tree, None)
        .unwrap();
    let interrupt = found.kernel.allocate_interrupt(None).unwrap();
    let reach = DmaMask::from_bits(28).unwrap();
    assert_eq!(
        table.program(0, &interrupt, reach),
        Err(MsixError::MessageOutOfReach {
            address: function.address(),
            message: interrupt.address(),
            mask: reach
        })
    );
    let beyond = dmamap::addr::BusAddr::new(u64::MAX - 2);
    // SAFETY: no device is told of it.
    let beyond = unsafe { Interrupt::new(interrupt.number(), beyond, interrupt.data()) };
    assert!(table.program(0, &beyond, DmaMask::ALL).is_err());
    assert!(table.program(0, &interrupt, DmaMask::DEFAULT).is_ok());
    found.kernel.free_interrupt(interrupt);
}

#[test]
fn an_msix_table_that_is_not_there_is_refused() {
    let board = FakePci::new();
    let tables = [
        FakeFunction::device()
            .with_memory(0, 0x1000)
            .with_msix(4, 0, 0xfc8),
        FakeFunction::device()
            .with_memory(0, 0x1000)
            .with_msix(4, 7, 0),
        FakeFunction::device()
            .with_ports(0, 0x100)
            .with_msix(4, 0, 0),
    ];
    for (device, function) in tables.into_iter().enumerate() {
        board.add(None, device as u8, 0, function);
    }
    board.add(None, 9, 0, FakeFunction::device());
    let mut found = board.enumerate();
    for device in 0..3 {
        let function = found.function(0, device, 0);
        let error = function
            .claim_msix("driver", &mut found.tree, None)
            .unwrap_err();
        assert!(matches!(error, MsixError::NoTable { .. }), "{error}");
    }
    assert_eq!(
        found
            .function(0, 9, 0)
            .claim_msix("driver", &mut found.tree, None)
            .unwrap_err(),
        MsixError::NotCapable(address(0, 9, 0))
    );
}

#[test]
fn configuration_space_must_be_declared_free_and_large_enough() {
    let board = FakePci::new();
    let whole = phys(ECAM, 256 << 20);
    assert!(matches!(
        board.try_enumerate(whole, None),
        Err(EnumerateError::Resource(_))
    ));
    let small = phys(ECAM, 0x1000);
    assert!(matches!(
        board.try_enumerate(small, Some(whole)),
        Err(EnumerateError::NoBus(range)) if range == small
    ));
    assert!(
        board
            .try_enumerate(phys(ECAM, 1 << 20), Some(whole))
            .is_ok()
    );
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Whatever functions say and keep, enumeration ends, and what it assigned is consistent.
    #[test]
    fn random_functions_stop_nothing(
        bytes in proptest::collection::vec((0usize..0x200, proptest::prelude::any::<(u8, u8)>()), 0..400),
        bridges in proptest::collection::vec(proptest::prelude::any::<bool>(), 1..6),
    ) {
        let board = FakePci::new();
        let mut above = None;
        for (device, is_bridge) in bridges.iter().enumerate() {
            let mut function = if *is_bridge { FakeFunction::port() } else { FakeFunction::device() };
            for (index, &(offset, (value, writable))) in bytes.iter().enumerate() {
                // Vendor and header type stay, so that the rest is looked at.
                if index % bridges.len() == device && offset >= 4 && offset != 0x0e {
                    function = function
                        .with(offset, 1, u64::from(value))
                        .with_writable(offset, 1, u64::from(writable));
                }
            }
            let id = board.add(above, device as u8, 0, function);
            above = if *is_bridge { Some(id) } else { above };
        }
        let found = board.enumerate();
        for function in found.topology.functions() {
            for bar in function.bars().iter().flatten() {
                let whole = bar.phys.is_none_or(|phys| phys.len_bytes() == bar.bus.len_bytes());
                proptest::prop_assert!(whole);
            }
        }
    }
}
