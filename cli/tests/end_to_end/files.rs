//! Files of every length, their content known by its seed and hashed while it is made.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// A file in a directory of its own, which goes with it.
pub(crate) struct TestFile {
    dir: TempDir,
    pub(crate) path: PathBuf,
    pub(crate) len_bytes: u64,
    pub(crate) sha256: String,
}

impl TestFile {
    /// Pseudo-random bytes: no two blocks are alike.
    pub(crate) fn random(len_bytes: u64, seed: u64) -> Self {
        let dir = TempDir::new().expect("a directory");
        let path = dir.path().join("file");
        let mut file = BufWriter::new(File::create(&path).expect("a file"));
        let mut hasher = Sha256::new();
        let mut dice = Dice(seed);
        let mut left = len_bytes;
        while left > 0 {
            let word = dice.next().to_le_bytes();
            let bytes = &word[..left.min(8) as usize];
            file.write_all(bytes).expect("the file is written");
            hasher.update(bytes);
            left -= bytes.len() as u64;
        }
        file.flush().expect("the file is written");
        Self {
            dir,
            path,
            len_bytes,
            sha256: hex(&hasher.finalize()),
        }
    }

    /// Nothing but a length: a file of zeroes that takes no room.
    pub(crate) fn sparse(len_bytes: u64) -> Self {
        let dir = TempDir::new().expect("a directory");
        let path = dir.path().join("sparse");
        let file = File::create(&path).expect("a file");
        file.set_len(len_bytes)
            .expect("the file system can do holes");
        Self {
            dir,
            path,
            len_bytes,
            sha256: String::new(),
        }
    }

    /// Another name in the same directory.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The directory.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Asserts that the file at `path` has the same content, and the same length to the byte.
    #[track_caller]
    pub(crate) fn expect_same(&self, path: &Path) {
        let len_bytes = fs::metadata(path).expect("the file is there").len();
        assert_eq!(len_bytes, self.len_bytes, "{}", path.display());
        assert_eq!(sha256_of(path), self.sha256, "{}", path.display());
    }
}

/// SHA-256 of a file, read the ordinary way.
pub(crate) fn sha256_of(path: &Path) -> String {
    let mut file = File::open(path).expect("the file is there");
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        match file.read(&mut piece).expect("the file is read") {
            0 => return hex(&hasher.finalize()),
            count => hasher.update(&piece[..count]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A small generator of numbers that look random (splitmix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}
