//! What a mapping was to be of, for errors to say.

use core::fmt;

use crate::addr::PhysAddr;
use crate::buffer::{DmaMemory, ScatterList};

/// Memory that was to be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Y: where the first byte is; `None` where that is not known.
    pub first: Option<PhysAddr>,
    /// How many bytes there are in all, in however many pieces.
    pub len_bytes: u64,
}

impl Asked {
    pub(crate) const fn from(first: PhysAddr, len_bytes: u64) -> Self {
        Self {
            first: Some(first),
            len_bytes,
        }
    }

    pub(crate) const fn bytes(len_bytes: u64) -> Self {
        Self {
            first: None,
            len_bytes,
        }
    }

    pub(crate) fn of<B: DmaMemory>(buffer: &B) -> Self {
        Self::from(buffer.segment(0).start(), buffer.len_bytes())
    }

    pub(crate) fn of_list<B: DmaMemory>(list: &ScatterList<B>) -> Self {
        Self {
            // Not of the piece: that may lie outside its buffer.
            first: list
                .entries()
                .first()
                .map(|entry| entry.buffer().segment(0).start()),
            len_bytes: list.len_bytes(),
        }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first {
            Some(first) => write!(f, "{:#x} bytes from physical {first} on", self.len_bytes),
            None => write!(f, "{:#x} bytes", self.len_bytes),
        }
    }
}
