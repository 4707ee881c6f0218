//! Firmware's part in ACPI: QEMU leaves tables without addresses, and a script that says how to place and link them
//! (`etc/table-loader`). There is no firmware, so the script runs here.

use std::collections::BTreeMap;
use std::ops::Range;

use board::ram::{OutsideRam, Ram};

use crate::fw_cfg::{FwCfg, FwCfgError};

/// Bytes of a command.
const COMMAND_BYTES: usize = 128;

/// Bytes of a file's name.
const NAME_BYTES: usize = 56;

/// Alignment of what the script wants nowhere in particular.
const LEAST_ALIGN: u64 = 16;

/// The file that holds the ACPI root pointer.
const RSDP_FILE: &str = "etc/acpi/rsdp";

/// The file that holds the script.
const SCRIPT_FILE: &str = "etc/table-loader";

/// Why the ACPI tables could not be placed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableLoaderError {
    /// A file could not be read.
    #[error(transparent)]
    FwCfg(#[from] FwCfgError),
    /// Memory could not be written.
    #[error("ACPI tables: {0}")]
    Memory(#[from] OutsideRam),
    /// The tables are longer than the memory that was set aside for them.
    #[error("ACPI tables do not fit: {file:?} has {len_bytes} bytes")]
    OutOfMemory {
        /// The file that had no room.
        file: String,
        /// Its length.
        len_bytes: u64,
    },
    /// A command names a file that was not placed before, or twice, or bytes that are not in it.
    #[error("command {index} of QEMU's table loader is wrong")]
    Command {
        /// Its number, from 0.
        index: usize,
    },
    /// The script places no root pointer.
    #[error("QEMU's table loader places no RSDP")]
    NoRsdp,
}

/// One command of the script.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Command {
    /// Places a file in memory.
    Allocate { file: String, align: u32 },
    /// Adds the address of `source` to the pointer of `size` bytes at `offset` of `file`.
    AddPointer {
        file: String,
        source: String,
        offset: u32,
        size: u8,
    },
    /// Makes the sum of `start .. start + len` of `file` zero by the byte at `offset`.
    AddChecksum {
        file: String,
        offset: u32,
        start: u32,
        len: u32,
    },
    /// Writes the address of byte `source_offset` of `source` into the firmware file `file`, for QEMU.
    WritePointer {
        file: String,
        source: String,
        offset: u32,
        source_offset: u32,
        size: u8,
    },
    /// Not a command: the script is padded with such.
    Nothing,
}

/// Runs QEMU's script over `memory`. Returns the address of the root pointer.
pub(crate) fn place_tables(
    fw_cfg: &FwCfg<'_>,
    ram: &Ram,
    memory: Range<u64>,
) -> Result<u64, TableLoaderError> {
    let script = fw_cfg.read(SCRIPT_FILE)?;
    let mut loader = Loader {
        next: memory.start,
        memory,
        placed: BTreeMap::new(),
    };
    for (index, command) in script.chunks_exact(COMMAND_BYTES).enumerate() {
        loader.run(index, parse(index, command)?, fw_cfg)?;
    }
    for placed in loader.placed.values() {
        ram.write(placed.phys, &placed.bytes)?;
    }
    let rsdp = loader
        .placed
        .get(RSDP_FILE)
        .ok_or(TableLoaderError::NoRsdp)?;
    Ok(rsdp.phys)
}

/// A file in memory.
struct Placed {
    phys: u64,
    bytes: Vec<u8>,
}

struct Loader {
    /// First free address.
    next: u64,
    memory: Range<u64>,
    placed: BTreeMap<String, Placed>,
}

impl Loader {
    fn run(
        &mut self,
        index: usize,
        command: Command,
        fw_cfg: &FwCfg<'_>,
    ) -> Result<(), TableLoaderError> {
        let wrong = || TableLoaderError::Command { index };
        match command {
            Command::Nothing => {}
            Command::Allocate { file, align } => {
                if self.placed.contains_key(&file) {
                    return Err(wrong());
                }
                let bytes = fw_cfg.read(&file)?;
                let phys = self.allocate(&file, bytes.len() as u64, align.into())?;
                self.placed.insert(file, Placed { phys, bytes });
            }
            Command::AddPointer {
                file,
                source,
                offset,
                size,
            } => {
                let address = self.placed.get(&source).ok_or_else(wrong)?.phys;
                let pointer = self.slice(&file, offset, size.into()).ok_or_else(wrong)?;
                add(pointer, address).ok_or_else(wrong)?;
            }
            Command::AddChecksum {
                file,
                offset,
                start,
                len,
            } => {
                let sum = self.slice(&file, start, len).ok_or_else(wrong)?;
                let sum = sum.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
                let checksum = self.slice(&file, offset, 1).ok_or_else(wrong)?;
                checksum[0] = checksum[0].wrapping_sub(sum);
            }
            Command::WritePointer {
                file,
                source,
                offset,
                source_offset,
                size,
            } => {
                let address = self.placed.get(&source).ok_or_else(wrong)?.phys;
                let address = (address + u64::from(source_offset)).to_le_bytes();
                let bytes = address.get(..usize::from(size)).ok_or_else(wrong)?;
                fw_cfg.write(&file, offset, bytes)?;
            }
        }
        Ok(())
    }

