//! The attacker on QEMU's boards: a test device in a domain of its own that aims where it was never sent, while the
//! disk works. On our own machine the disk itself attacks.

use dmamap::addr::{BusAddr, PhysAddr};
use dmamap::buffer::DmaBuffer;
use dmamap::map::{FromDevice, Mapping};
use dmamap::pci::Function;
use dmamap::system::{DmaSystem, Protection};
use drivers::iommu_testdev::{IommuTestdev, Verdict};
use hosted::Hosted;
use hw::iommu_testdev::{DEVICE_ID, VENDOR_ID};
use machine::device::nvme::RogueReport;

use crate::computer::Booted;
use crate::error::Error;

/// One attempt in so many pieces of the disk, after the first.
const PIECES_PER_ATTEMPT: u64 = 4;

/// Kinds of places it aims at, in turn.
const TARGETS: u64 = 4;

/// Bytes an attempt writes.
const ATTEMPT_BYTES: u64 = 64;

/// A byte that no attempt writes, as QEMU's test device writes a pattern of its own.
const KEPT: u8 = 0x3e;

/// The test device, and memory that it must not reach.
pub(crate) struct Rogue {
    system: &'static DmaSystem<Hosted>,
    device: IommuTestdev<Hosted>,
    /// What it was lent once: a page that it reached, and no longer may.
    lost: DmaBuffer<Hosted>,
    lost_at: BusAddr,
    pieces: u64,
    dice: u64,
    attempts: u64,
    reached: u64,
}

impl Rogue {
    /// Takes the computer's test device, and sees that it reaches what it is lent.
    pub(crate) fn start(booted: &mut Booted, seed: u64) -> Result<Self, Error> {
        let functions = booted.computer.topology().functions();
        let is_testdev =
            |one: &&Function<Hosted>| (one.vendor(), one.device()) == (VENDOR_ID, DEVICE_ID);
        let function = functions.into_iter().find(is_testdev).cloned();
        let function = function.ok_or_else(|| Error::failed("the computer has no test device"))?;
        let device = booted
            .attach(&function, Protection::Strict)
            .map_err(Error::failed)?;
        let resources = booted.computer.resources_mut();
        let mut device = IommuTestdev::start(device, &function, resources)
            .map_err(|failed| Error::failed(failed.error))?;
        let lent =
            DmaBuffer::allocate_for(device.device(), ATTEMPT_BYTES).map_err(Error::failed)?;
        let mapping = device
            .device()
            .map_single(lent, FromDevice)
            .map_err(|rejected| Error::failed(rejected.error))?;
        let verdict = write(&mut device, &mapping)?;
        if verdict != Verdict::Arrived {
            return Err(Error::failed(
                "the test device does not reach what it is lent",
            ));
        }
        let lost_at = mapping.bus_addr();
        let mut lost = mapping.unmap().map_err(Error::failed)?;
        lost.as_mut_slice().fill(KEPT);
        Ok(Self {
            system: booted.system(),
            device,
            lost,
            lost_at,
            pieces: 0,
            dice: seed | 1,
            attempts: 0,
            reached: 0,
        })
    }

    /// A piece of the disk has arrived: tries its luck every few times.
    pub(crate) fn strike(&mut self) -> Result<(), Error> {
        self.pieces += 1;
        if self.pieces > 3 && !self.pieces.is_multiple_of(PIECES_PER_ATTEMPT) {
            return Ok(());
        }
        self.attempt()
    }

    /// Aims at the next of its targets.
    fn attempt(&mut self) -> Result<(), Error> {
        // Xorshift: where to aim need not be unpredictable, only different each time.
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        let lost = self.lost.phys(0).unwrap_or(PhysAddr::new(0));
        let targets: [_; TARGETS as usize] = [
            // The page at bus address 0, and what it was lent before.
            (BusAddr::new(0), PhysAddr::new(0)),
            (self.lost_at, lost),
            // Somewhere: physical memory, where translation is missing.
            (BusAddr::new(lost.as_u64()), lost),
            (
                BusAddr::new(self.dice >> (self.dice % 40) & !0xfff),
                PhysAddr::new(0),
            ),
        ];
        let (bus, phys) = targets[self.attempts as usize % targets.len()];
        self.attempts += 1;
        // SAFETY: the device was attached by the safe `attach`, behind an IOMMU, so it is confined.
        let verdict = unsafe { self.device.write_at(bus, phys, ATTEMPT_BYTES) };
        if verdict.map_err(Error::failed)? != Verdict::Refused {
            self.reached += 1;
        }
        // No interrupt tells of faults here, and units have few records.
        self.system.service_faults();
        Ok(())
    }

    /// Ends the attacks and gives the device back.
    pub(crate) fn stop(mut self) -> Result<RogueReport, Error> {
        // Of a short disk few pieces came by: no kind of place is left out.
        while self.attempts < TARGETS {
            self.attempt()?;
        }
        let untouched = self.lost.as_slice().iter().all(|&byte| byte == KEPT);
        self.device.stop().detach().map_err(Error::failed)?;
        Ok(RogueReport {
            attempts: self.attempts,
            breaches_total: self.reached + u64::from(!untouched),
            breaches: Vec::new(),
        })
    }
}

fn write(
    device: &mut IommuTestdev<Hosted>,
    mapping: &Mapping<Hosted, DmaBuffer<Hosted>, FromDevice>,
) -> Result<Verdict, Error> {
    device
        .write(mapping, 0, ATTEMPT_BYTES)
        .map_err(Error::failed)
}
