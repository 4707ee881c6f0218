//! QEMU's hardware models as a board: the independent judge.
//!
//! QEMU runs as a child process with its `qtest` accelerator: no guest runs, its devices and IOMMUs do.
//!
//! ```text
//!     this process                                     QEMU
//!     ────────────                                     ────
//!     board::ram::Ram ──── one memory file ──────────► RAM: DMA, table walks
//!     Hardware::{read, write} ──── socket ───────────► registers, configuration space, IO ports
//!     Hardware::idle ────── "clock_step" ────────────► its clock: timers of devices
//!     firmware's work: ECAM, bus numbers, ACPI tables  (q35, pci_buses, fw_cfg, table_loader)
//! ```
//!
//! Messages that devices write to raise interrupts reach QEMU's interrupt controller, which has no CPU to tell: the board
//! offers no message window, and drivers poll.
//!
//! - [`Installation`]: which QEMU is used; `cargo xtask qemu` gets one
//! - [`Board`]: the computers it can be, [`QemuConfig`]: what stands in one
//! - [`Qemu`]: one that runs, behind [`board::hardware::Hardware`]
//!
//! ```
//! use qemu::{Board, Installation, Qemu, QemuConfig};
//!
//! for board in Board::all() {
//!     println!("{:22} {}", board.name(), board.description());
//! }
//! if let Err(missing) = Installation::find() {
//!     println!("{missing}");
//! }
//! ```

mod architecture;
mod boards;
mod computer;
mod config;
mod error;
mod hardware;
mod installation;

mod command_line;
mod devicetree;
mod process;
mod qtest;

mod fw_cfg;
mod memory_map;
mod pace;
mod pci_buses;
mod q35;
mod table_loader;

pub use architecture::Architecture;
pub use boards::Board;
pub use computer::Qemu;
pub use config::{
    ConsoleEnd, Disk, DiskKind, EDU_ADDRESS_BITS, Medium, QemuConfig, VirtioDevice, looped_console,
    looped_network,
};
pub use error::{Failure, QemuError};
pub use fw_cfg::FwCfgError;
pub use installation::{FOLDER_VARIABLE, Installation, NotFound, Version};
pub use qtest::QtestError;
pub use table_loader::TableLoaderError;
