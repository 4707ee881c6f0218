//! Writes what was planned into BARs and bridges, reads it back, and enters it into the resource tree.

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use hw::pci::bar::{IO_ADDRESS_MASK, MEMORY_ADDRESS_MASK};
use hw::pci::config::{BARS_TYPE0, BARS_TYPE1, bar};

use super::assign::{KINDS, PerKind, Plan, Want, plan};
use super::bar::SizedBars;
use super::config::FunctionConfig;
use super::found::Found;
use super::{Bar, Problem, window};
use crate::addr::{BusAddr, BusRange, PhysRange};
use crate::bridge::{HostBridge, WindowKind};
use crate::platform::Platform;
use crate::resource::ResourceTree;

/// Sizes every BAR, with decoding off; where there are BARs, or a bridge, it stays off.
pub(crate) fn size<P: Platform>(found: &mut [Found<P>], problems: &mut Vec<Problem>) {
    for function in found {
        let config = &function.config;
        let mut before = Default::default();
        config.modify_command(|command| {
            before = command;
            command.with_io_space(false).with_memory_space(false)
        });
        let count = if function.is_bridge() {
            BARS_TYPE1
        } else {
            BARS_TYPE0
        };
        function.bars = SizedBars::read(config, count, problems);
        let SizedBars {
            bars,
            bad_memory,
            bad_io,
        } = &function.bars;
        let nothing = bars.iter().all(Option::is_none) && bad_memory.is_none() && bad_io.is_none();
        if nothing && !function.is_bridge() {
            // Its decoding is for something that no BAR tells of, such as a legacy device's fixed ports.
            config.modify_command(|command| {
                command
                    .with_io_space(before.io_space())
                    .with_memory_space(before.memory_space())
            });
        }
    }
}

/// Gives every BAR and bridge's window its bus address, or reports why not.
pub(crate) fn assign<P: Platform>(
    bridge: &HostBridge,
    found: &mut [Found<P>],
    tree: &mut ResourceTree,
    problems: &mut Vec<Problem>,
) {
    // The plan knows bridges by their own numbers.
    let bridges: Vec<usize> = (0..found.len())
        .filter(|&at| found[at].is_bridge())
        .collect();
    let number = |at: Option<usize>| at.and_then(|at| bridges.iter().position(|&b| b == at));
    let abilities: Vec<_> = bridges
        .iter()
        .map(|&at| window::ability(&found[at].config, number(found[at].parent)))
        .collect();
    let owners: Vec<(usize, Bar)> = (0..found.len())
        .flat_map(|at| {
            found[at]
                .bars
                .bars
                .into_iter()
                .flatten()
                .map(move |bar| (at, bar))
        })
        .collect();
    let wants: Vec<_> = owners
        .iter()
        .map(|(at, bar)| Want {
            above: number(found[*at].parent),
            kind: bar.kind,
            len_bytes: bar.bus.len_bytes(),
        })
        .collect();
    let plan = plan(bridge.windows(), &abilities, &wants);
    // Bridges come before what is behind them, and their own BARs are written with them.
    let mut refused = alloc::vec![PerKind::<bool>::default(); bridges.len()];
    for (at, function) in found.iter_mut().enumerate() {
        let above = number(function.parent);
        let refused_above = above.map_or(PerKind::default(), |above| refused[above]);
        let mut writer = Writer {
            bridge,
            function,
            tree,
            problems,
        };
        for ((owner, bar), planned) in owners.iter().zip(&plan.bars) {
            if *owner == at {
                writer.bar(*bar, *planned, refused_above);
            }
        }
        if let Some(number) = number(Some(at)) {
            refused[number] = writer.windows(&plan, number, refused_above);
        }
    }
}

/// Writes one function's registers.
struct Writer<'a, P: Platform> {
    bridge: &'a HostBridge,
    function: &'a mut Found<P>,
    tree: &'a mut ResourceTree,
    problems: &'a mut Vec<Problem>,
}

