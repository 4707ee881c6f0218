//! Registers of a device that is no PCI function, mapped for a device: the FIFO that a DMA engine fills or empties.
//!
//! Four bytes, say, at one address. They share their page with the rest of that device's registers, so a device that is
//! trusted is given the page they lie in, and any other is refused what is not whole pages: registers are never copied. Without
//! an IOMMU the device is told where the host bridge shows it the system's own bus.

use super::resource::{ResourceMapping, Way, check_whole_pages};
use crate::addr::{BusRange, PhysRange};
use crate::device::{Device, Trust};
use crate::map::{AnyDirection, Direction, MapError, MapFailure, Rejected, Route, translated};
use crate::mmio::Mmio;
use crate::platform::Platform;
use crate::system::PeerRefusal;

impl<P: Platform> Device<P> {
    /// Lets the device use the registers that `window` is onto, which are those of a device on the system's own bus
    /// (`dma_map_resource`, `dma_map_phys` with `DMA_ATTR_MMIO`). That requests to them arrive is taken for granted, as it is for
    /// memory. The window, which nobody has but who claimed them, is the mapping's as long as it lives; what its owner
    /// still needs is to be [carved](Mmio::carve) off before, or the FIFO be carved off for this.
    ///
    /// `direction` is the device's, as for memory: what writes to a FIFO maps it [`FromDevice`](crate::map::FromDevice).
    ///
    /// A [trusted](crate::system::DmaSystem::attach_trusted) device behind an IOMMU reaches the whole page that they lie in.
    ///
    /// # Errors
    /// [`Rejected`] with the window, unless [`MapError::leaves_memory_reachable`]: [`MapFailure::IsRam`],
    /// [`MapFailure::BehindBridge`] for those of a PCI function, [`MapFailure::NotWholePages`] for a device that is not
    /// trusted, [`MapFailure::NotOnBus`] and [`MapFailure::BeyondMask`] where the device does not reach them.
    ///
    /// ```
    /// # use board as _;
    /// use dmamap::addr::PhysRange;
    /// use dmamap::device::Device;
    /// use dmamap::map::{FromDevice, ResourceMapping};
    /// use dmamap::mmio::Mmio;
    /// use dmamap::platform::{MemoryAttribute, Platform};
    /// use dmamap::resource::ResourceTree;
    ///
    /// /// Lets `engine` write to the FIFO at 0x10 of the registers of a sound device.
    /// fn feed<P: Platform>(
    ///     engine: &Device<P>,
    ///     registers: PhysRange,
    ///     tree: &mut ResourceTree,
    /// ) -> Result<(Mmio<P>, ResourceMapping<P>), Box<dyn std::error::Error>> {
    ///     let claim = tree.request("sound", registers)?;
    ///     let mut sound = Mmio::ioremap(engine.platform(), claim, MemoryAttribute::Uncached)?;
    ///     let fifo = sound.carve(0x10, 4)?;
    ///     let fifo = engine
    ///         .map_registers(fifo, FromDevice)
    ///         .map_err(|rejected| rejected.error)?;
    ///     // … tell the engine `fifo.bus_addr()` …
    ///     Ok((sound, fifo))
    /// }
    /// ```
    #[expect(
        clippy::result_large_err,
        reason = "the window comes back in the error, and mapping does not allocate a box"
    )]
    pub fn map_registers(
        &self,
        window: Mmio<P>,
        direction: impl Direction,
    ) -> Result<ResourceMapping<P>, Rejected<Mmio<P>>> {
        let direction = direction.any();
        self.lend_window(window, |registers| self.map_of_system(registers, direction))
    }

    /// As [`map_registers`](Self::map_registers), for registers that are held in another way. What takes them back is
    /// [`unmap_resource_raw`](Self::unmap_resource_raw).
    ///
    /// # Errors
    /// As [`map_registers`](Self::map_registers).
    ///
    /// # Safety
    /// Registers answer at all of `registers`, or nothing does. Until [`unmap_resource_raw`](Self::unmap_resource_raw) returned
    /// `Ok`, or all devices of the group were detached, whoever drives them agrees that the device uses them as it likes; and
    /// what they make their device do to memory is confined, or the caller vouches for it.
    pub unsafe fn map_registers_raw(
        &self,
        registers: PhysRange,
        direction: AnyDirection,
    ) -> Result<BusRange, MapError> {
        self.map_counted(registers, |registers| {
            self.map_of_system(registers, direction)
        })
    }

    /// Whether there may be registers on the system's own bus at all of `registers`.
    fn check_of_system(&self, registers: PhysRange) -> Result<(), MapFailure> {
        self.check_registers(registers)?;
        // Whether those arrive the wires between two functions decide.
        match self.core().system.is_behind_a_bridge(registers) {
            true => Err(MapFailure::BehindBridge { registers }),
            false => Ok(()),
        }
    }

    fn map_of_system(
        &self,
        registers: PhysRange,
        direction: AnyDirection,
    ) -> Result<Way, MapFailure> {
        let core = self.core();
        self.check_of_system(registers)?;
        match &core.route {
            Route::Blocked => Err(MapFailure::Blocked),
            Route::Translated(domain) => {
                // The rest of the page was not given; and whoever is trusted reaches it, too.
                match core.guard.trust() {
                    Trust::Withheld => check_whole_pages(domain, registers)?,
                    Trust::Given => {
                        let page_log2 = domain.page_size_log2();
                        self.check_of_system(translated::widened(registers, page_log2))?;
                    }
                }
                self.map_in_domain(domain, registers, direction)
            }
            Route::Direct(direct) if !direct.is_on_bus() => {
                Err(MapFailure::PeerRefused(PeerRefusal::Identity))
            }
            Route::Direct(direct) => direct.reach(registers, self.reach()).map(Way::OnBus),
        }
    }
}
