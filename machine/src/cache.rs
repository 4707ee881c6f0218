//! Memory as an IOMMU's walks see it: with the CPU's caches in between, or not.
//!
//! A unit that snoops sees every store at once. For one that does not, [`MemoryView`] keeps a second copy of
//! memory, in whole cache lines: a line changes there when the CPU cleans it, or at a moment the dice
//! choose, as real caches write dirty lines back when they like. Memory that was never cleaned since it
//! was last freed reads as [`POISON`]: present, with reserved bits set, in every format's entries.
//!
//! ```
//! use board::ram::Ram;
//! use machine::cache::{MemoryView, Snooping};
//!
//! let ram = Ram::new(&[0..0x10000])?;
//! let view = MemoryView::new(ram.clone(), Snooping::Off, 1);
//! ram.store_u64(0x1000, 0x2003)?;
//! view.clean(0x1000, 8);
//! assert_eq!(view.load_u64(0x1000)?, 0x2003);
//! # Ok::<(), board::ram::RamError>(())
//! ```

use std::sync::Arc;

use board::ram::{OutsideRam, Ram};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use crate::temper::Dice;

/// Bytes in a cache line.
pub const LINE_BYTES: u64 = 64;

/// Every byte of memory that was never written back.
pub const POISON_BYTE: u8 = 0xf7;

/// A word of memory that was never written back: present bits and reserved bits are set.
pub const POISON: u64 = u64::from_ne_bytes([POISON_BYTE; 8]);

const FRAME_BYTES: u64 = 4096;
const LINE_LEN: usize = LINE_BYTES as usize;

/// A load in this many finds that its line was just written back.
const EVICTION_ONE_IN: u64 = 16;

/// Whether accesses of hardware look into the CPU's caches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Snooping {
    /// They do: every store is seen.
    #[default]
    On,
    /// They do not: only what reached memory is seen.
    Off,
}

/// One unit's view of memory.
#[derive(Debug)]
pub struct MemoryView {
    ram: Arc<Ram>,
    /// What reached memory, where the unit does not snoop.
    written_back: Option<Mutex<FxHashMap<u64, Frame>>>,
    dice: Dice,
}

/// A frame's lines as last written back.
#[derive(Debug)]
struct Frame {
    bytes: Box<[u8; FRAME_BYTES as usize]>,
}

impl Default for Frame {
    fn default() -> Self {
        Self {
            bytes: Box::new([POISON_BYTE; FRAME_BYTES as usize]),
        }
    }
}

impl Frame {
    fn word(&self, phys: u64) -> u64 {
        let offset = (phys % FRAME_BYTES) as usize;
        let bytes = self.bytes[offset..].first_chunk().copied();
        u64::from_le_bytes(bytes.unwrap_or([POISON_BYTE; 8]))
    }

    fn write_back(&mut self, ram: &Ram, line: u64) {
        let offset = (line % FRAME_BYTES) as usize;
        // Ordered word by word; outside RAM nothing changes.
        let _ = ram.read(line, &mut self.bytes[offset..offset + LINE_LEN]);
    }
}

impl MemoryView {
    /// A view of `ram`; `seed` decides when dirty lines are written back by themselves.
    pub fn new(ram: Arc<Ram>, snooping: Snooping, seed: u64) -> Self {
        let written_back = match snooping {
            Snooping::On => None,
            Snooping::Off => Some(Mutex::default()),
        };
        Self {
            ram,
            written_back,
            dice: Dice::new(seed),
        }
    }

    /// Whether stores are seen at once.
    pub fn snooping(&self) -> Snooping {
        if self.written_back.is_some() {
            Snooping::Off
        } else {
            Snooping::On
        }
    }

    /// Loads the word at `phys`, a multiple of 8.
    ///
    /// # Errors
    /// [`OutsideRam`] if there is no memory, or `phys` is no multiple of 8.
    pub fn load_u64(&self, phys: u64) -> Result<u64, OutsideRam> {
        let newest = self.ram.load_u64(phys)?;
        let Some(written_back) = &self.written_back else {
            return Ok(newest);
        };
        let mut frames = written_back.lock();
        if self.dice.one_in(EVICTION_ONE_IN) {
            let line = phys / LINE_BYTES * LINE_BYTES;
            frames
                .entry(phys / FRAME_BYTES)
                .or_default()
                .write_back(&self.ram, line);
        }
        Ok(frames
            .get(&(phys / FRAME_BYTES))
            .map_or(POISON, |frame| frame.word(phys)))
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

    /// Sets `bits` in the word at `phys`, which was loaded as `word`; false if it is another one by now. For units that
    /// snoop: others would write what the CPU overwrites.
    ///
    /// # Errors
    /// [`OutsideRam`] if there is no memory, or `phys` is no multiple of 8.
    pub fn set_bits(&self, phys: u64, word: u64, bits: u64) -> Result<bool, OutsideRam> {
        let before = self.ram.compare_exchange_u64(phys, word, word | bits)?;
        Ok(before.is_ok())
    }

    /// The CPU wrote these dirty lines back: every line that holds a byte of the range.
    pub fn clean(&self, phys: u64, len_bytes: u64) {
        let Some(written_back) = &self.written_back else {
            return;
        };
        let mut frames = written_back.lock();
        let last = phys.saturating_add(len_bytes.saturating_sub(1));
        let mut line = phys / LINE_BYTES * LINE_BYTES;
        while len_bytes != 0 && line <= last && self.ram.contains(line, LINE_BYTES) {
            frames
                .entry(line / FRAME_BYTES)
                .or_default()
                .write_back(&self.ram, line);
            line += LINE_BYTES;
        }
    }

    /// The kernel freed these frames: what memory held of them is poison again.
    pub fn frames_freed(&self, phys: u64, len_bytes: u64) {
        let Some(written_back) = &self.written_back else {
            return;
        };
        let mut frames = written_back.lock();
        for frame in phys / FRAME_BYTES..phys.saturating_add(len_bytes).div_ceil(FRAME_BYTES) {
            frames.remove(&frame);
        }
    }
}

#[cfg(test)]
mod tests;
