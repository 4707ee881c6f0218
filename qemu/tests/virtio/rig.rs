//! A computer behind a virtio-iommu whose requests can be altered.

use std::sync::Arc;

use dmamap::addr::{BusAddr, PhysAddr};
use dmamap::bridge::PeerForwarding;
use dmamap::buffer::DmaBuffer;
use dmamap::iommu::UnitError;
use dmamap::iommu::fault::Fault;
use dmamap::map::{FromDevice, ToDevice};
use dmamap::system::{AttachError, Protection};
use drivers::edu::Edu;
use hosted::Hosted;
use journeys::Computer;
use journeys::boot::BootOptions;
use journeys::unmap_blocks_device::unmap_blocks_device;
use qemu::Qemu;
use rig::boot_kernel;

use crate::altered::Altered;
use crate::support;

pub const BOARDS: [&str; 2] = ["q35-virtio", "arm-virtio"];

pub const FRAME: u64 = 4096;
/// An address of the device's 28 bits where nothing is mapped.
pub const UNMAPPED: BusAddr = BusAddr::new(0x0666_0000);

/// What a device holds, and what memory holds.
pub const SENT: u8 = 0xa5;
pub const KEPT: u8 = 0x5a;
/// Bytes it moves.
pub const LEN: u64 = 64;

/// A booted computer with two educational devices, whose requests can be altered.
pub struct Rig {
    pub qemu: Arc<Qemu>,
    pub altered: Arc<Altered>,
    pub kernel: Hosted,
    pub computer: Computer<Hosted>,
    pub unit: PhysAddr,
}

impl Rig {
    pub fn boot(board: &str) -> Option<Self> {
        let qemu = support::start(board, |config| config.with_edu().with_edu())?;
        let altered = Altered::new(qemu.clone());
        let kernel = Hosted::boot(altered.clone()).expect("the kernel boots");
        let (options, peers) = (BootOptions::default(), PeerForwarding::Unknown);
        let computer = boot_kernel(kernel, kernel, options, peers);
        let computer = computer.unwrap_or_else(|error| panic!("{board}: {error}"));
        let unit = PhysAddr::new(altered.follow(&computer));
        Some(Self {
            qemu,
            altered,
            kernel,
            computer,
            unit,
        })
    }

    /// What the driver says of a refused request.
    pub fn refused(&self, command: &'static str, reason: &'static str) -> UnitError {
        UnitError::Refused {
            unit: self.unit,
            command,
            reason,
        }
    }

    pub fn try_start(&mut self, number: usize) -> Result<Edu<Hosted>, AttachError> {
        let mut functions = self.computer.edus();
        let function = functions.nth(number).expect("it is there").clone();
        drop(functions);
        let system = self.computer.system();
        let device = system.attach(&function, Protection::Strict)?;
        let edu = Edu::start(device, &function, self.computer.resources_mut());
        Ok(edu.expect("it comes up"))
    }

    /// Attaches the first device, which holds a pattern then.
    pub fn start(&mut self) -> Edu<Hosted> {
        self.start_number(0)
    }

    pub fn start_number(&mut self, number: usize) -> Edu<Hosted> {
        let mut edu = self.try_start(number).expect("it attaches");
        let sent = edu.device().map_single(self.buffer(FRAME, SENT), ToDevice);
        edu.fetch(&sent.expect("it maps"), 0, LEN)
            .expect("it is read");
        edu
    }

    pub fn buffer(&self, len_bytes: u64, pattern: u8) -> DmaBuffer<Hosted> {
        let mut buffer = DmaBuffer::allocate(self.kernel, len_bytes).expect("there is memory");
        buffer.as_mut_slice().fill(pattern);
        buffer
    }

    /// The first fault of `edu`, the only device that was refused.
    pub fn fault(&self, edu: &Edu<Hosted>) -> Fault {
        let report = self.computer.system().faults();
        let [fault] = report.first_per_requester[..] else {
            panic!("{report:?}");
        };
        assert_eq!(report.overflows, 0);
        assert_eq!(fault.requester, edu.device().requester());
        assert_eq!(fault.unit, self.unit);
        fault
    }

    /// The unit works as ever, and everything ends and is given back.
    pub fn finish(mut self) {
        assert!(self.altered.is_done(), "no request was altered");
        let refused = unmap_blocks_device(&mut self.computer);
        refused.expect("the device is blocked");
        // SAFETY: every device was detached, and QEMU's devices obey their bus-master bit.
        unsafe { self.computer.system().shutdown() }.expect("the units stop");
        drop(self.computer);
        assert_eq!(self.qemu.failure(), None);
        let report = self.kernel.shutdown();
        assert!(report.is_clean(), "not given back: {report:?}");
    }
}

/// What is mapped now the device reaches.
pub fn is_reached(rig: &Rig, edu: &mut Edu<Hosted>) {
    let lent = edu
        .device()
        .map_single(rig.buffer(FRAME, KEPT), FromDevice)
        .expect("it maps");
    let faults = rig.computer.system().faults().total;
    edu.store(&lent, 0, LEN).expect("it is written");
    assert!(holds(&lent.unmap().expect("it comes back"), SENT));
    assert_eq!(rig.computer.system().faults().total, faults);
}

pub fn holds(buffer: &DmaBuffer<Hosted>, pattern: u8) -> bool {
    buffer.as_slice()[..LEN as usize]
        .iter()
        .all(|&byte| byte == pattern)
}
