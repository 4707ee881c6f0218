//! What stands in a computer beside its board: memory, disks, devices.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::{io, process};

use crate::Board;

/// Whether a disk may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// Writes fail.
    ReadOnly,
    /// Writes go to the file.
    ReadWrite,
}

/// How a disk is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskKind {
    /// An NVMe controller behind a root port of its own.
    Nvme,
    /// A virtio block device (modern, and using the IOMMU) on the root bus.
    VirtioBlock,
}

/// A disk: a file that holds its bytes.
#[derive(Debug)]
pub struct Disk {
    pub(crate) file: File,
    pub(crate) medium: Medium,
    pub(crate) kind: DiskKind,
}

impl Disk {
    /// An NVMe disk over `file`, which needs no name any more. QEMU opens it anew: for
    /// [`ReadWrite`](Medium::ReadWrite) its permissions must allow writing.
    pub fn nvme(file: File, medium: Medium) -> Self {
        Self {
            file,
            medium,
            kind: DiskKind::Nvme,
        }
    }

    /// Whether its bytes are a block device of the host's, which QEMU opens in another way.
    pub(crate) fn is_block_device(&self) -> bool {
        let metadata = self.file.metadata();
        metadata.is_ok_and(|metadata| metadata.file_type().is_block_device())
    }

    /// As [`nvme`](Self::nvme), as a virtio block device.
    pub fn virtio(file: File, medium: Medium) -> Self {
        Self {
            file,
            medium,
            kind: DiskKind::VirtioBlock,
        }
    }
}

/// A virtio device (modern, and using the IOMMU) on the root bus, that is no disk.
#[derive(Debug)]
pub enum VirtioDevice {
    /// A network device. Its network is this datagram socket: a frame is a datagram. [`looped_network`] has one that sends
    /// everything back.
    Net(OwnedFd),
    /// A console, connected to this socket or pipe. [`looped_console`] has one that sends everything back.
    Console(ConsoleEnd),
    /// An entropy device; QEMU has its random bytes from the host.
    Rng,
    /// A graphics adapter whose screen nobody sees.
    Gpu,
}

/// What a console is connected to.
#[derive(Debug)]
pub enum ConsoleEnd {
    /// A stream socket.
    Socket(UnixStream),
    /// The reading end of a pipe, into which the console also writes.
    Pipe(OwnedFd),
}

impl VirtioDevice {
    /// The file that QEMU inherits for it.
    pub(crate) fn file(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Net(socket) => Some(socket.as_fd()),
            Self::Console(ConsoleEnd::Socket(socket)) => Some(socket.as_fd()),
            Self::Console(ConsoleEnd::Pipe(pipe)) => Some(pipe.as_fd()),
            Self::Rng | Self::Gpu => None,
        }
    }
}

/// A network that sends every frame back to its only device.
///
/// # Errors
/// The host's, if it gives no socket.
pub fn looped_network() -> io::Result<VirtioDevice> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // A socket that is connected to itself needs a name, though nobody else uses it.
    let name = format!("dmamap-{}-{}", process::id(), NEXT.fetch_add(1, Relaxed));
    let address = SocketAddr::from_abstract_name(name)?;
    let socket = UnixDatagram::bind_addr(&address)?;
    socket.connect_addr(&address)?;
    Ok(VirtioDevice::Net(socket.into()))
}

/// A console that gets back what it sends.
///
/// # Errors
/// The host's, if it gives no pipe.
pub fn looped_console() -> io::Result<VirtioDevice> {
    // QEMU opens it for reading and writing.
    let (reader, _writer) = io::pipe()?;
    Ok(VirtioDevice::Console(ConsoleEnd::Pipe(reader.into())))
}

/// One educational device has 28 address lines unless told otherwise.
pub const EDU_ADDRESS_BITS: u32 = 28;

/// A computer to be.
#[derive(Debug)]
pub struct QemuConfig {
    pub(crate) board: &'static Board,
    pub(crate) ram_len_bytes: u64,
    pub(crate) disks: Vec<Disk>,
    /// Address lines of each educational device.
    pub(crate) edus: Vec<u32>,
    pub(crate) iommu_testdevs: usize,
    pub(crate) virtio: Vec<VirtioDevice>,
}

/// Memory of a computer unless another size is asked for.
const DEFAULT_RAM_BYTES: u64 = 1 << 30;

impl QemuConfig {
    /// `board` with 1 GiB of memory and no device.
    pub fn new(board: &'static Board) -> Self {
        Self {
            board,
            ram_len_bytes: DEFAULT_RAM_BYTES,
            disks: Vec::new(),
            edus: Vec::new(),
            iommu_testdevs: 0,
            virtio: Vec::new(),
        }
    }

    /// With so much memory: whole MiB.
    pub fn with_ram(mut self, len_bytes: u64) -> Self {
        self.ram_len_bytes = len_bytes;
        self
    }

    /// With one more disk.
    pub fn with_disk(mut self, disk: Disk) -> Self {
        self.disks.push(disk);
        self
    }

    /// With one more educational device, with 28 address lines.
    pub fn with_edu(self) -> Self {
        self.with_edu_of(EDU_ADDRESS_BITS)
    }

    /// With one more educational device that drives `address_bits` lines, 1 to 64.
    pub fn with_edu_of(mut self, address_bits: u32) -> Self {
        self.edus.push(address_bits);
        self
    }

    /// With one more virtio device that is no disk.
    pub fn with_virtio(mut self, device: VirtioDevice) -> Self {
        self.virtio.push(device);
        self
    }

    /// With so many more of QEMU's IOMMU test devices.
    pub fn with_iommu_testdevs(mut self, count: usize) -> Self {
        self.iommu_testdevs += count;
        self
    }
}
