//! Transfers between a file of the host and memory, without a copy in between: what a disk's medium does.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use super::{OutsideRam, Ram};

/// Most runs one call hands to the host (`IOV_MAX` on Linux).
const MAX_RUNS: usize = 1024;

/// A run of physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RamRun {
    /// First physical address.
    pub phys: u64,
    /// Its length.
    pub len_bytes: u64,
}

impl Ram {
    /// Reads from `offset` of `file` on into `runs`, one after the other. Returns how many bytes the file had;
    /// fewer than asked for only at its end.
    ///
    /// # Errors
    /// What the host says; `InvalidInput` with [`OutsideRam`] inside if a run is not memory.
    pub fn read_from_file(&self, runs: &[RamRun], file: &File, offset: u64) -> io::Result<u64> {
        self.transfer(runs, file, offset, libc::preadv64)
    }

    /// Writes `runs`, one after the other, to `file` from `offset` on. Returns how many bytes were written;
    /// fewer than asked for only when the host takes no more.
    ///
    /// # Errors
    /// What the host says; `InvalidInput` with [`OutsideRam`] inside if a run is not memory.
    pub fn write_to_file(&self, runs: &[RamRun], file: &File, offset: u64) -> io::Result<u64> {
        self.transfer(runs, file, offset, libc::pwritev64)
    }

    fn transfer(
        &self,
        runs: &[RamRun],
        file: &File,
        offset: u64,
        call: VectoredCall,
    ) -> io::Result<u64> {
        let mut vectors = runs
            .iter()
            .map(|run| self.vector(*run))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|outside| io::Error::new(io::ErrorKind::InvalidInput, outside))?;
        let mut rest = &mut vectors[..];
        let mut done: u64 = 0;
        while !rest.is_empty() {
            let at = offset
                .checked_add(done)
                .and_then(|at| libc::off64_t::try_from(at).ok())
                .ok_or(io::ErrorKind::InvalidInput)?;
            let count = rest.len().min(MAX_RUNS) as libc::c_int;
            // SAFETY: each vector is a run of RAM in the hardware's mapping, checked by `vector`, which lives
            // as long as `self`; the host reads or writes those bytes as any device does.
            let moved = unsafe { call(file.as_raw_fd(), rest.as_ptr(), count, at) };
            match moved {
                0 => break,
                moved if moved > 0 => {
                    done += moved as u64;
                    rest = advance(rest, moved as usize);
                }
                _ => {
                    let error = io::Error::last_os_error();
                    if error.kind() != io::ErrorKind::Interrupted {
                        return Err(error);
                    }
                }
            }
        }
        Ok(done)
    }

    fn vector(&self, run: RamRun) -> Result<libc::iovec, OutsideRam> {
        let outside = OutsideRam {
            phys: run.phys,
            len_bytes: run.len_bytes,
        };
        let len = usize::try_from(run.len_bytes).map_err(|_| outside)?;
        Ok(libc::iovec {
            iov_base: self.bytes(run.phys, len)?.as_ptr().cast(),
            iov_len: len,
        })
    }
}

type VectoredCall = unsafe extern "C" fn(
    libc::c_int,
    *const libc::iovec,
    libc::c_int,
    libc::off64_t,
) -> libc::ssize_t;

/// What is left of `vectors` after `bytes` were moved.
fn advance(vectors: &mut [libc::iovec], mut bytes: usize) -> &mut [libc::iovec] {
    let mut whole = 0;
    for vector in vectors.iter() {
        if bytes < vector.iov_len {
            break;
        }
        bytes -= vector.iov_len;
        whole += 1;
    }
    let rest = &mut vectors[whole..];
    if let Some(first) = rest.first_mut() {
        first.iov_base = first.iov_base.wrapping_byte_add(bytes);
        first.iov_len -= bytes;
    }
    rest
}
