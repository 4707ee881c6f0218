//! Registers of another device, mapped for a device (`dma_map_resource`): B → Z, or the A that devices below one switch use.
//!
//! Two kinds: those behind a BAR of a PCI function, a peer, where the wires between the two decide whether requests arrive
//! ([`Device::map_resource`]); and those of a device on the system's own bus, as the FIFO is that a DMA engine fills
//! ([`Device::map_registers`], in `registers.rs`).
//!
//! Registers are no memory: they are never bounced, never flushed, and RAM is refused here. Who lets another device reach its
//! registers gives the window onto them away for that time.

use core::fmt;
use core::mem::ManuallyDrop;

use crate::addr::{BusAddr, BusRange, PhysRange};
use crate::bridge::WindowKind;
use crate::device::{Device, DeviceCore, Held};
use crate::iommu::{Domain, RevokeError};
use crate::map::backing::Backing;
use crate::map::terms::{Shape, Terms};
use crate::map::translated;
use crate::map::{
    AnyDirection, Asked, Attributes, Direction, MapError, MapFailure, Quarantined, Rejected, Route,
};
use crate::mmio::Mmio;
use crate::pagetable::{Grant, MemoryType, Replay};
use crate::pci::Function;
use crate::platform::Platform;
use crate::system::{PeerRefusal, PeerVerdict, Protection};

/// Registers of one device that another may use; owns the window onto them. Dropping it takes them back.
///
/// ```
/// # use board as _;
/// use dmamap::device::Device;
/// use dmamap::map::FromDevice;
/// use dmamap::pci::Function;
/// use dmamap::platform::Platform;
/// use dmamap::resource::ResourceTree;
///
/// /// Lets `disk` write into the memory that `peer` has behind BAR 0.
/// fn lend<P: Platform>(
///     disk: &Device<P>,
///     peer: &Function<P>,
///     tree: &mut ResourceTree,
/// ) -> Result<(), Box<dyn std::error::Error>> {
///     let window = peer.claim_bar(0, "peer", tree)?;
///     let mapping = disk
///         .map_resource(peer, window, FromDevice)
///         .map_err(|rejected| rejected.error)?;
///     // … tell the disk `mapping.bus_addr()` and wait until it has finished …
///     let _window = mapping.unmap()?;
///     Ok(())
/// }
/// ```
#[must_use = "dropping a mapping unmaps it"]
pub struct ResourceMapping<P: Platform> {
    /// `None` only while `unmap` or `drop` runs.
    parts: Option<Parts<P>>,
}

struct Parts<P: Platform> {
    held: Held<P>,
    way: Way,
    window: Mmio<P>,
}

/// Where a device reaches registers.
#[derive(Clone, Copy)]
pub(super) enum Way {
    /// Where they are on the bus: nothing was recorded anywhere.
    OnBus(BusRange),
    /// Where its domain's tables say.
    Translated(BusRange),
}

impl Way {
    fn range(self) -> BusRange {
        match self {
            Self::OnBus(range) | Self::Translated(range) => range,
        }
    }
}

impl<P: Platform> ResourceMapping<P> {
    fn parts(&self) -> &Parts<P> {
        self.parts
            .as_ref()
            .expect("only `unmap` and `drop` take the parts")
    }

    /// What the device is told.
    pub fn bus_addr(&self) -> BusAddr {
        self.range().start()
    }

    /// The bus addresses it may use.
    pub fn range(&self) -> BusRange {
        self.parts().way.range()
    }

    /// Where the registers are: B.
    pub fn phys(&self) -> PhysRange {
        self.parts().window.phys()
    }

    /// Ends the mapping and gives the window back: where an IOMMU stands between, the device reaches the registers no more.
    /// Where none does ([`PeerVerdict::Direct`]) it can go on to, as before: the two are in one
    /// [group](crate::group).
    ///
    /// # Errors
    /// [`Quarantined`] when the IOMMU did not confirm; the registers stay claimed until it does.
    pub fn unmap(mut self) -> Result<Mmio<P>, Quarantined> {
        let parts = self
            .parts
            .take()
            .expect("only `unmap` and `drop` take the parts");
        parts.revoke()
    }
}

impl<P: Platform> Drop for ResourceMapping<P> {
    fn drop(&mut self) {
        if let Some(parts) = self.parts.take()
            && let Err(error) = parts.revoke()
        {
            log::error!("{error}");
        }
    }
}

impl<P: Platform> fmt::Debug for ResourceMapping<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ResourceMapping({:?} of {:?})",
            self.range(),
            self.phys()
        )
    }
}

impl<P: Platform> Parts<P> {
    fn revoke(self) -> Result<Mmio<P>, Quarantined> {
        let core = self.held.core();
        let range = self.way.range();
        // SAFETY: it is the way of this mapping, which ends with this call.
        match unsafe { take_back(core, self.way) } {
            Ok(()) => {
                // The registers may be memory whose reads the CPU does early.
                core.platform.dma_rmb();
                Ok(self.window)
            }
            Err(error) => {
                let device = core.requester;
                // Nobody else comes to hold what the device may still reach.
                let window = ManuallyDrop::new(self.window);
                core.keep_from_use(window, range.len_bytes(), Backing::InPlace, error);
                Err(Quarantined {
                    device,
                    range,
                    error,
                })
            }
        }
    }
}

