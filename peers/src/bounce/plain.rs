//! Copies from memory to memory, and nothing else.

use std::sync::Arc;

use super::{Copies, Kernel};
use crate::PeersError;
use crate::spin_lock::Locked;
use crate::undisturbed::Undisturbed;
use dmamap::buffer::DmaBuffer;

/// What comes before each copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Nothing.
    Nothing,
    /// A lock that nobody holds is taken and left, as whoever chooses where to copy to does at least.
    Lock,
}

static LOCK: Locked<u64> = lock_api::Mutex::new(0);

/// Buffers, and as many that they are copied to.
pub struct Plain {
    buffers: Vec<DmaBuffer<Undisturbed>>,
    copies: Vec<DmaBuffer<Undisturbed>>,
    before: Before,
    // Behind the buffers, which go first.
    _kernel: Arc<Kernel>,
}

impl Plain {
    /// `count` buffers of `len_bytes`.
    ///
    /// # Errors
    /// [`PeersError::Failed`] without memory.
    pub fn new(
        kernel: &Arc<Kernel>,
        len_bytes: u64,
        count: usize,
        before: Before,
    ) -> Result<Self, PeersError> {
        Ok(Self {
            buffers: kernel.buffers(len_bytes, count)?,
            copies: kernel.buffers(len_bytes, count)?,
            before,
            _kernel: kernel.clone(),
        })
    }
}

/// The copy that is compared with: the library's, called by its name.
#[inline(never)]
fn copy(from: &DmaBuffer<Undisturbed>, to: &mut DmaBuffer<Undisturbed>, before: Before) {
    if before == Before::Lock {
        *LOCK.lock() += 1;
    }
    to.as_mut_slice().copy_from_slice(from.as_slice());
}

impl Copies for Plain {
    fn peer(&self) -> &'static str {
        match self.before {
            Before::Nothing => "memcpy",
            Before::Lock => "memcpy, one lock",
        }
    }

    fn copy_in(&mut self) -> bool {
        for (from, to) in self.buffers.iter().zip(&mut self.copies) {
            copy(from, to, self.before);
        }
        true
    }

    fn copy_out(&mut self) -> bool {
        for (from, to) in self.copies.iter().zip(&mut self.buffers) {
            copy(from, to, self.before);
        }
        true
    }

    fn fill(&mut self, value: u8) {
        for buffer in &mut self.buffers {
            buffer.as_mut_slice().fill(value);
        }
    }

    fn overwrite(&mut self, value: u8) {
        for copy in &mut self.copies {
            copy.as_mut_slice().fill(value);
        }
    }

    fn holds(&self, value: u8) -> bool {
        let mut buffers = self.buffers.iter();
        buffers.all(|buffer| buffer.as_slice().iter().all(|&byte| byte == value))
    }
}
