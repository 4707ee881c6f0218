//! Enumeration of the machine's models: what the driver's code and the hardware's agree on.

use std::fs::File;
use std::sync::Arc;

use dmamap::addr::{PhysAddr, PhysRange};
use dmamap::pci::{
    self, BarKind, BusMaster, DevicePath, Function, PciAddress, PortType, Problem, Topology,
};
use dmamap::platform::Platform;
use dmamap::resource::ResourceTree;
use hosted::Hosted;
use machine::device::nvme::{Medium, NvmeConfig};
use machine::{Machine, MachineConfig};

struct Computer {
    machine: Arc<Machine>,
    kernel: Hosted,
    topology: Topology<Hosted>,
    tree: ResourceTree,
}

impl Computer {
    fn boot(config: MachineConfig) -> Self {
        let machine = Machine::boot(config).unwrap();
        let kernel = Hosted::boot(machine.clone()).unwrap();
        let bridge = kernel.host_bridges().unwrap().remove(0);
        let ecam = PhysRange::new(PhysAddr::new(0xe000_0000), 256 << 20).unwrap();
        let mut tree = ResourceTree::of(kernel.machine());
        // SAFETY: the machine's registers are there.
        unsafe { tree.insert_registers("PCI MMCONFIG", ecam).unwrap() };
        // SAFETY: as above.
        unsafe { bridge.insert_windows(&mut tree).unwrap() };
        let heartbeat = DevicePath {
            segment: 0,
            start_bus: 0,
            path: &[(5, 0)],
        };
        let topology = pci::enumerate(kernel, &bridge, ecam, &mut tree, &[heartbeat]).unwrap();
        Self {
            machine,
            kernel,
            topology,
            tree,
        }
    }

    fn function(&self, bus: u8, device: u8) -> Function<Hosted> {
        let address = PciAddress {
            segment: 0,
            bus,
            device,
            function: 0,
        };
        self.topology.function(address).unwrap().clone()
    }

    /// Nothing was done to the hardware that a correct kernel never does, and nothing is left.
    fn end(self) {
        let Self {
            machine,
            kernel,
            topology,
            tree,
        } = self;
        drop((topology, tree));
        machine.shutdown();
        assert_eq!(machine.findings(), []);
        assert!(kernel.shutdown().is_clean());
    }
}

fn disk() -> NvmeConfig {
    let file = File::open(std::env::current_exe().unwrap()).unwrap();
    NvmeConfig::new(file, 4096, Medium::ReadOnly)
}

#[test]
fn every_function_is_found_and_has_its_addresses() {
    let computer = Computer::boot(MachineConfig::default().with_disk(disk()).with_disk(disk()));
    let addresses: Vec<_> = computer
        .topology
        .functions()
        .map(|function| function.address().to_string())
        .collect();
    assert_eq!(
        addresses,
        [
            "0000:00:00.0",
            "0000:00:01.0",
            "0000:00:02.0",
            "0000:00:03.0",
            "0000:00:04.0",
            "0000:00:05.0",
            "0000:01:00.0",
            "0000:02:00.0",
            "0000:03:00.0",
            "0000:04:00.0",
        ]
    );
    assert_eq!(computer.topology.problems(), []);
    let legacy = computer
        .topology
        .find_path(0, 0, &[(4, 0), (0, 0), (0, 0)])
        .unwrap();
    let kinds: Vec<_> = legacy.bars().iter().flatten().map(|bar| bar.kind).collect();
    assert_eq!(
        kinds,
        [
            BarKind::Io,
            BarKind::Memory32,
            BarKind::PrefetchableMemory64
        ]
    );
    let ports: Vec<_> = legacy.path().map(|bridge| bridge.port_type()).collect();
    assert_eq!(
        ports,
        [Some(PortType::PcieToPciBridge), Some(PortType::RootPort)]
    );
    for function in computer.topology.functions() {
        for bar in function.bars().iter().flatten() {
            let (a, b) = (bar.bus.start().as_u64(), bar.phys.unwrap().start().as_u64());
            assert_ne!(a, b, "{function}");
        }
    }
    computer.end();
}

#[test]
fn registers_answer_through_both_bridges_in_every_space() {
    let mut computer = Computer::boot(MachineConfig::default());
    let legacy = computer
        .topology
        .find_path(0, 0, &[(4, 0), (0, 0), (0, 0)])
        .unwrap()
        .clone();
    legacy.enable_memory().unwrap();
    legacy.enable_io().unwrap();
    for (index, offset) in [(0, 0x1c), (1, 0xffc), (2, 0xf_fffc)] {
        let registers = legacy
            .claim_bar(index, "legacy", &mut computer.tree)
            .unwrap();
        let first = registers.register::<u32>(0).unwrap();
        let last = registers.register::<u32>(offset).unwrap();
        first.write(0x1111_0000 | u32::from(index));
        last.write(0x2222_0000 | u32::from(index));
        assert_eq!(first.read(), 0x1111_0000 | u32::from(index));
        assert_eq!(last.read(), 0x2222_0000 | u32::from(index));
    }
    drop(legacy);
    computer.end();
}

#[test]
fn a_disk_is_reached_and_its_interrupt_table_shares_the_bar() {
    let disk = NvmeConfig {
        address_lines: 39,
        ..disk()
    };
    let mut computer = Computer::boot(MachineConfig::default().with_disk(disk));
    let function = computer.function(1, 0);
    assert_eq!(function.address_lines(), Some(39));
    assert_eq!(
        (function.class(), function.requester()),
        (0x01_08_02, 0x0100)
    );
    function.enable_memory().unwrap();
    let mut registers = function.claim_bar(0, "nvme", &mut computer.tree).unwrap();
    let version = registers
        .register::<u32>(hw::nvme::regs::VS)
        .unwrap()
        .read();
    assert!(version >> 16 == 1 || version >> 16 == 2, "{version:#x}");
    let table = function
        .claim_msix("nvme", &mut computer.tree, Some(&mut registers))
        .unwrap();
    assert!(table.entries() > 1);
    drop((table, registers, function));
    computer.end();
}

#[test]
fn what_firmware_keeps_at_work_goes_on_and_nothing_else_is_a_bus_master() {
    let computer = Computer::boot(MachineConfig::default().with_disk(disk()));
    for function in computer.topology.functions() {
        let expected = if function.address().device == 5 {
            BusMaster::On
        } else {
            BusMaster::Off
        };
        assert_eq!(function.read_bus_master(), expected, "{function}");
    }
    computer.end();
}

#[test]
fn a_device_too_large_for_its_window_is_reported_and_stays_off() {
    let computer = Computer::boot(MachineConfig::default().with_greedy_device());
    let greedy = computer.function(0, 6);
    assert_eq!(
        computer.topology.problems(),
        [Problem::BarUnassigned {
            address: greedy.address(),
            index: 0,
            kind: BarKind::Memory32,
            len_bytes: 1 << 30
        }]
    );
    assert!(greedy.enable_memory().is_err());
    assert!(computer.function(0, 3).enable_memory().is_ok());
    drop(greedy);
    computer.end();
}
