//! The controller on a bench: memory, a unit that blocks what a test forbids, and a driver of raw words.

mod admin;
mod bench;
mod driver;
mod gatekeeper;
mod hostile;
mod io;
mod life;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use board::hardware::Width;
use hw::nvme::command::{
    CreateCompletionQueueDword11, CreateSubmissionQueueDword11, Dword0, QueueDword10, admin_opcode,
    io_opcode,
};
use hw::nvme::regs::{self, ControllerStatus};
use hw::nvme::{CompletionEntry, Status, SubmissionEntry};
use zerocopy::{FromZeros, IntoBytes};

use super::{MSIX_BAR, Medium, NvmeConfig, REGISTERS_BAR};
use crate::bus::Access;
use crate::findings::FindingKind;
use crate::pci::function::FunctionModel;
use bench::Bench;
use driver::{Pair, blocks, status};

const RAM_BYTES: u64 = 64 << 20;
const PAGE: u64 = 4096;
/// Where the bench puts queues, lists and data.
const ADMIN_QUEUES: u64 = 0x10_0000;
const IO_QUEUES: u64 = 0x20_0000;
const LISTS: u64 = 0x80_0000;
const DATA: u64 = 0x100_0000;
/// Message data of vector `v` is this plus `v`.
const MESSAGE: u32 = 0x40;

/// A file with recognisable bytes, none of them 0.
fn file_of(len_bytes: u64) -> File {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(&content(len_bytes), 0).unwrap();
    file
}

fn content(len_bytes: u64) -> Vec<u8> {
    (0..len_bytes).map(|i| (i % 251) as u8 + 1).collect()
}

fn read_only(len_bytes: u64) -> NvmeConfig {
    NvmeConfig::new(file_of(len_bytes), len_bytes, Medium::ReadOnly)
}

/// Waits until `poll` gives something; a controller that hangs fails the test.
fn eventually<T>(mut poll: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(100);
    loop {
        if let Some(value) = poll() {
            return value;
        }
        assert!(Instant::now() < deadline, "the controller did not answer");
        std::thread::yield_now();
    }
}
