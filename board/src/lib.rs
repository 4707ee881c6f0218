//! What a computer in a process is made of, whoever models its hardware.
//!
//! ```text
//!   a kernel in the process                               the hardware
//!   ──────────────────────                                ────────────
//!   X, direct map ──► ram::RamMapping ──┐
//!   X, vmalloc    ──► ram::Reservation ─┼─► one memfd ◄── ram::Ram          DMA and table walks (Y)
//!                                       ┘   (Y, or a lookup away)
//!   C, safe-mmio  ──► mmio::RegisterWindow ─────────────► hardware::Hardware::{read, write} (B)
//!   handlers      ◄── hardware::InterruptSink ◄────────── messages that devices write
//! ```
//!
//! - [`hardware`]: the trait a board implements (our own models, QEMU's, a real device) and the plain
//!   words it describes itself in.
//! - [`between`]: somebody between a kernel and its board, for tests: each call of the trait is forwarded in one place.
//! - [`ram`]: memory in a sparse shared file. The offset in the file is the physical address, or a lookup away.
//! - [`mmio`]: virtual addresses that stand for registers. It alone owns `safe-mmio`'s custom backend, so a
//!   test binary that reaches `safe-mmio` through any crate links this one (`use board as _;`).

pub mod between;
pub mod hardware;
pub mod mmio;
pub mod ram;
