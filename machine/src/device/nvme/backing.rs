//! The namespace's blocks over a file of any length.
//!
//! A disk has whole blocks, a file does not: the bytes of the last block past the file's end read as zero, and
//! writes to them are dropped, so that the file keeps its exact length.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use super::config::Medium;

/// Bytes in one logical block.
pub const BLOCK_BYTES: u64 = 512;

/// Why blocks could not be moved between the file and the disk.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackingError {
    /// The file has become shorter since the disk was made.
    #[error("the file ends at byte {offset}, it had {len_bytes} bytes when the disk was made")]
    Shrank { offset: u64, len_bytes: u64 },
    /// The host could not read the file.
    #[error("reading {len_bytes} bytes at {offset}: {source}")]
    Read {
        offset: u64,
        len_bytes: usize,
        source: io::Error,
    },
    /// The host could not write the file.
    #[error("writing {len_bytes} bytes at {offset}: {source}")]
    Write {
        offset: u64,
        len_bytes: usize,
        source: io::Error,
    },
    /// The host has no room for the file.
    #[error("no room for {len_bytes} bytes at {offset}: {source}")]
    Full {
        offset: u64,
        len_bytes: usize,
        source: io::Error,
    },
    /// The host could not bring the file to stable storage.
    #[error("flushing: {0}")]
    Flush(io::Error),
    /// The disk was made read-only.
    #[error("the disk is read-only")]
    ReadOnly,
}

/// A file seen as blocks. Callers have checked that the blocks they name exist.
pub(crate) struct Backing {
    file: File,
    len_bytes: u64,
    medium: Medium,
    /// Whether something was written since the last flush.
    dirty: AtomicBool,
}

impl Backing {
    /// The first `len_bytes` bytes of `file` as blocks. A writable regular file is made exactly that long.
    pub(crate) fn new(file: File, len_bytes: u64, medium: Medium) -> io::Result<Self> {
        if medium == Medium::ReadWrite {
            let metadata = file.metadata()?;
            if metadata.is_file() && metadata.len() != len_bytes {
                file.set_len(len_bytes)?;
            }
        }
        Ok(Self {
            file,
            len_bytes,
            medium,
            dirty: AtomicBool::new(false),
        })
    }

    /// Number of blocks: the last one may be partly beyond the file.
    pub(crate) fn blocks(&self) -> u64 {
        self.len_bytes.div_ceil(BLOCK_BYTES)
    }

    /// Fills `into`, a multiple of the block size, from `block` on.
    pub(crate) fn read(&self, block: u64, into: &mut [u8]) -> Result<(), BackingError> {
        let (offset, in_file) = self.clip(block, into.len());
        let (data, beyond) = into.split_at_mut(in_file);
        let mut done = 0;
        while done < data.len() {
            match self.file.read_at(&mut data[done..], offset + done as u64) {
                Ok(0) => {
                    let offset = offset + done as u64;
                    return Err(BackingError::Shrank {
                        offset,
                        len_bytes: self.len_bytes,
                    });
                }
                Ok(count) => done += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(BackingError::Read {
                        offset,
                        len_bytes: in_file,
                        source,
                    });
                }
            }
        }
        beyond.fill(0);
        Ok(())
    }

    /// Stores `from`, a multiple of the block size, from `block` on.
    pub(crate) fn write(&self, block: u64, from: &[u8]) -> Result<(), BackingError> {
        if self.medium == Medium::ReadOnly {
            return Err(BackingError::ReadOnly);
        }
        let (offset, in_file) = self.clip(block, from.len());
        self.dirty.store(true, Ordering::Relaxed);
        self.file
            .write_all_at(&from[..in_file], offset)
            .map_err(|source| match source.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                    BackingError::Full {
                        offset,
                        len_bytes: in_file,
                        source,
                    }
                }
                _ => BackingError::Write {
                    offset,
                    len_bytes: in_file,
                    source,
                },
            })
    }

    /// Brings what was written to stable storage.
    pub(crate) fn flush(&self) -> Result<(), BackingError> {
        if !self.dirty.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        match self.file.sync_data() {
            // Character devices have nothing to synchronise and say so.
            Err(error) if error.kind() != ErrorKind::InvalidInput => {
                self.dirty.store(true, Ordering::Relaxed);
                Err(BackingError::Flush(error))
            }
            _ => Ok(()),
        }
    }

    /// Byte offset of `block` and how many of `len` bytes from there lie within the file.
    fn clip(&self, block: u64, len: usize) -> (u64, usize) {
        let offset = block * BLOCK_BYTES;
        let left = self.len_bytes.saturating_sub(offset);
        (offset, usize::try_from(left).unwrap_or(usize::MAX).min(len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_of(len_bytes: usize) -> File {
        let file = tempfile::tempfile().unwrap();
        let content: Vec<u8> = (0..len_bytes).map(|i| (i % 251) as u8 + 1).collect();
        file.write_all_at(&content, 0).unwrap();
        file
    }

    #[test]
    fn bytes_past_the_end_of_the_file_read_as_zero() {
        for len in [1, 511, 512, 513] {
            let backing = Backing::new(file_of(len), len as u64, Medium::ReadOnly).unwrap();
            assert_eq!(backing.blocks(), len.div_ceil(512) as u64);
            let mut blocks = vec![0xff; backing.blocks() as usize * 512];
            backing.read(0, &mut blocks).unwrap();
            assert!(
                blocks[..len]
                    .iter()
                    .enumerate()
                    .all(|(i, &b)| b == (i % 251) as u8 + 1)
            );
            assert!(blocks[len..].iter().all(|&b| b == 0), "{len}");
        }
    }

    #[test]
    fn writes_past_the_end_keep_the_length() {
        for len in [1u64, 511, 512, 513] {
            let file = tempfile::tempfile().unwrap();
            let view = file.try_clone().unwrap();
            let backing = Backing::new(file, len, Medium::ReadWrite).unwrap();
            let blocks = vec![7; backing.blocks() as usize * 512];
            backing.write(0, &blocks).unwrap();
            backing.flush().unwrap();
            assert_eq!(view.metadata().unwrap().len(), len);
            let mut stored = vec![0; len as usize];
            view.read_exact_at(&mut stored, 0).unwrap();
            assert!(stored.iter().all(|&b| b == 7));
        }
    }

    #[test]
    fn a_file_that_shrank_is_an_error_and_not_zeroes() {
        let file = file_of(1024);
        let view = file.try_clone().unwrap();
        let backing = Backing::new(file, 1024, Medium::ReadOnly).unwrap();
        view.set_len(700).unwrap();
        let mut block = [0; 512];
        backing.read(0, &mut block).unwrap();
        let error = backing.read(1, &mut block).unwrap_err();
        assert!(
            matches!(
                error,
                BackingError::Shrank {
                    offset: 700,
                    len_bytes: 1024
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn a_full_disk_is_told_from_other_write_errors() {
        let full = File::options()
            .read(true)
            .write(true)
            .open("/dev/full")
            .unwrap();
        let backing = Backing::new(full, 512, Medium::ReadWrite).unwrap();
        assert!(matches!(
            backing.write(0, &[0; 512]),
            Err(BackingError::Full { .. })
        ));
        backing.flush().unwrap();
    }

    #[test]
    fn a_read_only_disk_refuses_writes() {
        let backing = Backing::new(file_of(512), 512, Medium::ReadOnly).unwrap();
        assert!(matches!(
            backing.write(0, &[0; 512]),
            Err(BackingError::ReadOnly)
        ));
    }
}
