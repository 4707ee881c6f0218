//! What a mapping was to be of, for errors to say.

use core::fmt;

use crate::addr::PhysAddr;
use crate::buffer::{DmaMemory, ScatterList};

/// Memory that was to be mapped. As small as it is, errors stay so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The last address where that is not known: no memory begins there.
    first: PhysAddr,
    len_bytes: u64,
}

impl Asked {
    const UNKNOWN: PhysAddr = PhysAddr::new(u64::MAX);

    /// Memory whose first byte is at `first`.
    pub const fn from(first: PhysAddr, len_bytes: u64) -> Self {
        Self { first, len_bytes }
    }

    /// Memory of which only the length is known.
    pub const fn bytes(len_bytes: u64) -> Self {
        Self::from(Self::UNKNOWN, len_bytes)
    }

    /// Y: where the first byte is; `None` where that is not known.
    pub fn first(&self) -> Option<PhysAddr> {
        (self.first != Self::UNKNOWN).then_some(self.first)
    }

    /// How many bytes there are in all, in however many pieces.
    pub const fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    pub(crate) fn maybe_from(first: Option<PhysAddr>, len_bytes: u64) -> Self {
        Self::from(first.unwrap_or(Self::UNKNOWN), len_bytes)
    }

    pub(crate) fn of<B: DmaMemory>(buffer: &B) -> Self {
        Self::from(buffer.segment(0).start(), buffer.len_bytes())
    }

    pub(crate) fn of_list<B: DmaMemory>(list: &ScatterList<B>) -> Self {
        // Not of the piece: that may lie outside its buffer.
        let first = list.entries().first().map(|entry| entry.buffer());
        let first = first.map(|buffer| buffer.segment(0).start());
        Self::maybe_from(first, list.len_bytes())
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first() {
            Some(first) => write!(f, "{:#x} bytes from physical {first} on", self.len_bytes),
            None => write!(f, "{:#x} bytes", self.len_bytes),
        }
    }
}
