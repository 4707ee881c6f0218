//! A machine with VT-d units that answer [at once](machine::at_once), booted, and its educational device attached.
//!
//! ```
//! use counts::computer::Booted;
//! use dmamap::system::Protection;
//!
//! let booted = Booted::get()?;
//! let device = booted.attach(Protection::Strict)?;
//! assert_eq!(device.page_bytes(), 4096);
//! # Ok::<(), counts::CountsError>(())
//! ```

use std::sync::{Arc, OnceLock};

use dmamap::device::Device;
use dmamap::pci::Function;
use dmamap::system::Protection;
use hosted::Hosted;
use journeys::Computer;
use journeys::boot::{BootOptions, MachineDescription, boot};
use machine::at_once::AtOnce;
use machine::{Machine, MachineConfig};

use crate::CountsError;
use crate::plain::Plain;

/// Bytes of its memory: little, as the host maps and scans it.
const RAM_BYTES: u64 = 1 << 30;

/// How many unmaps share a flush.
pub const FLUSH_ENTRIES: u32 = 256;

/// The one booted machine of this process.
pub struct Booted {
    computer: Computer<Plain>,
}

static BOOTED: OnceLock<Booted> = OnceLock::new();

impl Booted {
    /// The machine, which boots when it is asked for first.
    ///
    /// # Errors
    /// [`CountsError::SetUp`].
    pub fn get() -> Result<&'static Self, CountsError> {
        match BOOTED.get() {
            Some(booted) => Ok(booted),
            None => {
                let booted = Self::boot()?;
                Ok(BOOTED.get_or_init(|| booted))
            }
        }
    }

    fn boot() -> Result<Self, CountsError> {
        let config = MachineConfig::default().with_ram(RAM_BYTES);
        let machine = Machine::boot(config).map_err(CountsError::set_up("the machine"))?;
        let board = Arc::new(AtOnce::new(machine));
        let kernel = Hosted::boot_with_cpus(board, 2).map_err(CountsError::set_up("the kernel"))?;
        let bridges = kernel.host_bridges();
        let mut bridges = bridges.map_err(CountsError::set_up("the host bridge"))?;
        let missing = |what| CountsError::SetUp {
            what,
            error: "firmware does not name it".into(),
        };
        let description = MachineDescription {
            rsdp: kernel.rsdp().ok_or_else(|| missing("the tables"))?,
            host_bridge: bridges.pop().ok_or_else(|| missing("the host bridge"))?,
        };
        let mut options = BootOptions::default();
        options.units.flush_entries = Some(FLUSH_ENTRIES);
        let platform = Plain::over(kernel).ok_or_else(|| missing("another machine"))?;
        // SAFETY: the description is the machine's own, which exists for this alone.
        let computer = unsafe { boot(platform, &description, &kernel, options) };
        let computer = computer.map_err(CountsError::set_up("the boot"))?;
        Ok(Self { computer })
    }

    /// Attaches the device, which nobody vouches for.
    ///
    /// # Errors
    /// [`CountsError::SetUp`].
    pub fn attach(&self, protection: Protection) -> Result<Device<Plain>, CountsError> {
        let attached = self.computer.system().attach(self.edu()?, protection);
        attached.map_err(CountsError::set_up("the device"))
    }

    /// Attaches the device as one that is trusted.
    ///
    /// # Errors
    /// [`CountsError::SetUp`].
    pub fn attach_trusted(&self, protection: Protection) -> Result<Device<Plain>, CountsError> {
        // SAFETY: nobody starts it, so it accesses nothing.
        let attached = unsafe {
            self.computer
                .system()
                .attach_trusted(self.edu()?, protection)
        };
        attached.map_err(CountsError::set_up("the device"))
    }

    /// The platform.
    pub fn platform(&self) -> Plain {
        self.computer.platform()
    }

    fn edu(&self) -> Result<&Function<Plain>, CountsError> {
        let mut edus = self.computer.edus();
        edus.next().ok_or_else(|| CountsError::SetUp {
            what: "the device",
            error: "it was not found".into(),
        })
    }
}