impl<P: Platform> Writer<'_, P> {
    fn bar(
        &mut self,
        mut bar: Bar,
        planned: Option<(WindowKind, u64)>,
        refused_above: PerKind<bool>,
    ) {
        let address = self.function.address();
        let Some((kind, base)) = planned.filter(|(kind, _)| !*refused_above.get(*kind)) else {
            write_bar(&self.function.config, &bar, 0);
            self.problems.push(Problem::BarUnassigned {
                address,
                index: bar.index,
                kind: bar.kind,
                len_bytes: bar.bus.len_bytes(),
            });
            return;
        };
        let read = write_bar(&self.function.config, &bar, base);
        if read != base {
            write_bar(&self.function.config, &bar, 0);
            let index = bar.index;
            self.problems.push(Problem::BarRefused {
                address,
                index,
                wrote: base,
                read,
            });
            return;
        }
        match self.enter(&address.to_string(), kind, base, bar.bus.len_bytes()) {
            Some((bus, phys)) => {
                bar.bus = bus;
                bar.phys = Some(phys);
                self.function.bars.bars[usize::from(bar.index)] = Some(bar);
            }
            None => {
                write_bar(&self.function.config, &bar, 0);
            }
        }
    }

    /// Opens a bridge's windows; says which kinds cannot be used behind it.
    fn windows(
        &mut self,
        plan: &Plan,
        number: usize,
        refused_above: PerKind<bool>,
    ) -> PerKind<bool> {
        let config = self.function.config.clone();
        let address = config.address();
        let mut refused = refused_above;
        for kind in KINDS {
            let Some((base, len_bytes)) = *plan.windows[number].get(kind) else {
                continue;
            };
            if *refused.get(kind) {
                continue;
            }
            // A BAR of the bridge's own that has no address would answer at 0 if it decoded.
            let decodable = match kind {
                WindowKind::Io => self.function.io_blocked().is_none(),
                _ => self.function.memory_blocked().is_none(),
            };
            let last = base + (len_bytes - 1);
            let opened = decodable && window::write(&config, kind, Some((base, last)));
            if !opened {
                self.problems.push(Problem::WindowRefused { address, kind });
            }
            let name = self
                .function
                .buses()
                .map(|buses| format!("PCI Bus {:04x}:{:02x}", address.segment, buses.secondary));
            let entered = opened
                && self
                    .enter(&name.unwrap_or_default(), kind, base, len_bytes)
                    .is_some();
            if !entered {
                window::write(&config, kind, None);
                *refused.get_mut(kind) = true;
            }
        }
        let open = |kind| plan.windows[number].get(kind).is_some() && !*refused.get(kind);
        let (io, memory) = (
            open(WindowKind::Io),
            open(WindowKind::Memory) || open(WindowKind::PrefetchableMemory),
        );
        config.modify_command(|command| command.with_io_space(io).with_memory_space(memory));
        refused
    }

    /// A → B: enters a run of bus addresses into the tree. Reports why not.
    fn enter(
        &mut self,
        name: &str,
        kind: WindowKind,
        base: u64,
        len_bytes: u64,
    ) -> Option<(BusRange, PhysRange)> {
        let start = BusAddr::new(base);
        let phys = match kind {
            WindowKind::Io => self.bridge.io_to_phys(start),
            _ => self.bridge.bus_to_phys(start),
        }?;
        let phys = PhysRange::new(phys, len_bytes).ok()?;
        match self.tree.insert(name, phys) {
            Ok(()) => Some((BusRange::new(start, len_bytes).ok()?, phys)),
            Err(error) => {
                let address = self.function.address();
                self.problems.push(Problem::Resource { address, error });
                None
            }
        }
    }
}

/// Writes a BAR's address; gives what it then reads.
fn write_bar<P: Platform>(config: &FunctionConfig<P>, of: &Bar, base: u64) -> u64 {
    let index = usize::from(of.index);
    config.write(bar(index), base as u32);
    let mask = if of.kind.is_io() {
        IO_ADDRESS_MASK
    } else {
        MEMORY_ADDRESS_MASK
    };
    let low = u64::from(config.read::<u32>(bar(index)) & mask);
    if !of.kind.is_64_bit() {
        return low;
    }
    config.write(bar(index + 1), (base >> 32) as u32);
    u64::from(config.read::<u32>(bar(index + 1))) << 32 | low
}
