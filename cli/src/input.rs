//! The files the user gives: opened, measured, and refused where they cannot be a disk.

use std::fmt::Display;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::error::Error;

/// The file that becomes the disk.
pub(crate) struct Input {
    pub(crate) path: PathBuf,
    pub(crate) file: File,
    /// Its length when it was opened: the disk's length, whatever becomes of the file.
    pub(crate) len_bytes: u64,
    identity: Identity,
}

/// Which file it is, whatever name it goes by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Identity {
    File { device: u64, inode: u64 },
    BlockDevice { number: u64 },
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        if metadata.file_type().is_block_device() {
            let number = metadata.rdev();
            return Self::BlockDevice { number };
        }
        Self::File {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

impl Input {
    /// Opens the file to be read; without one, the program's own executable.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, Error> {
        let path = match path {
            Some(path) => path.to_owned(),
            None => std::env::current_exe().map_err(|error| {
                Error::unusable(format!(
                    "cannot find this program's own executable: {error}; name a FILE"
                ))
            })?,
        };
        let unusable = |reason: &dyn Display| about(&path, reason);
        // Before opening: opening a pipe would wait for its other end.
        let kind = fs::metadata(&path)
            .map_err(|error| unusable(&error))?
            .file_type();
        if kind.is_dir() {
            return Err(unusable(&"is a directory; a disk is made of a file"));
        }
        if !kind.is_file() && !kind.is_block_device() {
            return Err(unusable(&"is neither a regular file nor a block device"));
        }
        let mut file = File::open(&path).map_err(|error| unusable(&error))?;
        let metadata = file.metadata().map_err(|error| unusable(&error))?;
        let len_bytes = file
            .seek(SeekFrom::End(0))
            .map_err(|error| unusable(&error))?;
        if len_bytes == 0 {
            return Err(unusable(&"is empty; a disk has at least one byte"));
        }
        Ok(Self {
            identity: Identity::of(&metadata),
            path,
            file,
            len_bytes,
        })
    }

    /// A second handle of the same file.
    pub(crate) fn reopen(&self) -> Result<File, Error> {
        self.file
            .try_clone()
            .map_err(|error| about(&self.path, &error))
    }

    /// That reading the file failed, for `reason`, and whether that is because it has become shorter.
    pub(crate) fn failed(&self, reason: &dyn Display) -> Error {
        let path = self.path.display();
        match (&self.file).seek(SeekFrom::End(0)) {
            Ok(left) if left < self.len_bytes => Error::failed(format!(
                "{path}: has shrunk from {} to {left} bytes while it was read ({reason})",
                self.len_bytes
            )),
            _ => Error::failed(format!("{path}: {reason} (DMAMAP_LOG=warn shows more)")),
        }
    }

    /// Refuses what cannot become the second disk, without opening or creating it.
    pub(crate) fn check_copy(&self, path: &Path) -> Result<(), Error> {
        let unusable = |reason: &dyn Display| about(path, reason);
        match fs::metadata(path) {
            Ok(metadata) => {
                let kind = metadata.file_type();
                if kind.is_dir() {
                    return Err(unusable(&"is a directory; the copy needs a file"));
                }
                if !kind.is_file() && !kind.is_block_device() && !kind.is_char_device() {
                    return Err(unusable(&"is no file that could hold a copy"));
                }
                if Identity::of(&metadata) == self.identity {
                    return Err(unusable(
                        &"is the file that is read; the copy must be another one",
                    ));
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(unusable(&error)),
        }
        Ok(())
    }

    /// Opens, or creates, the file that becomes the second disk. What it held is overwritten.
    pub(crate) fn open_copy(&self, path: &Path) -> Result<File, Error> {
        self.check_copy(path)?;
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|error| about(path, &error))
    }
}

/// That the file at `path` cannot be used, for `reason`.
pub(crate) fn about(path: &Path, reason: &dyn Display) -> Error {
    Error::unusable(format!("{}: {reason}", path.display()))
}
