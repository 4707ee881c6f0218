//! Mappings of a device that is given copies.

use std::sync::Arc;

use super::{Copies, Kernel};
use crate::PeersError;
use crate::undisturbed::Undisturbed;
use dmamap::buffer::DmaBuffer;
use dmamap::map::{Bidirectional, Mapping};

/// Buffers, each mapped for itself.
pub struct Ours {
    kernel: Arc<Kernel>,
    buffers: Vec<DmaBuffer<Undisturbed>>,
    mappings: Vec<Mapping<Undisturbed, DmaBuffer<Undisturbed>, Bidirectional>>,
    count: usize,
}

impl Ours {
    /// `count` buffers of `len_bytes`.
    ///
    /// # Errors
    /// [`PeersError::Failed`] without memory.
    pub fn new(kernel: &Arc<Kernel>, len_bytes: u64, count: usize) -> Result<Self, PeersError> {
        Ok(Self {
            buffers: kernel.buffers(len_bytes, count)?,
            mappings: Vec::with_capacity(count),
            kernel: kernel.clone(),
            count,
        })
    }
}

impl Copies for Ours {
    fn peer(&self) -> &'static str {
        "dmamap"
    }

    fn copy_in(&mut self) -> bool {
        for buffer in self.buffers.drain(..) {
            if let Ok(mapping) = self.kernel.device().map_single(buffer, Bidirectional) {
                self.mappings.push(mapping);
            }
        }
        self.mappings.len() == self.count
    }

    fn copy_out(&mut self) -> bool {
        for mapping in self.mappings.drain(..) {
            if let Ok(buffer) = mapping.unmap() {
                self.buffers.push(buffer);
            }
        }
        self.buffers.len() == self.count
    }

    fn fill(&mut self, value: u8) {
        for buffer in &mut self.buffers {
            buffer.as_mut_slice().fill(value);
        }
    }

    fn overwrite(&mut self, value: u8) {
        for mapping in &mut self.mappings {
            let mut view = mapping.sync_for_cpu();
            let bytes = vec![value; view.len_bytes() as usize];
            let _ = view.write_at(0, &bytes);
        }
    }

    fn holds(&self, value: u8) -> bool {
        let mut buffers = self.buffers.iter();
        buffers.all(|buffer| buffer.as_slice().iter().all(|&byte| byte == value))
    }
}
