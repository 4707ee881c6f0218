//! Disks whose bytes a test knows, of models and of QEMU's.

use std::convert::Infallible;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};

use dmamap::device::Device;
use dmamap::pci::Function;
use dmamap::system::Protection;
use drivers::nvme::{DiskMemory, Nvme, Settings, StartFailed};
use hosted::Hosted;
use journeys::disk::{Disk, DiskOptions, read_disk};
use journeys::{Computer, Needs};
use machine::device::nvme::{Medium, NvmeConfig};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::Rig;

/// Disk `index` of a computer.
pub fn disk_function(computer: &Computer<Hosted>, index: usize) -> Function<Hosted> {
    let disk = computer.disks().nth(index);
    disk.expect("the computer has that disk").clone()
}

/// A computer's disks.
impl Rig {
    /// Disk `index`.
    pub fn disk_function(&self, index: usize) -> Function<Hosted> {
        disk_function(&self.computer, index)
    }

    /// Makes disk `index` one that a journey may pull out.
    pub fn make_removable(&mut self, index: usize) {
        let (machine, function) = (self.machine.clone(), self.disk_function(index));
        let requester = function.requester();
        self.computer
            .set_removable(&function, move || machine.remove(requester));
    }

    /// Makes every journey of the catalogue that this computer has what is needed for: all, but for those that rest on what the
    /// host bridge does, of which nobody said anything here.
    pub fn make_every_journey(&mut self, place: &str) {
        self.make_removable(0);
        for journey in journeys::catalogue::journeys::<Hosted>() {
            if journey.needs.contains(Needs::PEERS) {
                continue;
            }
            // SAFETY: nobody else drives the machine.
            let outcome = unsafe { journey.run(&mut self.computer) };
            outcome.unwrap_or_else(|error| panic!("{place}: {}: {error}", journey.name));
        }
    }

    /// Attaches disk `index` behind the IOMMU.
    pub fn attach_disk(&self, index: usize) -> Device<Hosted> {
        let attached = (self.system()).attach(&self.disk_function(index), Protection::Strict);
        attached.expect("the disk attaches")
    }

    /// Attaches disk `index` as one that is trusted.
    pub fn attach_trusted_disk(&self, index: usize) -> Device<Hosted> {
        let (function, protection) = (self.disk_function(index), Protection::Identity);
        // SAFETY: the tests that trust a disk give it only addresses of live mappings, and the model stays within them.
        let attached = unsafe { self.system().attach_trusted(&function, protection) };
        attached.expect("the disk attaches")
    }

    /// Brings up disk `index` on `device`.
    pub fn start_on<B: DiskMemory<Hosted>>(
        &mut self,
        device: Device<Hosted>,
        index: usize,
        settings: Settings,
    ) -> Result<Nvme<Hosted, B>, StartFailed<Hosted>> {
        let function = self.disk_function(index);
        Nvme::start(device, &function, self.computer.resources_mut(), settings)
    }

    /// Brings up disk `index` behind the IOMMU.
    pub fn start_disk<B: DiskMemory<Hosted>>(
        &mut self,
        index: usize,
        settings: Settings,
    ) -> Nvme<Hosted, B> {
        let device = self.attach_disk(index);
        let started = self.start_on(device, index, settings);
        started.expect("the disk comes up")
    }
}

/// Byte `at` of every test disk: no two blocks are alike, nor a block and its neighbours' middle.
pub fn byte_at(at: u64) -> u8 {
    let word = (at / 8).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (word >> (8 * (at % 8))) as u8
}

/// `into.len()` test bytes from `at` on.
pub fn bytes_at(at: u64, into: &mut [u8]) {
    for (offset, byte) in into.iter_mut().enumerate() {
        *byte = byte_at(at + offset as u64);
    }
}

/// A file of zeros. It is in memory: a busy host may let a disk wait for a real one longer than a driver waits for the disk.
pub fn blank_file(len_bytes: u64) -> File {
    let file = memfd_create("disk", MemfdFlags::CLOEXEC);
    let file: File = file.expect("the host has files in memory").into();
    file.set_len(len_bytes).expect("a file can grow");
    file
}

/// A file of test bytes.
pub fn test_file(len_bytes: u64) -> File {
    let mut file = blank_file(len_bytes);
    let mut block = vec![0; 1 << 20];
    let mut at = 0;
    while at < len_bytes {
        let len = block.len().min((len_bytes - at) as usize);
        bytes_at(at, &mut block[..len]);
        file.write_all(&block[..len]).expect("the file is written");
        at += len as u64;
    }
    let start = file.seek(SeekFrom::Start(0));
    start.expect("a file can be rewound");
    file
}

/// A disk over test bytes, which it may not change.
pub fn test_disk(len_bytes: u64) -> NvmeConfig {
    NvmeConfig::new(test_file(len_bytes), len_bytes, Medium::ReadOnly)
}

/// An empty disk to be written.
pub fn blank_disk(len_bytes: u64) -> NvmeConfig {
    NvmeConfig::new(blank_file(len_bytes), len_bytes, Medium::ReadWrite)
}

/// Reads the first `len_bytes` bytes of a disk of test bytes and checks them.
pub fn read_and_check(disk: &mut Disk<Hosted>, len_bytes: u64) {
    let options = DiskOptions {
        len_bytes: Some(len_bytes),
        ..DiskOptions::default()
    };
    let mut at = 0;
    let mut wanted = Vec::new();
    let report = read_disk(disk, &options, |bytes| {
        wanted.resize(bytes.len(), 0);
        bytes_at(at, &mut wanted);
        assert!(
            bytes == wanted,
            "the disk differs within {} bytes from {at}",
            bytes.len()
        );
        at += bytes.len() as u64;
        Ok::<(), Infallible>(())
    })
    .expect("the disk is read");
    assert_eq!((at, report.len_bytes), (len_bytes, len_bytes));
}
