//! QEMU's firmware configuration device: files for the firmware, read by DMA (`docs/specs/fw_cfg`).

use board::hardware::Width;
use board::ram::{OutsideRam, Ram};

use crate::qtest::{Qtest, QtestError};

/// Where the register that starts a transfer is: 64 bits, big-endian, the upper half first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DmaRegister {
    /// At this IO port.
    Port(u16),
    /// At this physical address.
    Memory(u64),
}

/// The file that lists the others.
const DIRECTORY: u16 = 0x19;

const CONTROL_READ: u32 = 1 << 1;
const CONTROL_SELECT: u32 = 1 << 3;
const CONTROL_WRITE: u32 = 1 << 4;
const CONTROL_SKIP: u32 = 1 << 2;

/// Bytes of a transfer's description.
const DESCRIPTION_BYTES: u64 = 16;

/// Bytes of a directory entry.
const ENTRY_BYTES: usize = 64;

/// Most files a directory may have: QEMU's limit is far below.
const MAX_FILES: u32 = 4096;

/// Why firmware's files could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FwCfgError {
    /// QEMU is not asked any more.
    #[error(transparent)]
    Qtest(#[from] QtestError),
    /// A transfer does not fit the memory that was set aside.
    #[error("firmware's memory: {0}")]
    Memory(#[from] OutsideRam),
    /// The device refused a transfer, or has not finished it.
    #[error(
        "the firmware configuration device did not transfer item {item:#x}: control {control:#x}"
    )]
    Refused {
        /// The item's key.
        item: u16,
        /// What it left of the command.
        control: u32,
    },
    /// There is no such file.
    #[error("QEMU has no firmware file {0:?}")]
    NoFile(
        /// Its name.
        String,
    ),
    /// The directory, or a file, is longer than the memory that was set aside.
    #[error("firmware file {name:?} has {len_bytes} bytes, too many")]
    TooLong {
        /// Its name.
        name: String,
        /// Its length.
        len_bytes: u64,
    },
}

/// A file of the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FwFile {
    pub(crate) name: String,
    pub(crate) item: u16,
    pub(crate) len_bytes: u32,
}

/// The device, and memory for its transfers.
pub(crate) struct FwCfg<'a> {
    qtest: &'a Qtest,
    ram: &'a Ram,
    register: DmaRegister,
    /// RAM that holds a transfer's description and, after it, its data.
    staging: std::ops::Range<u64>,
    files: Vec<FwFile>,
}

impl<'a> FwCfg<'a> {
    /// Reads the directory. `staging` is RAM that nobody else uses meanwhile.
    pub(crate) fn open(
        qtest: &'a Qtest,
        ram: &'a Ram,
        register: DmaRegister,
        staging: std::ops::Range<u64>,
    ) -> Result<Self, FwCfgError> {
        let mut this = Self {
            qtest,
            ram,
            register,
            staging,
            files: Vec::new(),
        };
        let count = this.read_item("the directory", DIRECTORY, 4)?;
        let count = u32::from_be_bytes(count.try_into().unwrap_or_default());
        let too_long = FwCfgError::TooLong {
            name: "the directory".into(),
            len_bytes: count.into(),
        };
        if count > MAX_FILES {
            return Err(too_long);
        }
        let bytes = 4 + count * ENTRY_BYTES as u32;
        let directory = this.read_item("the directory", DIRECTORY, bytes)?;
        this.files = directory[4..].chunks_exact(ENTRY_BYTES).map(file).collect();
        Ok(this)
    }

    /// All files.
    pub(crate) fn files(&self) -> &[FwFile] {
        &self.files
    }

    /// The file of that name, whole.
    pub(crate) fn read(&self, name: &str) -> Result<Vec<u8>, FwCfgError> {
        let file = self.find(name)?;
        self.read_item(name, file.item, file.len_bytes)
    }

    /// Writes `bytes` into a file from byte `offset` on.
    pub(crate) fn write(&self, name: &str, offset: u32, bytes: &[u8]) -> Result<(), FwCfgError> {
        let item = self.find(name)?.item;
        // Two transfers: the first selects the file and skips what comes before.
        self.transfer(name, item, CONTROL_SELECT | CONTROL_SKIP, offset)?;
        self.ram.write(self.data(), bytes)?;
        self.transfer(name, item, CONTROL_WRITE, bytes.len() as u32)
    }

    fn find(&self, name: &str) -> Result<&FwFile, FwCfgError> {
        let found = self.files.iter().find(|file| file.name == name);
        found.ok_or_else(|| FwCfgError::NoFile(name.into()))
    }

    fn read_item(&self, name: &str, item: u16, len_bytes: u32) -> Result<Vec<u8>, FwCfgError> {
        self.transfer(name, item, CONTROL_SELECT | CONTROL_READ, len_bytes)?;
        let mut bytes = vec![0; len_bytes as usize];
        self.ram.read(self.data(), &mut bytes)?;
        Ok(bytes)
    }

    fn data(&self) -> u64 {
        self.staging.start + DESCRIPTION_BYTES
    }

    fn transfer(&self, name: &str, item: u16, control: u32, len: u32) -> Result<(), FwCfgError> {
        let room = self.staging.end - self.data();
        let moves_data = control & CONTROL_SKIP == 0;
        if moves_data && u64::from(len) > room {
            return Err(FwCfgError::TooLong {
                name: name.into(),
                len_bytes: len.into(),
            });
        }
        let control = if control & CONTROL_SELECT != 0 {
            control | u32::from(item) << 16
        } else {
            control
        };
        let description = self.staging.start;
        let mut bytes = [0; DESCRIPTION_BYTES as usize];
        bytes[..4].copy_from_slice(&control.to_be_bytes());
        bytes[4..8].copy_from_slice(&len.to_be_bytes());
        bytes[8..].copy_from_slice(&self.data().to_be_bytes());
        self.ram.write(description, &bytes)?;
        // The device is big-endian, the bus is not.
        let halves = [(description >> 32) as u32, description as u32].map(u32::swap_bytes);
        for (index, half) in halves.into_iter().enumerate() {
            let offset = 4 * index as u16;
            let half = u64::from(half);
            match self.register {
                DmaRegister::Port(port) => {
                    self.qtest.write_port(port + offset, Width::Dword, half)?;
                }
                DmaRegister::Memory(phys) => {
                    self.qtest
                        .write(phys + u64::from(offset), Width::Dword, half)?;
                }
            }
        }
        // QEMU transfers before it answers the second write; what is left then is an error.
        let left = self.ram.load_u32(description)?.swap_bytes();
        match left {
            0 => Ok(()),
            control => Err(FwCfgError::Refused { item, control }),
        }
    }
}

/// A directory entry: length, key, two reserved bytes, name.
fn file(entry: &[u8]) -> FwFile {
    let word = |at: usize| u32::from_be_bytes(entry[at..at + 4].try_into().unwrap_or_default());
    let name = entry[8..]
        .split(|&byte| byte == 0)
        .next()
        .unwrap_or_default();
    FwFile {
        name: String::from_utf8_lossy(name).into_owned(),
        item: (word(4) >> 16) as u16,
        len_bytes: word(0),
    }
}
