//! SHA-256 of the user's file, read the ordinary way beside the DMA, to compare with.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use sha2::{Digest, Sha256};

/// Bytes read at a time.
const PIECE_BYTES: usize = 256 << 10;

/// A digest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sha([u8; 32]);

impl Sha {
    pub(crate) fn finish(hasher: Sha256) -> Self {
        Self(hasher.finalize().into())
    }
}

impl std::fmt::Display for Sha {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A hash being made on a thread of its own.
pub(crate) struct FileHash {
    thread: Option<JoinHandle<io::Result<Sha>>>,
    stop: Arc<AtomicBool>,
}

impl FileHash {
    /// Starts hashing the first `len_bytes` bytes of `file`.
    ///
    /// # Errors
    /// The host has no thread for it.
    pub(crate) fn start(file: File, len_bytes: u64) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::Builder::new()
            .name("file-hash".into())
            .spawn(move || hash(&file, len_bytes, &stopped))?;
        Ok(Self {
            thread: Some(thread),
            stop,
        })
    }

    /// Waits for the digest.
    pub(crate) fn finish(mut self) -> io::Result<Sha> {
        let thread = self
            .thread
            .take()
            .expect("only `finish` and `drop` take the thread");
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the hashing thread panicked")))
    }
}

impl Drop for FileHash {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn hash(file: &File, len_bytes: u64, stop: &AtomicBool) -> io::Result<Sha> {
    let mut hasher = Sha256::new();
    let mut piece = vec![0; PIECE_BYTES];
    let mut at = 0;
    while at < len_bytes && !stop.load(Ordering::Relaxed) {
        let want = PIECE_BYTES.min(usize::try_from(len_bytes - at).unwrap_or(PIECE_BYTES));
        file.read_exact_at(&mut piece[..want], at)?;
        hasher.update(&piece[..want]);
        at += want as u64;
    }
    Ok(Sha::finish(hasher))
}