    fn allocate(
        &mut self,
        file: &str,
        len_bytes: u64,
        align: u64,
    ) -> Result<u64, TableLoaderError> {
        let start = self.next.checked_next_multiple_of(align.max(LEAST_ALIGN));
        let end = start.and_then(|start| start.checked_add(len_bytes));
        match (start, end) {
            (Some(start), Some(end)) if end <= self.memory.end => {
                self.next = end;
                Ok(start)
            }
            _ => Err(TableLoaderError::OutOfMemory {
                file: file.into(),
                len_bytes,
            }),
        }
    }

    fn slice(&mut self, file: &str, offset: u32, len: u32) -> Option<&mut [u8]> {
        let (start, end) = (offset as usize, offset.checked_add(len)? as usize);
        self.placed.get_mut(file)?.bytes.get_mut(start..end)
    }
}

/// Adds to a little-endian number of 1 to 8 bytes; `None` for any other length.
fn add(pointer: &mut [u8], address: u64) -> Option<()> {
    let mut bytes = [0; 8];
    bytes
        .get_mut(..pointer.len())
        .filter(|bytes| !bytes.is_empty())?
        .copy_from_slice(pointer);
    let sum = u64::from_le_bytes(bytes)
        .wrapping_add(address)
        .to_le_bytes();
    pointer.copy_from_slice(&sum[..pointer.len()]);
    Some(())
}

fn parse(index: usize, bytes: &[u8]) -> Result<Command, TableLoaderError> {
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap_or_default());
    let name = |at: usize| {
        let name = bytes[at..at + NAME_BYTES].split(|&byte| byte == 0).next();
        String::from_utf8_lossy(name.unwrap_or_default()).into_owned()
    };
    let (first, second) = (4, 4 + NAME_BYTES);
    let third = second + NAME_BYTES;
    Ok(match word(0) {
        0 => Command::Nothing,
        1 => Command::Allocate {
            file: name(first),
            align: word(second),
        },
        2 => Command::AddPointer {
            file: name(first),
            source: name(second),
            offset: word(third),
            size: bytes[third + 4],
        },
        3 => Command::AddChecksum {
            file: name(first),
            offset: word(second),
            start: word(second + 4),
            len: word(second + 8),
        },
        4 => Command::WritePointer {
            file: name(first),
            source: name(second),
            offset: word(third),
            source_offset: word(third + 4),
            size: bytes[third + 8],
        },
        _ => return Err(TableLoaderError::Command { index }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loader(files: &[(&str, u64, &[u8])]) -> Loader {
        let placed = files.iter().map(|(name, phys, bytes)| {
            let (phys, bytes) = (*phys, bytes.to_vec());
            ((*name).to_owned(), Placed { phys, bytes })
        });
        Loader {
            next: 0x1001,
            memory: 0x1000..0x2000,
            placed: placed.collect(),
        }
    }

    #[test]
    fn room_is_aligned_and_ends() {
        let mut loader = loader(&[]);
        assert_eq!(loader.allocate("a", 5, 64), Ok(0x1040));
        assert_eq!(loader.allocate("b", 1, 0), Ok(0x1050));
        let full = TableLoaderError::OutOfMemory {
            file: "c".into(),
            len_bytes: 0xfb0,
        };
        assert_eq!(loader.allocate("c", 0xfb0, 1), Err(full));
    }

    #[test]
    fn pointers_grow_by_the_address_of_their_file() {
        let mut number = [0x10, 0, 0, 0];
        add(&mut number, 0x7ff0_0000).unwrap();
        assert_eq!(number, [0x10, 0, 0xf0, 0x7f]);
        let mut number = [1, 0, 0, 0, 0, 0, 0, 0];
        add(&mut number, 0x1_0000_0000).unwrap();
        assert_eq!(number, [1, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(add(&mut [0; 9], 1), None);
        assert_eq!(add(&mut [], 1), None);
    }

    #[test]
    fn bytes_outside_a_file_are_refused() {
        let mut loader = loader(&[("a", 0x1000, &[1, 2, 3, 4])]);
        assert_eq!(loader.slice("a", 1, 3), Some(&mut [2, 3, 4][..]));
        assert_eq!(loader.slice("a", 1, 4), None);
        assert_eq!(loader.slice("a", u32::MAX, 2), None);
        assert_eq!(loader.slice("b", 0, 1), None);
    }

    #[test]
    fn commands_are_read_from_their_bytes() {
        let mut bytes = [0; COMMAND_BYTES];
        assert_eq!(parse(0, &bytes), Ok(Command::Nothing));
        bytes[0] = 2;
        bytes[4..8].copy_from_slice(b"dest");
        bytes[60..64].copy_from_slice(b"from");
        bytes[116..121].copy_from_slice(&[0x34, 0x12, 0, 0, 8]);
        let expected = Command::AddPointer {
            file: "dest".into(),
            source: "from".into(),
            offset: 0x1234,
            size: 8,
        };
        assert_eq!(parse(0, &bytes), Ok(expected));
        bytes[0] = 9;
        assert_eq!(
            parse(7, &bytes),
            Err(TableLoaderError::Command { index: 7 })
        );
    }
}
