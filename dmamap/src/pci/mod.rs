//! PCI: finds the functions, numbers the buses, sizes and assigns BARs: finds A.
//!
//! [`enumerate`] walks the buses behind one host bridge over ECAM and gives a [`Topology`] of
//! [`Function`]s. On the way
//!
//! 1. every bridge gets its bus numbers, depth first (`scan.rs`);
//! 2. bus mastering and message interrupts are switched off everywhere, but for functions firmware keeps running, and
//!    requests under way are waited for (`quiesce.rs`);
//! 3. every BAR is sized with decoding off (`bar.rs`), laid out by size and alignment (`assign.rs`), written and
//!    read back (`program.rs`): A goes into the BAR, B into the resource tree.
//!
//! Devices are not trusted: lists that loop, all ones, BARs of impossible size and bridges that keep nothing
//! are [`Problem`]s of the topology, and enumeration goes on without the thing concerned.
//!
//! A driver takes a [`Function`], claims a BAR ([`Function::claim_bar`]) and its interrupts
//! ([`Function::claim_msix`]). The claim is what keeps a second driver away. [`Function::reset`] takes a function back to
//! where it was before its driver came (`reset.rs`).
//!
//! ```
//! use dmamap::addr::{BusAddr, BusRange, PhysAddr, PhysRange};
//! use dmamap::bridge::{HostBridge, Window, WindowKind};
//! use dmamap::pci;
//! use dmamap::platform::Platform;
//! use dmamap::resource::ResourceTree;
//! # let machine = machine::Machine::boot(machine::MachineConfig::default())?;
//! # let platform = hosted::Hosted::boot(machine.clone())?;
//!
//! // What firmware says of this machine.
//! let ecam = PhysRange::new(PhysAddr::new(0xe000_0000), 256 << 20)?;
//! let window = Window {
//!     kind: WindowKind::Memory,
//!     bus: BusRange::new(BusAddr::new(0x8000_0000), 0x1000_0000)?,
//!     phys: PhysRange::new(PhysAddr::new(0xc000_0000), 0x1000_0000)?,
//! };
//! let bridge = HostBridge::new(0, 0, 255, vec![window], vec![])?;
//! let mut tree = ResourceTree::of(platform.machine());
//! // SAFETY: configuration space is there, and registers behind the window.
//! unsafe { tree.insert_registers("PCI MMCONFIG", ecam)? };
//! // SAFETY: as above.
//! unsafe { bridge.insert_windows(&mut tree)? };
//!
//! let topology = pci::enumerate(platform, &bridge, ecam, &mut tree, &[])?;
//! for function in topology.functions() {
//!     for bar in function.bars().iter().flatten() {
//!         println!("{function}: BAR {} at A = {}, B = {:?}", bar.index, bar.bus, bar.phys);
//!     }
//! }
//! let port = topology.find_path(0, 0, &[(1, 0)])?;
//! assert!(port.is_bridge());
//! # machine.shutdown();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod address;
mod assign;
mod bar;
mod capability;
mod config;
mod found;
mod function;
mod guarded;
mod msix;
mod problem;
mod program;
mod quiesce;
mod reset;
mod saved;
mod scan;
mod topology;
mod window;

use alloc::sync::Arc;
use alloc::vec::Vec;

pub use address::{DevicePath, PathError, PciAddress};
pub use bar::{Bar, BarKind};
pub use capability::PortType;
pub use config::ConfigError;
pub use function::{BridgeBuses, BusMaster, ClaimBarError, Function};
pub use guarded::Guarded;
pub use msix::{MsixError, MsixTable};
pub use problem::Problem;
pub(crate) use quiesce::end_requests;
pub(crate) use reset::Deadline;
pub use reset::{FunctionReset, FunctionResetError, ResetMethod, ResetPatience, Transactions};
pub use topology::Topology;

use crate::addr::PhysRange;
use crate::bridge::HostBridge;
use crate::mmio::{Mmio, MmioError};
use crate::platform::{MemoryAttribute, Platform};
use crate::resource::{ResourceError, ResourceTree};
use config::ConfigSpace;
pub(crate) use saved::{SavedConfig, SavedTopology};

/// Why a host bridge's buses cannot be enumerated at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnumerateError {
    /// The configuration space cannot be claimed.
    #[error("configuration space: {0}")]
    Resource(#[from] ResourceError),
    /// The configuration space cannot be mapped.
    #[error("configuration space: {0}")]
    Mmio(#[from] MmioError),
    /// The configuration space is smaller than one bus needs (1 MiB).
    #[error("configuration space at {0} has no room for one bus")]
    NoBus(PhysRange),
}

/// Enumerates the buses behind `bridge`, whose configuration space, from its first bus on, is at `ecam`.
///
/// `tree` holds `ecam` and the bridge's windows as registers already; bridges' windows ("PCI Bus
/// 0000:01") and BARs ("0000:01:00.0") are entered below them. `kept` are functions which firmware left at work
/// (RMRR): they, and bridges on their way, stay bus masters. Decoding is off afterwards in every function
/// with BARs until its driver switches it on.
///
/// # Errors
/// [`EnumerateError`] if configuration space cannot be reached. What is wrong with single functions is in
/// [`Topology::problems`].
pub fn enumerate<P: Platform>(
    platform: P,
    bridge: &HostBridge,
    ecam: PhysRange,
    tree: &mut ResourceTree,
    kept: &[DevicePath<'_>],
) -> Result<Topology<P>, EnumerateError> {
    let claim = tree.request("PCI ECAM", ecam)?;
    let registers = Mmio::ioremap(platform, claim, MemoryAttribute::Uncached)?;
    let space = Arc::new(ConfigSpace::new(
        registers,
        bridge.segment(),
        bridge.first_bus(),
    ));
    let last_bus = space
        .last_bus()
        .ok_or(EnumerateError::NoBus(ecam))?
        .min(bridge.last_bus());
    let mut problems = Vec::new();
    let mut found = scan::scan(
        platform,
        &space,
        bridge.first_bus(),
        last_bus,
        &mut problems,
    );
    scan::stop_bus_masters(platform, &found, kept, &mut problems);
    program::size(&mut found, &mut problems);
    program::assign(bridge, &mut found, tree, &mut problems);
    Ok(Topology::new(platform, found, problems))
}
