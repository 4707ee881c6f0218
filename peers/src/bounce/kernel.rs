//! The computer whose memory is copied.

use std::sync::Arc;

use dmamap::addr::FRAME_BYTES;
use dmamap::bounce::{BounceSettings, Forced};
use dmamap::buffer::DmaBuffer;
use dmamap::device::Device;
use dmamap::system::Protection;
use journeys::Computer;
use journeys::boot::{BootOptions, IommuUse};
use machine::{Iommu, Machine, MachineConfig};

use crate::PeersError;
use crate::undisturbed::{Cpus, Undisturbed, boot};

/// Bytes of memory of the computer; only what is used is taken.
const RAM_BYTES: u64 = 4 << 30;
/// Bytes that may be copied to at once.
const LIMIT_BYTES: u64 = 1 << 30;
/// Bytes of an area of the pool: the longest that is lent at once, and more.
const AREA_BYTES: u64 = 32 << 20;

/// A computer without an IOMMU, and a device of it that is given copies alone.
pub struct Kernel {
    device: Device<Undisturbed>,
    // Behind the device, which goes first.
    _computer: Computer<Undisturbed>,
    _machine: Arc<Machine>,
}

impl Kernel {
    /// Boots it.
    ///
    /// # Errors
    /// [`PeersError::Failed`] where the host has no memory for it.
    pub fn boot() -> Result<Arc<Self>, PeersError> {
        let failed = |what| move || PeersError::failed("dmamap", what);
        let config = MachineConfig::default()
            .with_ram(RAM_BYTES)
            .with_iommu(Iommu::None);
        let machine = Machine::boot(config).ok();
        let machine = machine.ok_or_else(failed("build a computer"))?;
        let options = BootOptions {
            iommu: IommuUse::Ignored,
            ..BootOptions::default()
        };
        // SAFETY: nobody but whoever has this value uses it, and no device is set to work.
        let computer = unsafe { boot(machine.clone(), Cpus::One, options) }?;
        let system = computer.system();
        system.set_bounce(BounceSettings {
            area_bytes: AREA_BYTES,
            limit_bytes: LIMIT_BYTES,
            forced: Forced::Always,
            ..BounceSettings::default()
        });
        let function = computer.topology().functions().next();
        let function = function.ok_or_else(failed("find a device"))?;
        // SAFETY: nobody sets the device to work.
        let device = unsafe { system.attach_trusted(function, Protection::Strict) }.ok();
        Ok(Arc::new(Self {
            device: device.ok_or_else(failed("attach a device"))?,
            _computer: computer,
            _machine: machine,
        }))
    }

    /// The device.
    pub fn device(&self) -> &Device<Undisturbed> {
        &self.device
    }

    /// `count` buffers of `len_bytes`, whole frames, that follow each other where memory is free.
    pub(super) fn buffers(
        &self,
        len_bytes: u64,
        count: usize,
    ) -> Result<Vec<DmaBuffer<Undisturbed>>, PeersError> {
        let len_bytes = len_bytes.next_multiple_of(FRAME_BYTES);
        let buffer = |_| DmaBuffer::allocate(self.device.platform(), len_bytes);
        let buffers = (0..count).map(buffer).collect::<Result<_, _>>();
        buffers.map_err(|_| PeersError::failed("dmamap", "allocate buffers"))
    }
}
