//! The educational device at work for a journey: what it is made to write and read, and what it attempts.

use dmamap::addr::BusAddr;
use dmamap::buffer::DmaBuffer;
use dmamap::device::Device;
use dmamap::iommu::Requester;
use dmamap::iommu::fault::Access;
use dmamap::map::{Elements, FromDevice, Permission, ToDevice};
use dmamap::pci::Function;
use dmamap::platform::Platform;
use dmamap::system::{DmaSystem, Protection};
use drivers::edu::Edu;

use crate::computer::Computer;
use crate::isolation::{
    self, ATTEMPT_BYTES, Attempt, Held, IsolationError, buffer_of, detach_treated, not_lent,
    not_mapped, refusal,
};
use crate::needs::{Needs, Unmet};

/// What the device writes to memory that both sides share.
const EXCHANGED: u8 = 0xc6;

/// What keeps the device from memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Confinement {
    /// A unit: it reaches only what is mapped for it.
    Unit,
    /// That it does what it is told.
    Obedience,
}

/// The educational device at work. Behind an IOMMU it reaches only what is mapped for it, whatever it is told to do.
pub(crate) struct ConfinedEdu<P: Platform> {
    system: &'static DmaSystem<P>,
    protection: Protection,
    confinement: Confinement,
    edu: Edu<P>,
}

impl<P: Platform> ConfinedEdu<P> {
    /// Attaches the computer's first educational device so that it need not be trusted.
    pub(crate) fn attach(computer: &mut Computer<P>) -> Result<Self, IsolationError> {
        Self::attach_as(computer, computer.protection)
    }

    /// As [`attach`](Self::attach), protected as `protection` says.
    pub(crate) fn attach_as(
        computer: &mut Computer<P>,
        protection: Protection,
    ) -> Result<Self, IsolationError> {
        let function = first_edu(computer)?;
        let device = computer.system.attach(&function, protection)?;
        Self::start(computer, device, &function, protection, Confinement::Unit)
    }

    /// As [`attach`](Self::attach) where units translate; where none does the device is trusted.
    ///
    /// # Safety
    /// As [`Computer::attach_or_trust`].
    pub(crate) unsafe fn attach_or_trust(
        computer: &mut Computer<P>,
    ) -> Result<Self, IsolationError> {
        let function = first_edu(computer)?;
        // SAFETY: the caller vouches for the device.
        let device = unsafe { computer.attach_or_trust(&function)? };
        let confinement = match computer.has_iommu() {
            true => Confinement::Unit,
            false => Confinement::Obedience,
        };
        let protection = computer.protection;
        Self::start(computer, device, &function, protection, confinement)
    }

    fn start(
        computer: &mut Computer<P>,
        device: Device<P>,
        function: &Function<P>,
        protection: Protection,
        confinement: Confinement,
    ) -> Result<Self, IsolationError> {
        let edu = Edu::start(device, function, &mut computer.resources);
        Ok(Self {
            system: computer.system,
            protection,
            confinement,
            edu: edu.map_err(|failed| failed.error)?,
        })
    }

    /// That the device is protected otherwise from now on.
    pub(crate) fn now_protected(&mut self, protection: Protection) {
        self.protection = protection;
    }

    /// Has the device write `pattern` to memory that it is lent.
    ///
    /// # Safety
    /// [`ATTEMPT_BYTES`] bytes from `bus` on are lent to the device, which may write them.
    pub(crate) unsafe fn writes(
        &mut self,
        bus: BusAddr,
        pattern: u8,
    ) -> Result<(), IsolationError> {
        self.load(pattern)?;
        // SAFETY: the caller's promise.
        unsafe { self.edu.store_at(bus, ATTEMPT_BYTES as u64)? };
        Ok(())
    }

    /// Has the device read memory that it is lent, which is to hold `pattern`.
    ///
    /// # Safety
    /// [`ATTEMPT_BYTES`] bytes from `bus` on are lent to the device, which may read them.
    pub(crate) unsafe fn reads(&mut self, bus: BusAddr, pattern: u8) -> Result<(), IsolationError> {
        // What it holds is something else, should it read nothing.
        self.load(!pattern)?;
        // SAFETY: the caller's promise.
        unsafe { self.edu.fetch_at(bus, ATTEMPT_BYTES as u64)? };
        match self.holds(pattern)? {
            Held::Pattern => Ok(()),
            Held::SomethingElse => Err(self.not_reached(bus)),
        }
    }

