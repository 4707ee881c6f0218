//! A computer of nothing but configuration space and the registers behind BARs, as odd as a test wants it.
// Each test binary uses a part.
#![allow(dead_code, unreachable_pub)]

mod function;

use std::ops::Range;
use std::sync::{Arc, Mutex};

use board::hardware::{CacheOperation, Hardware, HostBridgeDescription, InterruptSink, Width};
use board::ram::Ram;
use dmamap::addr::{BusAddr, BusRange, PhysAddr, PhysRange};
use dmamap::bridge::{HostBridge, Window, WindowKind};
use dmamap::pci::{DevicePath, EnumerateError, Topology, enumerate};
use dmamap::platform::Platform;
use dmamap::resource::ResourceTree;
use hosted::Hosted;

pub use function::FakeFunction;

pub const ECAM: u64 = 0xe000_0000;
const ECAM_BYTES: u64 = 256 << 20;
/// Registers that belong to no function; they hold what was written and note every access.
pub const PLAIN: u64 = 0xfed9_0000;

/// One access of the CPU to [`PLAIN`] registers: offset, width, and the value if it was a write.
pub type Access = (u64, Width, Option<u64>);

pub struct FakePci {
    ram: Arc<Ram>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    functions: Vec<FakeFunction>,
    plain: [u8; 32],
    accesses: Vec<Access>,
    writes_while_decoding: usize,
}

/// Which of a board's functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id(usize);

impl FakePci {
    pub fn new() -> Arc<Self> {
        let ram = Ram::new(&[0..4 << 20]).unwrap();
        Arc::new(Self {
            ram,
            state: Mutex::default(),
        })
    }

    /// Puts a function behind `parent`, or on the root bus.
    pub fn add(
        &self,
        parent: Option<Id>,
        device: u8,
        number: u8,
        mut function: FakeFunction,
    ) -> Id {
        function.place = (parent.map(|id| id.0), device, number);
        let functions = &mut self.state.lock().unwrap().functions;
        functions.push(function);
        Id(functions.len() - 1)
    }

    /// A function's configuration space as it is now.
    pub fn config(&self, id: Id, offset: usize, len: usize) -> u64 {
        let state = self.state.lock().unwrap();
        let bytes = &state.functions[id.0].config[offset..offset + len];
        bytes
            .iter()
            .rev()
            .fold(0, |value, &byte| value << 8 | u64::from(byte))
    }

    /// How many BARs were written while their function decoded them.
    pub fn writes_while_decoding(&self) -> usize {
        self.state.lock().unwrap().writes_while_decoding
    }

    pub fn take_accesses(&self) -> Vec<Access> {
        std::mem::take(&mut self.state.lock().unwrap().accesses)
    }

    /// Enumerates with the default host bridge.
    pub fn enumerate(self: &Arc<Self>) -> Found {
        self.enumerate_with(host_bridge(255), &[])
    }

    pub fn enumerate_with(self: &Arc<Self>, bridge: HostBridge, kept: &[DevicePath<'_>]) -> Found {
        let kernel = Hosted::boot(self.clone()).unwrap();
        let mut tree = ResourceTree::of(kernel.machine());
        let ecam = phys(ECAM, ECAM_BYTES);
        // SAFETY: the fake answers there, and keeps no memory there.
        unsafe { tree.insert_registers("PCI MMCONFIG", ecam).unwrap() };
        // SAFETY: as above.
        unsafe { bridge.insert_windows(&mut tree).unwrap() };
        let topology = enumerate(kernel, &bridge, ecam, &mut tree, kept).unwrap();
        Found {
            board: Arc::clone(self),
            kernel,
            topology,
            tree,
        }
    }

    /// Enumerates with configuration space at `ecam`, declared as registers or not.
    pub fn try_enumerate(
        self: &Arc<Self>,
        ecam: PhysRange,
        declared: Option<PhysRange>,
    ) -> Result<Topology<Hosted>, EnumerateError> {
        let kernel = Hosted::boot(self.clone()).unwrap();
        let mut tree = ResourceTree::of(kernel.machine());
        if let Some(declared) = declared {
            // SAFETY: the fake answers there, and keeps no memory there.
            unsafe { tree.insert_registers("PCI MMCONFIG", declared).unwrap() };
        }
        enumerate(kernel, &host_bridge(255), ecam, &mut tree, &[])
    }
}

/// What an enumeration gave.
pub struct Found {
    pub board: Arc<FakePci>,
    pub kernel: Hosted,
    pub topology: Topology<Hosted>,
    pub tree: ResourceTree,
}

impl Found {
    pub fn problems(&self) -> Vec<String> {
        self.topology
            .problems()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    pub fn addresses(&self) -> Vec<String> {
        self.topology
            .functions()
            .map(|function| function.address().to_string())
            .collect()
    }

    pub fn function(&self, bus: u8, device: u8, function: u8) -> dmamap::pci::Function<Hosted> {
        let address = dmamap::pci::PciAddress {
            segment: 0,
            bus,
            device,
            function,
        };
        self.topology
            .function(address)
            .unwrap_or_else(|| panic!("no {address}"))
            .clone()
    }
}

pub fn phys(start: u64, len_bytes: u64) -> PhysRange {
    PhysRange::new(PhysAddr::new(start), len_bytes).unwrap()
}

pub fn bus(start: u64, len_bytes: u64) -> BusRange {
    BusRange::new(BusAddr::new(start), len_bytes).unwrap()
}

/// 256 MiB of 32-bit memory, 4 GiB of prefetchable memory and 64 KiB of ports, all at an offset.
pub fn host_bridge(last_bus: u8) -> HostBridge {
    let window = |kind, phys_start, bus_start, len_bytes| Window {
        kind,
        bus: bus(bus_start, len_bytes),
        phys: phys(phys_start, len_bytes),
    };
    let windows = vec![
        window(WindowKind::Memory, 0xc000_0000, 0x8000_0000, 0x1000_0000),
        window(
            WindowKind::PrefetchableMemory,
            0x60_0000_0000,
            0x40_0000_0000,
            1 << 32,
        ),
        window(WindowKind::Io, 0xd800_0000, 0, 0x1_0000),
    ];
    HostBridge::new(0, 0, last_bus, windows, vec![]).unwrap()
}

impl State {
    /// The function that a configuration access reaches through the bridges above it.
    fn route(&mut self, bus: u8, device: u8, number: u8) -> Option<&mut FakeFunction> {
        let functions = &self.functions;
        let answers = |function: &FakeFunction| {
            let (parent, at_device, at_number) = function.place;
            let mut above = parent;
            while let Some(bridge) = above {
                let [_, secondary, subordinate] = functions[bridge].bus_numbers();
                if secondary == 0 || !(secondary..=subordinate).contains(&bus) {
                    return false;
                }
                above = functions[bridge].place.0;
            }
            let on = parent.map_or(0, |bridge| functions[bridge].bus_numbers()[1]);
            (on, at_device, at_number) == (bus, device, number)
        };
        let index = functions.iter().position(answers)?;
        Some(&mut self.functions[index])
    }

