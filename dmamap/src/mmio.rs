//! `ioremap` and typed register access: B → C.
//!
//! [`Mmio`] is a window onto claimed registers, [`Register`] one register in it. Windows are divided between
//! owners with [`Mmio::split_off`] and [`Mmio::carve`] (an MSI-X table inside a register BAR, a doorbell per
//! queue); parts and registers share the mapping, which goes, and releases its claim, when the last of them
//! is dropped.
//!
//! Accessors come in two orders, as Linux's `readl` and `readl_relaxed`. *Ordered*
//! ([`read`](Register::read), [`write`](Register::write)): memory written before the register write is visible
//! to the device when the write arrives, and memory read after the register read is what the device had
//! written by then. *Relaxed*: in order with other accesses to the same device, not with memory.
//!
//! Accessors take `&self`. A register is not memory: every access is one whole bus transaction, and
//! accesses of several CPUs reach the device one after the other, in an order nobody chose. A driver for which that
//! order matters, or where a read has side effects, keeps such registers behind its own lock or in one owner's hands.
//!
//! ```
//! use dmamap::addr::{PhysAddr, PhysRange};
//! use dmamap::mmio::Mmio;
//! use dmamap::platform::{MemoryAttribute, Platform};
//! use dmamap::resource::ResourceTree;
//! # let machine = machine::Machine::boot(machine::MachineConfig::default())?;
//! # let platform = hosted::Hosted::boot(machine.clone())?;
//!
//! let unit = PhysRange::new(PhysAddr::new(0xfed9_0000), 0x1000)?;
//! let mut tree = ResourceTree::of(platform.machine());
//! // SAFETY: the registers of this machine's first IOMMU unit are there.
//! unsafe { tree.insert_registers("dmar0", unit)? };
//! let claim = tree.request("vtd", unit)?;
//! let registers = Mmio::ioremap(platform, claim, MemoryAttribute::Uncached)?;
//! let version = registers.register::<u32>(hw::vtd::regs::VER_REG)?;
//! assert_ne!(version.read(), u32::MAX);
//! assert!(registers.register::<u32>(0x0ffe).is_err());
//! # machine.shutdown();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod register;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ptr::NonNull;

pub use register::{Register, RegisterValue};

use crate::addr::{PhysRange, VirtAddr, VirtRange};
use crate::platform::{MachineId, MemoryAttribute, Platform, VirtualMapError};
use crate::resource::Claim;

/// Why a window or register cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MmioError {
    /// The platform could not map the registers.
    #[error("registers at physical {range} cannot be mapped: {error}")]
    Map {
        /// What was to be mapped.
        range: PhysRange,
        /// What the platform says.
        error: VirtualMapError,
    },
    /// They are registers of another machine.
    #[error("registers at physical {range} are of {machine}, not of the platform's {platform}")]
    OtherMachine {
        /// What was to be mapped.
        range: PhysRange,
        /// Whose they are.
        machine: MachineId,
        /// Where they were to be mapped.
        platform: MachineId,
    },
    /// The range asked for leaves the window.
    #[error("{len_bytes:#x} bytes at offset {offset:#x} leave the window of {window}")]
    OutOfWindow {
        /// Offset asked for.
        offset: u64,
        /// Bytes asked for.
        len_bytes: u64,
        /// Physical addresses of the window.
        window: PhysRange,
    },
    /// A register lies at a multiple of its own size.
    #[error("a register of {len_bytes} bytes cannot lie at offset {offset:#x} of {window}")]
    Misaligned {
        /// Offset asked for.
        offset: u64,
        /// Bytes of the register.
        len_bytes: u64,
        /// Physical addresses of the window.
        window: PhysRange,
    },
    /// This part of the window was given to another owner.
    #[error("offset {offset:#x} of {window} belongs to another part of it")]
    Carved {
        /// Offset asked for.
        offset: u64,
        /// Physical addresses of the window.
        window: PhysRange,
    },
}

/// One mapping, alive as long as any window part or register of it.
struct Mapping<P: Platform> {
    platform: P,
    start: NonNull<u8>,
    virt: VirtRange,
    claim: Claim,
}

// SAFETY: the pointer is only used for register accesses, which the platform's window answers from any CPU; the
// claim and the platform are `Send`.
unsafe impl<P: Platform> Send for Mapping<P> {}
// SAFETY: as above; shared access does nothing but whole register accesses.
unsafe impl<P: Platform> Sync for Mapping<P> {}

impl<P: Platform> Drop for Mapping<P> {
    fn drop(&mut self) {
        // SAFETY: `start` and the length are those of the one `ioremap` in `Mmio::ioremap`; every `Mmio` and
        // `Register` holds this mapping alive, so none of them is left. The claim is released after this.
        unsafe {
            self.platform
                .iounmap(self.start, self.claim.range().len_bytes())
        }
    }
}

/// A window onto registers: C.
///
/// Holding one proves that its registers are claimed and mapped. It is not `Clone`: what is split off
/// belongs to the part alone.
pub struct Mmio<P: Platform> {
    mapping: Arc<Mapping<P>>,
    /// Offset of this part in the mapping.
    start: u64,
    len_bytes: u64,
    /// Offsets in the mapping, first and end, of parts given to others.
    carved: Vec<(u64, u64)>,
}