/// # Safety
/// A mapping was made this way, and this is the first call that takes it back.
unsafe fn take_back<P: Platform>(core: &DeviceCore<P>, way: Way) -> Result<(), RevokeError> {
    match way {
        Way::OnBus(_) => Ok(()),
        // SAFETY: the caller's promise.
        Way::Translated(range) => unsafe { core.route.unmap(range) },
    }
}

impl<P: Platform> Device<P> {
    /// Lets the device use registers of `peer`, those that `window` is onto (`dma_map_resource`): at a bus address chosen
    /// for it where requests pass an IOMMU, else where the registers are on the bus. Which way is taken
    /// [`peer_to_peer`](crate::system::DmaSystem::peer_to_peer) tells.
    ///
    /// # Errors
    /// [`Rejected`] with the window, unless [`MapError::leaves_memory_reachable`]: [`MapFailure::PeerRefused`] where
    /// requests are not known to arrive, [`MapFailure::NotOfPeer`], [`MapFailure::IsRam`],
    /// [`MapFailure::NotWholePages`] where an IOMMU would show neighbouring registers as well.
    #[expect(
        clippy::result_large_err,
        reason = "the window comes back in the error, and mapping does not allocate a box"
    )]
    pub fn map_resource(
        &self,
        peer: &Function<P>,
        window: Mmio<P>,
        direction: impl Direction,
    ) -> Result<ResourceMapping<P>, Rejected<Mmio<P>>> {
        let direction = direction.any();
        self.lend_window(window, |registers| {
            self.map_of_peer(peer, registers, direction)
        })
    }

    /// Maps what `window` is onto, by `map`, as long as it lives.
    #[expect(
        clippy::result_large_err,
        reason = "the window comes back in the error, and mapping does not allocate a box"
    )]
    pub(super) fn lend_window(
        &self,
        window: Mmio<P>,
        map: impl FnOnce(PhysRange) -> Result<Way, MapFailure>,
    ) -> Result<ResourceMapping<P>, Rejected<Mmio<P>>> {
        let registers = window.phys();
        let held = Held::new(self, registers.len_bytes());
        let mapped = match self.is_whole_and_ours(&window) {
            true => map(registers),
            false => Err(MapFailure::NotOfPeer { registers }),
        };
        match mapped {
            Ok(way) => Ok(ResourceMapping {
                parts: Some(Parts { held, way, window }),
            }),
            Err(failure) => {
                held.withdraw();
                let asked = Asked::from(registers.start(), registers.len_bytes());
                let (core, window) = (self.core(), ManuallyDrop::new(window));
                Err(core.rejected(
                    core.not_mapped(asked, failure),
                    window,
                    registers.len_bytes(),
                ))
            }
        }
    }

    /// As [`map_resource`](Self::map_resource), for registers that are held in another way.
    ///
    /// # Errors
    /// As [`map_resource`](Self::map_resource).
    ///
    /// # Safety
    /// Until [`unmap_resource_raw`](Self::unmap_resource_raw) returned `Ok`, or all devices of the group were detached,
    /// whoever drives `peer` agrees that the device uses these registers as it likes; and `peer` is confined by an IOMMU, or
    /// the caller vouches for what the device makes it do.
    pub unsafe fn map_resource_raw(
        &self,
        peer: &Function<P>,
        registers: PhysRange,
        direction: AnyDirection,
    ) -> Result<BusRange, MapError> {
        self.map_counted(registers, |registers| {
            self.map_of_peer(peer, registers, direction)
        })
    }

    /// Maps `registers` by `map`, for [`unmap_resource_raw`](Self::unmap_resource_raw) to take back.
    pub(super) fn map_counted(
        &self,
        registers: PhysRange,
        map: impl FnOnce(PhysRange) -> Result<Way, MapFailure>,
    ) -> Result<BusRange, MapError> {
        let held = Held::new(self, registers.len_bytes());
        match map(registers) {
            Ok(way) => {
                // The count is `unmap_resource_raw`'s to take back.
                core::mem::forget(held);
                Ok(way.range())
            }
            Err(failure) => {
                held.withdraw();
                let asked = Asked::from(registers.start(), registers.len_bytes());
                let error = self.core().not_mapped(asked, failure);
                self.count_kept(&error, registers.len_bytes());
                Err(error)
            }
        }
    }

    /// Takes back what [`map_resource_raw`](Self::map_resource_raw) or [`map_registers_raw`](Self::map_registers_raw) gave.
    ///
    /// # Errors
    /// [`Quarantined`] when the IOMMU did not confirm.
    ///
    /// # Safety
    /// `range` is one that `map_resource_raw` or `map_registers_raw` of this device returned, and not taken back yet.
    pub unsafe fn unmap_resource_raw(&self, range: BusRange) -> Result<(), Quarantined> {
        let core = self.core();
        let bridge = core.system.bridge_of(core.requester);
        let on_bus = bridge.is_some_and(|bridge| {
            // Nothing is ever mapped in a window to memory registers, so what is there is their own address.
            let mut windows = bridge.windows().iter();
            windows.any(|window| window.kind != WindowKind::Io && window.bus.covers(range))
        });
        if on_bus {
            core.counters.end(range.len_bytes());
        } else {
            // The range was mapped and counted as those of the raw layer are.
            let strictly = Attributes::NONE.at_least(Protection::Strict);
            // SAFETY: the caller's promise.
            unsafe { self.revoke_raw(range, range.len_bytes(), Backing::InPlace, strictly)? };
        }
        // Whose registers they are may read them early, as memory.
        core.platform.dma_rmb();
        Ok(())
    }

    /// Whether `registers` may be looked at as registers at all: the machine is awake, there are some, and they are no memory.
    pub(super) fn check_registers(&self, registers: PhysRange) -> Result<(), MapFailure> {
        let core = self.core();
        if core.system.is_asleep() {
            return Err(MapFailure::Suspended);
        }
        if registers.is_empty() {
            return Err(MapFailure::Empty);
        }
        let mut is_ram = false;
        core.platform
            .memory_map(&mut |ram| is_ram |= ram.overlaps(registers));
        if is_ram {
            return Err(MapFailure::IsRam { range: registers });
        }
        Ok(())
    }

    fn map_of_peer(
        &self,
        peer: &Function<P>,
        registers: PhysRange,
        direction: AnyDirection,
    ) -> Result<Way, MapFailure> {
        let core = self.core();
        self.check_registers(registers)?;
        let bars = peer.bars().iter().flatten();
        let mut bars = bars.filter(|bar| !bar.kind.is_io());
        if !bars.any(|bar| bar.phys.is_some_and(|phys| phys.covers(registers))) {
            return Err(MapFailure::NotOfPeer { registers });
        }
        let verdict = core.system.peer_to_peer(&core.function, peer);
        match (&core.route, verdict) {
            (Route::Blocked, _) => Err(MapFailure::Blocked),
            (_, PeerVerdict::Refused(why)) => Err(MapFailure::PeerRefused(why)),
            (Route::Translated(domain), PeerVerdict::ThroughHostBridge) => {
                check_whole_pages(domain, registers)?;
                self.map_in_domain(domain, registers, direction)
            }
            (Route::Direct(direct), PeerVerdict::ThroughHostBridge) if !direct.is_on_bus() => {
                Err(MapFailure::PeerRefused(PeerRefusal::Identity))
            }
            (_, PeerVerdict::Direct | PeerVerdict::ThroughHostBridge) => {
                let range = self.on_bus(registers)?;
                let mask = self.reach();
                match mask.covers(range) {
                    true => Ok(Way::OnBus(range)),
                    false => Err(MapFailure::BeyondMask { range, mask }),
                }
            }
        }
    }

    /// Maps the whole pages that `registers` lie in.
    pub(super) fn map_in_domain(
        &self,
        domain: &Domain<P>,
        registers: PhysRange,
        direction: AnyDirection,
    ) -> Result<Way, MapFailure> {
        let terms = Terms::new(self.mask(), Shape::Single, direction).within(&self.core().limits);
        let mut list = Replay::new(core::iter::once(registers));
        let place = translated::place(domain.page_size_log2(), &terms, registers, &mut list)?;
        let grant = Grant {
            memory_type: MemoryType::Registers,
            ..terms.grant()
        };
        let range = translated::map(domain, place, &mut list, grant)?;
        Ok(Way::Translated(range))
    }

    /// Whether nobody else has a part of the window, and it is of this machine.
    pub(in crate::map) fn is_whole_and_ours(&self, window: &Mmio<P>) -> bool {
        window.machine() == self.platform().machine() && window.is_undivided()
    }

    /// B → A.
    pub(in crate::map) fn on_bus(&self, registers: PhysRange) -> Result<BusRange, MapFailure> {
        let core = self.core();
        let bridge = core.system.bridge_of(core.requester);
        let start = bridge.and_then(|bridge| bridge.phys_to_bus(registers.start()));
        let range = start.and_then(|start| BusRange::new(start, registers.len_bytes()).ok());
        range.ok_or(MapFailure::NotOnBus { memory: registers })
    }
}

/// Whether pages of the domain can hold `registers` and nothing else.
pub(super) fn check_whole_pages<P: Platform>(
    domain: &Domain<P>,
    registers: PhysRange,
) -> Result<(), MapFailure> {
    let page_bytes = 1 << domain.page_size_log2();
    let is_whole = |bytes: u64| bytes.is_multiple_of(page_bytes);
    match is_whole(registers.start().as_u64()) && is_whole(registers.len_bytes()) {
        true => Ok(()),
        false => Err(MapFailure::NotWholePages {
            memory: registers,
            page_bytes,
        }),
    }
}