    /// Has the device write the start of coherent memory of its own, where the CPU finds that, and read what the CPU then writes
    /// there.
    pub(crate) fn exchange(&mut self, memory: &Elements<P, u8>) -> Result<(), IsolationError> {
        let bus = memory.bus_addr();
        if memory.len() < ATTEMPT_BYTES {
            return Err(self.unexpected("its memory is too short"));
        }
        // SAFETY: the memory is this device's, long enough, and lives; coherent memory may be read and written.
        unsafe { self.writes(bus, EXCHANGED)? };
        let mut read = [0; ATTEMPT_BYTES];
        memory.read_bytes(0, &mut read).map_err(not_lent)?;
        self.arrived(bus, &read, EXCHANGED)?;
        let answer = [!EXCHANGED; ATTEMPT_BYTES];
        memory.write_bytes(0, &answer).map_err(not_lent)?;
        // SAFETY: as above.
        unsafe { self.reads(bus, !EXCHANGED) }
    }

    /// That `bytes`, which the device was to write at `bus`, are all `pattern`.
    pub(crate) fn arrived(
        &self,
        bus: BusAddr,
        bytes: &[u8],
        pattern: u8,
    ) -> Result<(), IsolationError> {
        match bytes.iter().all(|&byte| byte == pattern) {
            true => Ok(()),
            false => Err(self.not_reached(bus)),
        }
    }

    pub(crate) fn requester(&self) -> Requester {
        self.edu.device().requester()
    }

    pub(crate) fn edu(&mut self) -> &mut Edu<P> {
        &mut self.edu
    }

    /// Fills the device's buffer with `pattern`, by way of memory mapped for it.
    pub(crate) fn load(&mut self, pattern: u8) -> Result<(), IsolationError> {
        let device = self.edu.device();
        let buffer = buffer_of(device, pattern)?;
        let mapping = device.map_single(buffer, ToDevice).map_err(not_mapped)?;
        self.edu.fetch(&mapping, 0, ATTEMPT_BYTES as u64)?;
        mapping.unmap()?;
        Ok(())
    }

    /// Puts `bytes` into the device's buffer, by way of memory mapped for it.
    pub(crate) fn load_bytes(&mut self, bytes: &[u8]) -> Result<(), IsolationError> {
        let device = self.edu.device();
        let mut buffer = DmaBuffer::allocate_for(device, bytes.len() as u64)?;
        buffer.as_mut_slice()[..bytes.len()].copy_from_slice(bytes);
        let mapping = device.map_single(buffer, ToDevice).map_err(not_mapped)?;
        self.edu.fetch(&mapping, 0, bytes.len() as u64)?;
        mapping.unmap()?;
        Ok(())
    }

    /// Takes what the device's buffer holds, by way of memory mapped for it.
    pub(crate) fn stored_bytes(&mut self, into: &mut [u8]) -> Result<(), IsolationError> {
        let device = self.edu.device();
        let buffer = DmaBuffer::allocate_for(device, into.len() as u64)?;
        let mapping = device.map_single(buffer, FromDevice).map_err(not_mapped)?;
        self.edu.store(&mapping, 0, into.len() as u64)?;
        let bytes = mapping.unmap()?;
        into.copy_from_slice(&bytes.as_slice()[..into.len()]);
        Ok(())
    }

    /// Whether the device's buffer is full of `pattern`, by way of memory mapped for it.
    pub(crate) fn holds(&mut self, pattern: u8) -> Result<Held, IsolationError> {
        let device = self.edu.device();
        let buffer = buffer_of(device, !pattern)?;
        let mapping = device.map_single(buffer, FromDevice).map_err(not_mapped)?;
        self.edu.store(&mapping, 0, ATTEMPT_BYTES as u64)?;
        Ok(Held::of(&mapping.unmap()?, pattern))
    }