    /// The function and BAR that decode a memory address, and the offset there.
    fn decode(&mut self, bus: u64) -> Option<(&mut FakeFunction, usize, u64)> {
        self.functions.iter_mut().find_map(|function| {
            let (bar, offset) = function.decode(bus)?;
            Some((function, bar, offset))
        })
    }
}

/// Which function and register an ECAM address is.
fn ecam(phys: u64) -> Option<(u8, u8, u8, usize)> {
    let offset = phys
        .checked_sub(ECAM)
        .filter(|offset| *offset < ECAM_BYTES)?;
    Some((
        (offset >> 20) as u8,
        (offset >> 15 & 0x1f) as u8,
        (offset >> 12 & 7) as u8,
        (offset & 0xfff) as usize,
    ))
}

impl Hardware for FakePci {
    fn name(&self) -> &str {
        "fake PCI"
    }

    fn ram(&self) -> &Arc<Ram> {
        &self.ram
    }

    fn rsdp(&self) -> Option<u64> {
        None
    }

    fn host_bridges(&self) -> Vec<HostBridgeDescription> {
        Vec::new()
    }

    fn reserved_ram(&self) -> Vec<Range<u64>> {
        Vec::new()
    }

    fn read(&self, phys: u64, width: Width) -> u64 {
        let mut state = self.state.lock().unwrap();
        let bytes = width.bytes() as usize;
        if let Some((bus, device, number, register)) = ecam(phys) {
            let function = state.route(bus, device, number);
            return function.map_or(width.ones(), |f| f.read(register, bytes) & width.ones());
        }
        if (PLAIN..PLAIN + 32).contains(&phys) {
            let at = (phys - PLAIN) as usize;
            state.accesses.push((phys - PLAIN, width, None));
            let bytes = &state.plain[at..at + bytes];
            return bytes
                .iter()
                .rev()
                .fold(0, |value, &byte| value << 8 | u64::from(byte));
        }
        let bus = host_bridge(255).phys_to_bus(PhysAddr::new(phys));
        match bus.and_then(|bus| state.decode(bus.as_u64())) {
            Some((function, bar, offset)) => {
                let value = function.registers.get(&(bar, offset)).copied().unwrap_or(0);
                u64::from(value) & width.ones()
            }
            None => width.ones(),
        }
    }

    fn write(&self, phys: u64, width: Width, value: u64) {
        let mut state = self.state.lock().unwrap();
        let bytes = width.bytes() as usize;
        if let Some((bus, device, number, register)) = ecam(phys) {
            let decoding = state
                .route(bus, device, number)
                .is_some_and(|f| f.write(register, bytes, value));
            state.writes_while_decoding += usize::from(decoding);
        } else if (PLAIN..PLAIN + 32).contains(&phys) {
            let at = (phys - PLAIN) as usize;
            state.accesses.push((phys - PLAIN, width, Some(value)));
            state.plain[at..at + bytes].copy_from_slice(&value.to_le_bytes()[..bytes]);
        } else if let Some(bus) = host_bridge(255).phys_to_bus(PhysAddr::new(phys))
            && let Some((function, bar, offset)) = state.decode(bus.as_u64())
        {
            function.registers.insert((bar, offset), value as u32);
        }
    }

    fn message_window(&self) -> Range<u64> {
        0xfee0_0000..0xfef0_0000
    }

    fn connect_interrupts(&self, _: Arc<dyn InterruptSink>) {}

    fn maintain_cache(&self, _: CacheOperation, _: u64, _: u64) {}

    fn frames_freed(&self, _: u64, _: u64) {}
}
