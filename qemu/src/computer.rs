//! The computer: QEMU started, set up as firmware would, and watched.

use std::fmt;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use board::ram::Ram;

use crate::command_line::{Inherited, add_computer};
use crate::config::{QemuConfig, VirtioDevice};
use crate::error::{Failure, QemuError};
use crate::fw_cfg::FwCfg;
use crate::memory_map::{FIRMWARE_BYTES, MemoryMap};
use crate::pace::Pace;
use crate::pci_buses::number_buses;
use crate::process::Process;
use crate::qtest::Qtest;
use crate::table_loader::{TableLoaderError, place_tables};
use crate::{Architecture, Board, Installation, devicetree, q35};

/// Least memory: room for firmware and a kernel.
const MIN_RAM_BYTES: u64 = 64 << 20;

/// Most memory: what QEMU's default CPUs address, and what its machines leave room for.
const MAX_RAM_BYTES: u64 = 128 << 30;

/// How long QEMU may take to end once its connection is closed: then its last words are complete.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Of firmware's memory, how much its transfers may use.
const STAGING_BYTES: u64 = FIRMWARE_BYTES / 2;

/// A computer of QEMU's models. QEMU is killed when it is dropped.
///
/// ```
/// use board::hardware::{Hardware, Width};
/// use qemu::{Board, Installation, Qemu, QemuConfig};
///
/// let board = Board::named("q35-vtd").ok_or("no such board")?;
/// let installation = match Installation::find() {
///     Ok(installation) => installation,
///     Err(missing) => return Ok(println!("{missing}")),
/// };
/// let computer = Qemu::boot(&installation, QemuConfig::new(board))?;
/// // VT-d's version register.
/// assert_eq!(computer.read(0xfed9_0000, Width::Dword) & 0xf0, 0x10);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Qemu {
    pub(crate) map: MemoryMap,
    pub(crate) ram: Arc<Ram>,
    pub(crate) rsdp: u64,
    pub(crate) qtest: Qtest,
    pub(crate) pace: Pace,
    process: Process,
    installation: Installation,
    config: QemuConfig,
    devicetree: OnceLock<Option<Vec<u8>>>,
}

impl Qemu {
    /// Starts QEMU as the computer `config` describes: ACPI tables lie in memory, buses and BARs are not programmed,
    /// no guest runs.
    ///
    /// # Errors
    /// [`QemuError`], with what QEMU said.
    pub fn boot(installation: &Installation, config: QemuConfig) -> Result<Arc<Self>, QemuError> {
        let architecture = config.board.architecture();
        if !installation.has(architecture) {
            return Err(QemuError::NoProgram(architecture));
        }
        let len_bytes = config.ram_len_bytes;
        let (least, most) = (MIN_RAM_BYTES, MAX_RAM_BYTES);
        if !len_bytes.is_multiple_of(1 << 20) || !(least..=most).contains(&len_bytes) {
            return Err(QemuError::RamSize {
                len_bytes,
                least,
                most,
            });
        }
        let map = MemoryMap::new(architecture, len_bytes);
        let ram = Ram::with_file_offsets(&map.ram)?;
        let (process, qtest) = start(installation, &config, &ram)?;
        match set_up(architecture, &map, &ram, &qtest) {
            Ok(rsdp) => Ok(Arc::new(Self {
                map,
                ram,
                rsdp,
                qtest,
                pace: Pace::new(),
                process,
                installation: installation.clone(),
                config,
                devicetree: OnceLock::new(),
            })),
            Err(error) => {
                process.ended_within(LAST_WORDS);
                let said = process.said();
                Err(QemuError::Ended { error, said })
            }
        }
    }

    /// What it is.
    pub fn board(&self) -> &'static Board {
        self.config.board
    }

    /// Why registers read all ones, if QEMU is not there any more.
    pub fn failure(&self) -> Option<Failure> {
        let error = self.qtest.failure()?;
        self.process.ended_within(LAST_WORDS);
        let said = self.process.said();
        Some(Failure { error, said })
    }

    /// What QEMU said so far on its error output: it tells there what guests do wrong.
    pub fn said(&self) -> String {
        self.process.said()
    }

    /// The id of QEMU's process.
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Register accesses and clock steps so far: what a journey costs on QEMU.
    pub fn requests(&self) -> u64 {
        self.qtest.requests()
    }

    /// The devicetree that QEMU makes of this computer, `None` on a machine that has none. QEMU is run once more for it.
    ///
    /// # Errors
    /// [`QemuError::Start`], [`QemuError::NoDevicetree`].
    pub fn read_devicetree(&self) -> Result<Option<Vec<u8>>, QemuError> {
        if self.config.board.architecture() == Architecture::X86_64 {
            return Ok(None);
        }
        if let Some(known) = self.devicetree.get() {
            return Ok(known.clone());
        }
        let blob = Some(devicetree::dump(&self.installation, &self.config)?);
        Ok(self.devicetree.get_or_init(|| blob).clone())
    }
}

fn start(
    installation: &Installation,
    config: &QemuConfig,
    ram: &Ram,
) -> Result<(Process, Qtest), QemuError> {
    let (ours, theirs) = UnixStream::pair().map_err(QemuError::Start)?;
    let mut command = installation.command(config.board.architecture());
    let files = Inherited {
        ram: ram.fd(),
        qtest: theirs.as_fd(),
    };
    add_computer(&mut command, config, &files);
    let mut inherited = vec![files.ram, files.qtest];
    inherited.extend(config.disks.iter().map(|disk| disk.file.as_fd()));
    inherited.extend(config.virtio.iter().filter_map(VirtioDevice::file));
    log::debug!("{command:?}");
    let process = Process::spawn(command, &inherited).map_err(QemuError::Start)?;
    let qtest = Qtest::new(ours).map_err(QemuError::Start)?;
    Ok((process, qtest))
}

/// Firmware's work. Returns where the root pointer is.
fn set_up(
    architecture: Architecture,
    map: &MemoryMap,
    ram: &Ram,
    qtest: &Qtest,
) -> Result<u64, TableLoaderError> {
    qtest.wait_for_machine()?;
    if architecture == Architecture::X86_64 {
        q35::enable_ecam(qtest)?;
    }
    number_buses(qtest, map.ecam)?;
    let staging = map.firmware.start..map.firmware.start + STAGING_BYTES;
    let fw_cfg = FwCfg::open(qtest, ram, map.fw_cfg, staging)?;
    for file in fw_cfg.files() {
        log::debug!("firmware file {} ({} bytes)", file.name, file.len_bytes);
    }
    place_tables(
        &fw_cfg,
        ram,
        map.firmware.start + STAGING_BYTES..map.firmware.end,
    )
}

impl fmt::Debug for Qemu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Qemu")
            .field("board", &self.config.board.name())
            .field("process", &self.process.id())
            .finish_non_exhaustive()
    }
}