impl<P: Platform> Mmio<P> {
    /// Maps claimed registers. The claim ends with the last part of the window.
    ///
    /// # Errors
    /// [`MmioError::Map`] if the platform cannot, [`MmioError::OtherMachine`] if the claim is not of its machine; the claim
    /// is then released.
    pub fn ioremap(
        platform: P,
        claim: Claim,
        attribute: MemoryAttribute,
    ) -> Result<Self, MmioError> {
        let range = claim.range();
        let unmapped = |error| MmioError::Map { range, error };
        if claim.machine() != platform.machine() {
            return Err(MmioError::OtherMachine {
                range,
                machine: claim.machine(),
                platform: platform.machine(),
            });
        }
        // SAFETY: the claim proves that these are registers of the platform's machine, and ours.
        let start = unsafe { platform.ioremap(range, attribute) }.map_err(unmapped)?;
        let len_bytes = range.len_bytes();
        let virt = VirtRange::new(VirtAddr::from_ptr(start.as_ptr()), len_bytes)
            .map_err(|_| unmapped(VirtualMapError::OutOfAddressSpace { len_bytes }))?;
        let mapping = Arc::new(Mapping {
            platform,
            start,
            virt,
            claim,
        });
        Ok(Self {
            mapping,
            start: 0,
            len_bytes,
            carved: Vec::new(),
        })
    }

    /// Length of this part.
    pub fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Whether nothing is left in this part.
    pub fn is_empty(&self) -> bool {
        self.len_bytes == 0
    }

    /// The physical addresses behind it: B.
    pub fn phys(&self) -> PhysRange {
        let whole = self.mapping.claim.range();
        whole.slice(self.start, self.len_bytes).unwrap_or(whole)
    }

    /// The virtual addresses it has: C. For printing; only [`Register`]s reach it.
    pub fn virt(&self) -> VirtRange {
        let whole = self.mapping.virt;
        whole.slice(self.start, self.len_bytes).unwrap_or(whole)
    }

    /// The register of type `T` at `offset`. May be called more than once for the same register.
    ///
    /// # Errors
    /// [`MmioError::OutOfWindow`], [`MmioError::Misaligned`] (against the physical address), or
    /// [`MmioError::Carved`].
    pub fn register<T: RegisterValue>(&self, offset: u64) -> Result<Register<P, T>, MmioError> {
        let at = self.locate(offset, T::LEN_BYTES)?;
        let phys = self.mapping.claim.range().start().as_u64() + at;
        let pointer = self
            .mapping
            .start
            .as_ptr()
            .wrapping_add(at as usize)
            .cast::<T>();
        let misaligned = !phys.is_multiple_of(T::LEN_BYTES) || !pointer.is_aligned();
        match NonNull::new(pointer) {
            Some(pointer) if !misaligned => {
                // SAFETY: the register is aligned, as just checked, and its bytes are within the mapping (`locate`).
                Ok(unsafe { Register::new(Arc::clone(&self.mapping), pointer) })
            }
            _ => Err(MmioError::Misaligned {
                offset,
                len_bytes: T::LEN_BYTES,
                window: self.phys(),
            }),
        }
    }

    /// Divides the window: this part keeps what lies before `offset`, the returned one owns the rest.
    ///
    /// # Errors
    /// [`MmioError::OutOfWindow`] past the end; [`MmioError::Carved`] if something was carved from
    /// the rest.
    pub fn split_off(&mut self, offset: u64) -> Result<Self, MmioError> {
        let out = MmioError::OutOfWindow {
            offset,
            len_bytes: 0,
            window: self.phys(),
        };
        let rest = self.len_bytes.checked_sub(offset).ok_or(out)?;
        let part = self.part(offset, rest)?;
        self.len_bytes = offset;
        Ok(part)
    }

    /// Gives `len_bytes` bytes at `offset` to an owner of their own; here they can no longer be reached.
    ///
    /// # Errors
    /// [`MmioError::OutOfWindow`] or [`MmioError::Carved`] where they are not this part's to give.
    pub fn carve(&mut self, offset: u64, len_bytes: u64) -> Result<Self, MmioError> {
        let part = self.part(offset, len_bytes)?;
        self.carved.push((part.start, part.start + part.len_bytes));
        Ok(part)
    }

    /// The machine that has the registers.
    pub(crate) fn machine(&self) -> MachineId {
        self.mapping.claim.machine()
    }

    /// Where this part begins: for those to whom its owner vouched that there is memory.
    pub(crate) fn pointer(&self) -> NonNull<u8> {
        // SAFETY: the part is inside the mapping.
        unsafe { self.mapping.start.add(self.start as usize) }
    }

    /// Whether no part of it was [carved](Self::carve) out.
    pub(crate) fn is_undivided(&self) -> bool {
        self.carved.is_empty()
    }

    fn part(&self, offset: u64, len_bytes: u64) -> Result<Self, MmioError> {
        let start = self.locate(offset, len_bytes)?;
        Ok(Self {
            mapping: Arc::clone(&self.mapping),
            start,
            len_bytes,
            carved: Vec::new(),
        })
    }

    /// The offset in the mapping of `len_bytes` bytes that are this part's.
    fn locate(&self, offset: u64, len_bytes: u64) -> Result<u64, MmioError> {
        match offset.checked_add(len_bytes) {
            Some(end) if end <= self.len_bytes => {}
            _ => {
                let window = self.phys();
                return Err(MmioError::OutOfWindow {
                    offset,
                    len_bytes,
                    window,
                });
            }
        }
        let (start, end) = (self.start + offset, self.start + offset + len_bytes);
        if self
            .carved
            .iter()
            .any(|&(first, carved_end)| start < carved_end && first < end)
        {
            return Err(MmioError::Carved {
                offset,
                window: self.phys(),
            });
        }
        Ok(start)
    }
}

impl<P: Platform> fmt::Debug for Mmio<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mmio({:?} at {:?})", self.phys(), self.virt())
    }
}
