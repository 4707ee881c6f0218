//! Putting a device into a domain, and taking it out.

use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use alloc::boxed::Box;
use alloc::sync::Arc;

use super::new_domain::without;
use super::reserved::Reserved;
use super::{AttachError, CoreSlot, DmaSystem, FirmwareDevice, Phase, Protection};
use crate::bridge::HostBridge;
use crate::device::{DetachError, Device, DeviceCore};
use crate::iommu::{Domain, DomainError, DomainId, PassThrough, Requester, Translate, UnitError};
use crate::map::{Direct, Permission, Route};
use crate::pci::{Function, PortType};
use crate::platform::Platform;

/// Whether somebody vouched for a device.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// Nobody did: something must be able to take memory back from it.
    Withheld,
    /// The caller of [`DmaSystem::attach_trusted`] did.
    Given,
}

/// An attach under way: what stands before a device is being made.
struct Attaching<P: Platform>(&'static DmaSystem<P>);

impl<P: Platform> Drop for Attaching<P> {
    fn drop(&mut self) {
        self.0.state.lock().attaching -= 1;
    }
}

/// What stands below a device's route in hardware, to be undone at detach.
pub(crate) enum Below {
    /// No unit was told of the device.
    Nothing,
    /// Its unit translates for it, or lets it through.
    Unit {
        /// The unit's number.
        unit: usize,
        /// The id its translations carry.
        id: DomainId,
    },
}

impl<P: Platform> DmaSystem<P> {
    /// Attaches a device that need not be trusted, and lets it do DMA: a unit stands before it, and it
    /// reaches only what is mapped for it.
    ///
    /// # Errors
    /// [`AttachError`]; [`AttachError::NotRevocable`] where no unit translates for the device, or
    /// `protection` asks for none.
    pub fn attach(
        &'static self,
        function: &Function<P>,
        protection: Protection,
    ) -> Result<Device<P>, AttachError> {
        self.attach_any(function, protection, Trust::Withheld)
    }

    /// Attaches a device that the caller trusts. Where no unit translates for it, `protection` can only be
    /// [`Blocked`](Protection::Blocked) or is taken as [`Identity`](Protection::Identity).
    ///
    /// # Errors
    /// [`AttachError`].
    ///
    /// # Safety
    /// What [`start_units`](Self::start_units) asks of [`HostBridge::coherence`] holds here too.
    ///
    /// With [`Protection::Identity`], or where no unit translates for the device
    /// ([`is_translated`](Self::is_translated)), the caller vouches that the device accesses only the bus
    /// addresses its driver gives it, and that the driver
    /// - gives it only addresses of mappings that live, of coherent memory, and of message interrupts;
    /// - unmaps, frees, drops or detaches only after the device has finished with the memory.
    pub unsafe fn attach_trusted(
        &'static self,
        function: &Function<P>,
        protection: Protection,
    ) -> Result<Device<P>, AttachError> {
        self.attach_any(function, protection, Trust::Given)
    }

    fn attach_any(
        &'static self,
        function: &Function<P>,
        protection: Protection,
        trust: Trust,
    ) -> Result<Device<P>, AttachError> {
        self.sweep();
        let device = requester_of(function);
        {
            let mut state = self.state.lock();
            if !matches!(state.phase, Phase::Off | Phase::Running) {
                return Err(AttachError::UnitsChanging { device });
            }
            if state.attached.contains(&device) {
                return Err(AttachError::AlreadyAttached { device });
            }
            // Requests of both would look the same to their unit.
            if let Some(scopes) = &state.scopes
                && let Some(behind) = scopes.behind(device)
                && let Some(&alias) = state
                    .attached
                    .iter()
                    .find(|&&other| scopes.behind(other) == Some(behind))
            {
                return Err(AttachError::Alias { device, alias });
            }
            state.attached.push(device);
            state.attaching += 1;
        }
        let _attaching = Attaching(self);
        // From here on the units are not stopped: what stands before the device stays there.
        let (route, below) = match self.route(function, device, protection, trust) {
            Ok(route) => route,
            Err(error) => {
                if error.is_settled() {
                    self.forget(device);
                }
                return Err(error);
            }
        };
        let blocked = matches!(route, Route::Blocked);
        let core = DeviceCore::new(
            self,
            function.clone(),
            device,
            route,
            below,
            self.coherence_of(device),
        );
        let core = NonNull::from(Box::leak(Box::new(core)));
        self.state.lock().cores.push(CoreSlot(core));
        // SAFETY: it is freed once its handle is gone, which is made below.
        self.let_master(unsafe { core.as_ref() });
        if blocked && self.unit_of(device).is_none() {
            // No unit refuses its requests, so it must not make any.
            function.disable_bus_master();
        }
        Ok(Device::new(core))
    }

    fn route(
        &'static self,
        function: &Function<P>,
        device: Requester,
        protection: Protection,
        trust: Trust,
    ) -> Result<(Route<P>, Below), AttachError> {
        let unit = self.unit_of(device);
        let revocable = match protection {
            Protection::Blocked => true,
            Protection::Identity => false,
            Protection::Deferred | Protection::Strict | Protection::Bounce => unit.is_some(),
        };
        if trust == Trust::Withheld && !revocable {
            return Err(AttachError::NotRevocable { device });
        }
        let conventional =
            |bridge: &Function<P>| bridge.port_type() == Some(PortType::PcieToPciBridge);
        if unit.is_some() && protection != Protection::Blocked && function.path().any(conventional)
        {
            return Err(AttachError::BehindConventionalBridge { device });
        }
        match (protection, unit) {
            (Protection::Blocked, _) => Ok((Route::Blocked, Below::Nothing)),
            (_, None) => {
                let bridge = self
                    .bridge_of(device)
                    .ok_or(AttachError::NoHostBridge { device })?;
                Ok((Route::Direct(Direct::behind(bridge)), Below::Nothing))
            }
            (Protection::Identity, Some(unit)) => {
                let id = self.id_for(device)?;
                let direct = match self.pass_through(device, unit, id) {
                    Ok(true) => Ok(Direct::passed_through(None)),
                    Ok(false) => self.identity(device, unit, id),
                    Err(error) => Err(error),
                };
                let direct = direct.inspect_err(|error| self.return_id_after(error, device, id))?;
                Ok((Route::Direct(direct), Below::Unit { unit, id }))
            }
            (Protection::Deferred | Protection::Strict | Protection::Bounce, Some(unit)) => {
                let id = self.id_for(device)?;
                let domain = self
                    .build_domain(device, unit, id)
                    .and_then(|domain| self.enter(device, unit, id, domain))
                    .inspect_err(|error| self.return_id_after(error, device, id))?;
                Ok((Route::Translated(domain), Below::Unit { unit, id }))
            }
        }
    }

    /// Asks the unit to let the device through; false where it cannot. A device with memory reserved by firmware
    /// is not let through: that asks for another address width than its table has, so its requests would be
    /// refused for a moment (VT-d 9.3, AW).
    fn pass_through(
        &self,
        device: Requester,
        unit: usize,
        id: DomainId,
    ) -> Result<bool, AttachError> {
        let units = self.units();
        let supported = units[unit].facts().pass_through == PassThrough::Supported;
        if !supported || self.firmware_device(device).is_some() {
            return Ok(false);
        }
        let attachment = self.attachment(device);
        match units[unit].move_to(attachment, id, Translate::PassThrough) {
            Ok(()) => Ok(true),
            Err(error) => {
                let left = self.leave(device, unit, id);
                Err(not_attached(device, error.into(), left))
            }
        }
    }

    /// A domain in which every byte of RAM is mapped at its own address.
    fn identity(
        &'static self,
        device: Requester,
        unit: usize,
        id: DomainId,
    ) -> Result<Direct<P>, AttachError> {
        let domain = self.build_domain(device, unit, id)?;
        let regions = self.direct_regions_of(device);
        let mut outcome = Ok(());
        self.platform.memory_map(&mut |ram| {
            // Memory that firmware reserved for the device is in the domain already.
            for piece in without(ram, &regions) {
                let mapped = domain.map_direct(piece, Permission::ReadWrite);
                outcome = core::mem::replace(&mut outcome, Ok(())).and(mapped);
            }
        });
        outcome.map_err(|error| AttachError::Domain { device, error })?;
        Ok(Direct::passed_through(Some(
            self.enter(device, unit, id, domain)?,
        )))
    }

    /// Points the device's unit at `domain`.
    fn enter(
        &self,
        device: Requester,
        unit: usize,
        id: DomainId,
        domain: Domain<P>,
    ) -> Result<Domain<P>, AttachError> {
        let attachment = self.attachment(device);
        match domain.attach(unit, attachment) {
            Ok(()) => Ok(domain),
            Err(error) => {
                // Whether the unit took it is not known: take it away again before the table goes.
                let left = domain.end(self.leave(device, unit, id));
                Err(not_attached(device, error, left))
            }
        }
    }

    /// Takes the device from whatever its unit does for it, back to the memory that firmware reserved for it.
    fn leave(&self, device: Requester, unit: usize, id: DomainId) -> Result<(), UnitError> {
        let attachment = self.attachment(device);
        let units = self.units();
        let Some(unit) = units.get(unit) else {
            return Ok(());
        };
        let firmware = self.firmware_device(device);
        match firmware.and_then(|firmware| firmware.domain.root()) {
            Some(root) => unit.move_to(attachment, id, root),
            None => unit.detach(attachment, id),
        }
    }

    /// Takes the device's way to memory away. Called by the device's handle, and again where that was not confirmed.
    pub(crate) fn detach(&self, core: &DeviceCore<P>) -> Result<(), DetachError> {
        let device = core.requester;
        // A device that firmware left at work goes on within its reserved memory.
        let goes_on = self.is_left_at_work(device);
        {
            let _state = self.state.lock();
            core.leaving.store(true, Ordering::Release);
            if !goes_on {
                core.function.disable_bus_master();
            }
        }
        let Below::Unit { unit, id } = core.below else {
            self.forget(device);
            return Ok(());
        };
        let outcome = self.leave(device, unit, id);
        let domain = match &core.route {
            Route::Translated(domain) => Some(domain),
            Route::Direct(direct) => direct.identity_domain(),
            Route::Blocked => None,
        };
        let outcome = match domain {
            Some(domain) => domain.end(outcome),
            None => outcome,
        };
        match outcome {
            Ok(()) => {
                if core.route.is_revoked() {
                    let taken = core.quarantine.take();
                    // SAFETY: every unit confirmed that no device reaches anything through the domain.
                    unsafe { core.quarantine.release(taken) };
                }
                self.return_id(device, id);
                self.forget(device);
                Ok(())
            }
            // Neither the id nor the device is used again before it is confirmed: both may still be in the unit's
            // caches.
            Err(error) => {
                core.detach_unconfirmed.store(true, Ordering::Release);
                Err(DetachError { device, error })
            }
        }
    }

    /// The host bridge that leads to the device.
    pub(super) fn bridge_of(&self, device: Requester) -> Option<&HostBridge> {
        let bus = (device.id >> 8) as u8;
        let mut bridges = self.bridges.iter();
        bridges.find(|bridge| bridge.leads_to(device.segment, bus))
    }

    fn forget(&self, device: Requester) {
        self.state.lock().attached.retain(|&known| known != device);
    }

    pub(super) fn unit_of(&self, device: Requester) -> Option<usize> {
        Some(self.behind(device)?.unit)
    }

    pub(super) fn firmware_device(&self, device: Requester) -> Option<Arc<FirmwareDevice<P>>> {
        let state = self.state.lock();
        let behind = state.scopes.as_ref()?.behind(device)?;
        let mut firmware = state.firmware.iter();
        firmware.find(|known| known.behind == behind).cloned()
    }

    /// Whether firmware left memory to the device itself, and not only to an alias of it.
    pub(super) fn is_left_at_work(&self, device: Requester) -> bool {
        let is_behind = self.behind(device).is_some();
        let state = self.state.lock();
        let mut reserved = state.reserved.iter();
        is_behind
            && reserved
                .any(|each| each.device == device && matches!(each.what, Reserved::Direct(..)))
    }

    pub(super) fn allocate_id(&self, device: Requester) -> Result<DomainId, AttachError> {
        self.state
            .lock()
            .ids
            .allocate()
            .ok_or(AttachError::OutOfDomains { device })
    }

    /// A device with memory reserved by firmware keeps one id, so that its unit moves it from one table to
    /// the other in one store and its own requests never fault in between.
    fn id_for(&self, device: Requester) -> Result<DomainId, AttachError> {
        match self.firmware_device(device) {
            Some(firmware) => Ok(firmware.id),
            None => self.allocate_id(device),
        }
    }

    fn return_id_after(&self, error: &AttachError, device: Requester, id: DomainId) {
        if error.is_settled() {
            self.return_id(device, id);
        }
    }

    fn return_id(&self, device: Requester, id: DomainId) {
        if self.firmware_device(device).is_none() {
            self.state.lock().ids.free(id);
        }
    }
}

/// The error of a device that its unit did not take, and did or did not confirm to have `left` again.
fn not_attached(device: Requester, error: DomainError, left: Result<(), UnitError>) -> AttachError {
    match left {
        Ok(()) => AttachError::Domain { device, error },
        Err(undo) => AttachError::Unconfirmed {
            device,
            error: Box::new(error),
            undo,
        },
    }
}

pub(super) fn requester_of<P: Platform>(function: &Function<P>) -> Requester {
    Requester {
        segment: function.address().segment,
        id: function.requester(),
    }
}
