//! Memory as an IOMMU's walks see it, and its queues where these do as walks do: through the CPU's caches, or beside them.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use board::ram::{OutsideRam, Ram};

use super::{CpuCaches, Snooping};
use crate::temper::Temper;

/// One unit's view of memory.
#[derive(Debug)]
pub struct MemoryView {
    /// Memory as the CPU sees it.
    ram: Arc<Ram>,
    /// What stands between, where the unit does not snoop.
    caches: Option<Arc<CpuCaches>>,
}

impl MemoryView {
    /// A view of `ram`. For one that does not snoop, caches of its own are made, of a random temper of this `seed`.
    ///
    /// # Panics
    /// When the host has no memory for a second copy.
    pub fn new(ram: Arc<Ram>, snooping: Snooping, seed: u64) -> Self {
        match snooping {
            Snooping::On => Self { ram, caches: None },
            Snooping::Off => {
                let caches = CpuCaches::new(ram, Temper::Random(seed), seed);
                Self::beside(caches.expect("the host has memory for a second copy"))
            }
        }
    }

    /// A view of memory beneath `caches`.
    pub fn beside(caches: Arc<CpuCaches>) -> Self {
        Self {
            ram: Arc::clone(caches.cached()),
            caches: Some(caches),
        }
    }

    /// Whether stores are seen at once.
    pub fn snooping(&self) -> Snooping {
        match self.caches {
            Some(_) => Snooping::Off,
            None => Snooping::On,
        }
    }

    /// Loads the word at `phys`, a multiple of 8.
    ///
    /// # Errors
    /// [`OutsideRam`] if there is no memory, or `phys` is no multiple of 8.
    pub fn load_u64(&self, phys: u64) -> Result<u64, OutsideRam> {
        match &self.caches {
            None => self.ram.load_u64(phys),
            Some(caches) => caches.load_memory(phys),
        }
    }

    /// The words from `phys` on, a multiple of 8, in the host's byte order; none where a load may see another one than the
    /// CPU's, or not all of them are memory.
    pub(crate) fn words(&self, phys: u64, count: usize) -> Option<&[AtomicU64]> {
        match self.caches {
            None => self.ram.words(phys, count).ok(),
            Some(_) => None,
        }
    }

    /// Loads two words that one access fetches: `phys`, a multiple of 16, and the next.
    ///
    /// # Errors
    /// [`OutsideRam`] if there is no memory, or `phys` is no multiple of 16.
    pub fn load_u128(&self, phys: u64) -> Result<[u64; 2], OutsideRam> {
        if !phys.is_multiple_of(16) {
            return Err(OutsideRam {
                phys,
                len_bytes: 16,
            });
        }
        // Hardware fetches both at once: read again while a writer is in between.
        let mut low = self.load_u64(phys)?;
        loop {
            let high = self.load_u64(phys + 8)?;
            let again = self.load_u64(phys)?;
            if again == low {
                return Ok([low, high]);
            }
            low = again;
        }
    }

    /// Stores the word at `phys`, a multiple of 8, after all stores before it.
    ///
    /// # Errors
    /// [`OutsideRam`] if there is no memory, or `phys` is no multiple of 8.
    pub fn store_u64(&self, phys: u64, word: u64) -> Result<(), OutsideRam> {
        match &self.caches {
            None => self.ram.store_u64(phys, word),
            Some(caches) => caches.store_memory(phys, 8, |memory| memory.store_u64(phys, word)),
        }
    }

    /// Stores the word at `phys`, a multiple of 4, after all stores before it.
    ///
    /// # Errors
    /// [`OutsideRam`] if there is no memory, or `phys` is no multiple of 4.
    pub fn store_u32(&self, phys: u64, word: u32) -> Result<(), OutsideRam> {
        match &self.caches {
            None => self.ram.store_u32(phys, word),
            Some(caches) => caches.store_memory(phys, 4, |memory| memory.store_u32(phys, word)),
        }
    }

    /// Sets `bits` in the word at `phys`, which was loaded as `word`; false if it is another one by now. For units that
    /// snoop: others would write what the CPU overwrites.
    ///
    /// # Errors
    /// [`OutsideRam`] if there is no memory, or `phys` is no multiple of 8.
    pub fn set_bits(&self, phys: u64, word: u64, bits: u64) -> Result<bool, OutsideRam> {
        let before = self.ram.compare_exchange_u64(phys, word, word | bits)?;
        Ok(before.is_ok())
    }

    /// The CPU wrote these dirty lines back: every line that holds a byte of the range. For a view whose caches nobody
    /// else has; a machine's are told once.
    pub fn clean(&self, phys: u64, len_bytes: u64) {
        if let Some(caches) = &self.caches {
            caches.clean(phys, len_bytes);
        }
    }

    /// The kernel freed these frames: what memory held of them is poison again. As for [`clean`](Self::clean).
    pub fn frames_freed(&self, phys: u64, len_bytes: u64) {
        if let Some(caches) = &self.caches {
            caches.frames_freed(phys, len_bytes);
        }
    }
}