    /// As [`attempt_write`](Self::attempt_write) where a unit confines the device. One that is trusted is not told to go
    /// where it must not: nothing would stop it.
    pub(crate) fn attempt_where_confined(
        &mut self,
        bus: BusAddr,
    ) -> Result<Option<Attempt>, IsolationError> {
        match self.confinement {
            Confinement::Unit => self.attempt_write(bus).map(Some),
            Confinement::Obedience => Ok(None),
        }
    }

    /// As [`attempt_where_confined`](Self::attempt_where_confined), `buffer` being memory that the device had at `bus`: it is
    /// filled with `kept` before, and must hold that after.
    pub(crate) fn attempt_on(
        &mut self,
        buffer: &mut DmaBuffer<P>,
        bus: BusAddr,
        kept: u8,
    ) -> Result<Option<Attempt>, IsolationError> {
        self.refill(buffer, kept);
        let attempt = self.attempt_where_confined(bus)?;
        self.check_kept(buffer, bus, kept)?;
        Ok(attempt)
    }

    /// Fills memory that the device has lost with `kept`, in memory itself: what stayed in a cache would hide what the device
    /// writes all the same.
    pub(crate) fn refill(&mut self, buffer: &mut DmaBuffer<P>, kept: u8) {
        let device = self.edu.device();
        isolation::refill(device.platform(), device.coherence(), buffer, kept);
    }

    /// That memory still holds it.
    ///
    /// # Errors
    /// [`IsolationError::Breached`] at `bus`, where the device attempted to write.
    pub(crate) fn check_kept(
        &mut self,
        buffer: &mut DmaBuffer<P>,
        bus: BusAddr,
        kept: u8,
    ) -> Result<(), IsolationError> {
        let device = self.edu.device();
        match isolation::is_kept(device.platform(), device.coherence(), buffer, kept) {
            true => Ok(()),
            false => Err(self.breached(bus)),
        }
    }

    /// Has the device write at `bus`, where it must reach nobody's memory; the caller then looks at the memory.
    pub(crate) fn attempt_write(&mut self, bus: BusAddr) -> Result<Attempt, IsolationError> {
        if self.confinement == Confinement::Obedience {
            return Err(Needs::IOMMU.unmet().into());
        }
        let faults_before = self.system.faults();
        // SAFETY: the device was attached by the safe `attach`, as was just looked at, so it is confined.
        unsafe { self.edu.store_at(bus, ATTEMPT_BYTES as u64)? };
        let allowed = self.edu.device().permission(bus);
        if self.protection == Protection::Bounce && allowed.is_some_and(Permission::writes) {
            return Ok(Attempt::Absorbed(bus));
        }
        let device = self.requester();
        let platform = self.edu.device().platform();
        refusal(self.system, platform, device, bus, &faults_before).map(Attempt::Refused)
    }

    /// That the device wrote where it must not.
    pub(crate) fn breached(&self, bus: BusAddr) -> IsolationError {
        IsolationError::Breached {
            device: self.requester(),
            bus,
            access: Access::Write,
        }
    }

    /// That something is not as it must be.
    pub(crate) fn unexpected(&self, what: &'static str) -> IsolationError {
        IsolationError::Unexpected {
            device: self.requester(),
            what,
        }
    }

    /// That the device did not reach what was mapped for it.
    pub(crate) fn not_reached(&self, bus: BusAddr) -> IsolationError {
        IsolationError::NotReached {
            device: self.requester(),
            bus,
        }
    }

    /// Ends the device's work and gives it back.
    pub(crate) fn stop(self) -> Device<P> {
        self.edu.stop()
    }

    /// Detaches the device, which must have been treated as the protection says.
    pub(crate) fn detach(self, computer: &Computer<P>) -> Result<(), IsolationError> {
        let device = self.edu.stop();
        detach_treated(computer, device, self.protection)
    }
}

/// The computer's first educational device.
pub(crate) fn first_edu<P: Platform>(computer: &Computer<P>) -> Result<Function<P>, Unmet> {
    let function = computer.edus().next().cloned();
    function.ok_or(Needs::EDU.unmet())
}
