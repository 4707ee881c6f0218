//! A disk cut into commands, dealt out to the queues in turn.

use dmamap::platform::Platform;
use drivers::nvme::Blocks;

use super::{Disk, DiskError, DiskOptions, IN_FLIGHT_BYTES, MAX_CHUNK_BYTES, MIN_CHUNK_BYTES};

/// One command's share of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    /// The queue it goes to.
    pub(super) queue: usize,
    /// The blocks it moves.
    pub(super) blocks: Blocks,
    /// First byte on the disk.
    pub(super) at_byte: u64,
    /// Bytes of it that are wanted: fewer than its blocks have in the last one.
    pub(super) len_bytes: usize,
}

/// How a disk is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) block_bytes: u64,
    pub(super) disk_blocks: u64,
    pub(super) max_transfer_bytes: u64,
    pub(super) queues: usize,
    pub(super) depth: usize,
}

impl Geometry {
    pub(super) fn of<P: Platform>(disk: &Disk<P>) -> Self {
        Self {
            block_bytes: disk.namespace().block_bytes(),
            disk_blocks: disk.namespace().blocks(),
            max_transfer_bytes: disk.max_transfer_bytes(),
            queues: disk.queue_count(),
            depth: disk.queue_depth(),
        }
    }

    /// Commands that can be outstanding.
    pub(super) fn commands_in_flight(&self) -> usize {
        self.queues * self.depth
    }

    /// Bytes of a full command: a whole number of blocks, at least one.
    fn chunk_bytes(&self, wanted: Option<u64>) -> u64 {
        let most = MAX_CHUNK_BYTES
            .min(self.max_transfer_bytes)
            .max(self.block_bytes);
        let least = MIN_CHUNK_BYTES.max(self.block_bytes).min(most);
        let fair = IN_FLIGHT_BYTES / self.commands_in_flight().max(1) as u64;
        let bytes = wanted.unwrap_or(fair).clamp(least, most);
        bytes - bytes % self.block_bytes
    }
}

/// The chunks of a disk, in its order.
pub(super) struct Chunks {
    geometry: Geometry,
    chunk_bytes: u64,
    at_byte: u64,
    end_byte: u64,
    index: usize,
}

impl Chunks {
    pub(super) fn new(geometry: Geometry, options: &DiskOptions) -> Result<Self, DiskError> {
        let disk_bytes = geometry.disk_blocks.saturating_mul(geometry.block_bytes);
        let end_byte = options.len_bytes.unwrap_or(disk_bytes);
        if end_byte > disk_bytes {
            return Err(DiskError::DiskTooSmall {
                wanted_bytes: end_byte,
                disk_bytes,
            });
        }
        let chunk_bytes = geometry.chunk_bytes(options.chunk_bytes);
        Ok(Self {
            geometry,
            chunk_bytes,
            at_byte: 0,
            end_byte,
            index: 0,
        })
    }

    pub(super) fn chunk_bytes(&self) -> u64 {
        self.chunk_bytes
    }

    pub(super) fn len_bytes(&self) -> u64 {
        self.end_byte
    }

    /// Number of chunks that are left.
    pub(super) fn remaining(&self) -> u64 {
        (self.end_byte - self.at_byte).div_ceil(self.chunk_bytes)
    }
}

impl Iterator for Chunks {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        let len_bytes = self.chunk_bytes.min(self.end_byte - self.at_byte);
        if len_bytes == 0 {
            return None;
        }
        let block_bytes = self.geometry.block_bytes;
        let chunk = Chunk {
            queue: self.index % self.geometry.queues,
            blocks: Blocks {
                first: self.at_byte / block_bytes,
                // At most MAX_CHUNK_BYTES, or one block.
                count: len_bytes.div_ceil(block_bytes) as u32,
            },
            at_byte: self.at_byte,
            len_bytes: len_bytes as usize,
        };
        self.at_byte += len_bytes;
        self.index += 1;
        Some(chunk)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    const GEOMETRY: Geometry = Geometry {
        block_bytes: 512,
        disk_blocks: 1 << 20,
        max_transfer_bytes: 1 << 20,
        queues: 1,
        depth: 32,
    };

    fn chunk_bytes(depth: usize, queues: usize) -> u64 {
        Geometry {
            depth,
            queues,
            ..GEOMETRY
        }
        .chunk_bytes(None)
    }

    #[test]
    fn many_commands_are_small_ones() {
        assert_eq!(chunk_bytes(1, 1), MAX_CHUNK_BYTES);
        assert_eq!(chunk_bytes(32, 1), MAX_CHUNK_BYTES);
        assert_eq!(chunk_bytes(256, 1), 64 << 10);
        assert_eq!(chunk_bytes(256, 4), 16 << 10);
        assert_eq!(chunk_bytes(256, 8), 8 << 10);
    }

    #[test]
    fn a_chunk_is_whole_blocks_within_what_the_controller_takes() {
        let small = Geometry {
            max_transfer_bytes: 8192,
            ..GEOMETRY
        };
        assert_eq!(small.chunk_bytes(None), 8192);
        assert_eq!(GEOMETRY.chunk_bytes(Some(5000)), 4608);
        assert_eq!(GEOMETRY.chunk_bytes(Some(1)), MIN_CHUNK_BYTES);
        let large_blocks = Geometry {
            block_bytes: 65536,
            ..GEOMETRY
        };
        assert_eq!(large_blocks.chunk_bytes(Some(1)), 65536);
    }

    #[test]
    fn chunks_cover_the_disk_once_and_take_turns_on_the_queues() {
        let geometry = Geometry {
            queues: 3,
            disk_blocks: 1000,
            ..GEOMETRY
        };
        let options = DiskOptions {
            len_bytes: Some(1000 * 512 - 100),
            chunk_bytes: Some(8192),
        };
        let chunks = Chunks::new(geometry, &options).unwrap();
        assert_eq!(chunks.remaining(), 63);
        let chunks: Vec<_> = chunks.collect();
        assert_eq!(chunks.len(), 63);
        let mut next = 0;
        for (index, chunk) in chunks.iter().enumerate() {
            assert_eq!(chunk.queue, index % 3);
            assert_eq!(chunk.blocks.first, next);
            assert_eq!(chunk.at_byte, next * 512);
            next += u64::from(chunk.blocks.count);
        }
        assert_eq!(next, 1000);
        assert_eq!(
            chunks.iter().map(|chunk| chunk.len_bytes).sum::<usize>(),
            511_900
        );
    }

    #[test]
    fn more_than_the_disk_has_is_refused() {
        let options = DiskOptions {
            len_bytes: Some((512 << 20) + 1),
            chunk_bytes: None,
        };
        assert!(matches!(
            Chunks::new(GEOMETRY, &options),
            Err(DiskError::DiskTooSmall { .. })
        ));
    }

    #[test]
    fn no_bytes_make_no_chunk() {
        let options = DiskOptions {
            len_bytes: Some(0),
            chunk_bytes: None,
        };
        assert_eq!(Chunks::new(GEOMETRY, &options).unwrap().count(), 0);
    }
}
