//! The computer whose device is mapped for.

use std::sync::Arc;

use dmamap::device::Device;
use dmamap::system::Protection;
use journeys::boot::BootOptions;
use machine::at_once::AtOnce;
use machine::{Machine, MachineConfig};

use crate::PeersError;
use crate::undisturbed::{Cpus, Undisturbed, boot};

/// Bytes of its memory: little, as the host maps and scans it.
const RAM_BYTES: u64 = 1 << 30;

/// How many unmaps share a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushes {
    /// As many as where nobody says.
    AsUsual,
    /// So many that the model of the unit, which has a thread of its own, takes hardly any of a CPU's time from those who are measured.
    Rare,
}

/// Not more: the tables of what waits and of what a flush is about at that time are kept empty, so that none is freed. For each that is
/// freed the models look through all tables, whether some still leads to it.
const MANY: u32 = 1 << 12;

/// A computer with VT-d units that answer at once, which each thread is a CPU of.
pub struct Computer {
    computer: journeys::Computer<Undisturbed>,
}

impl Computer {
    /// Boots it.
    ///
    /// # Errors
    /// [`PeersError::Failed`] where the host has no memory for it.
    pub fn boot(flushes: Flushes) -> Result<Arc<Self>, PeersError> {
        let machine = Machine::boot(MachineConfig::default().with_ram(RAM_BYTES)).ok();
        let machine = machine.ok_or_else(|| PeersError::failed("dmamap", "build a computer"))?;
        let board = Arc::new(AtOnce::new(machine));
        let mut options = BootOptions::default();
        if flushes == Flushes::Rare {
            options.units.flush_entries = Some(MANY);
            options.units.flush_window_ms = u64::from(u32::MAX);
        }
        // SAFETY: nobody but whoever has this value uses it, each thread as a CPU, and no device is set to work.
        let computer = unsafe { boot(board, Cpus::Threads, options) }?;
        Ok(Arc::new(Self { computer }))
    }

    /// Its platform.
    pub fn platform(&self) -> Undisturbed {
        self.computer.platform()
    }

    /// Attaches a device of it, as one that is trusted: what is unmapped under [`Protection::Deferred`] is the driver's at once.
    ///
    /// # Errors
    /// [`PeersError::Failed`] where it is attached already.
    pub fn attach(&self, protection: Protection) -> Result<Device<Undisturbed>, PeersError> {
        let failed = || PeersError::failed("dmamap", "attach a device");
        let edu = self.computer.edus().next().ok_or_else(failed)?;
        // SAFETY: nobody sets the device to work.
        let device = unsafe { self.computer.system().attach_trusted(edu, protection) };
        device.map_err(|_| failed())
    }
}
