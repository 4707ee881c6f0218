//! The way into a group's domain and out of it again, in the tables of its unit.

use core::sync::atomic::Ordering;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::new_domain::without;
use super::occupancy::{GroupKey, Shared, Turn};
use super::reserved::Reserved;
use super::{AttachError, DmaSystem, FirmwareDevice, Protection};
use crate::device::{DetachError, DeviceCore, HeldBriefly};
use crate::iommu::{
    Attachment, Domain, DomainError, DomainId, PassThrough, Requester, Translate, UnitError,
};
use crate::map::{Permission, Route};
use crate::platform::Platform;

/// What a unit calls devices changes only while nobody is attached.
const SAME_NAMES: &str = "a device has the names it was attached by";

impl<P: Platform> DmaSystem<P> {
    /// Puts the first of a group into what all of it will share; `None` for nothing at all.
    pub(super) fn found(
        &'static self,
        device: Requester,
        unit: usize,
        protection: Protection,
        turn: &Turn<P>,
    ) -> Result<Option<Arc<Shared<P>>>, AttachError> {
        if protection == Protection::Blocked {
            return Ok(None);
        }
        let mut streams = self.attachments(device, unit)?;
        let firmware = self.firmware_device(turn.key, unit);
        // What firmware keeps at work in the group comes along: a unit may know it by the same name, and the domain holds
        // all memory that was reserved for it.
        for stream in firmware.iter().flat_map(|firmware| &firmware.streams) {
            add(&mut streams, *stream);
        }
        let id = match &firmware {
            // One id, so that its unit moves it from one table to the other in one store and its own requests never
            // fault in between.
            Some(firmware) => firmware.id,
            None => self.allocate_id(device)?,
        };
        let founded = self.found_domain(device, unit, id, protection, firmware.is_some());
        let founded = founded.and_then(|domain| {
            let shared = Arc::new(Shared { unit, id, domain });
            // Before the unit is told: should it not be known whether it forgot, it is asked again.
            turn.found(&shared);
            self.enter_all(device, &shared, &streams, turn.key)?;
            Ok(Some(shared))
        });
        founded.inspect_err(|error| {
            if error.is_settled() {
                self.return_id(turn.key, unit, id);
            }
        })
    }

    /// The domain of a group; `None` where its unit lets it through instead. A group with memory reserved by firmware is
    /// not let through: that asks for another address width than its table has, so its requests would be refused for
    /// a moment (VT-d 9.3, AW).
    fn found_domain(
        &self,
        device: Requester,
        unit: usize,
        id: DomainId,
        protection: Protection,
        has_firmware: bool,
    ) -> Result<Option<Arc<Domain<P>>>, AttachError> {
        if protection != Protection::Identity {
            let domain = self.build_domain(device, unit, id)?;
            if protection == Protection::Deferred {
                domain
                    .lend_flush_room()
                    .map_err(|error| AttachError::Domain { device, error })?;
            }
            return Ok(Some(domain.into_shared()));
        }
        let supported = self.units()[unit].facts().pass_through == PassThrough::Supported;
        if supported && !has_firmware {
            return Ok(None);
        }
        Ok(Some(Arc::new(self.identity(device, unit, id)?)))
    }

    /// A domain in which every byte of RAM is mapped at its own address.
    fn identity(
        &self,
        device: Requester,
        unit: usize,
        id: DomainId,
    ) -> Result<Domain<P>, AttachError> {
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
        Ok(domain)
    }

    /// Points the unit at `shared` for the first streams of a group.
    fn enter_all(
        &self,
        device: Requester,
        shared: &Shared<P>,
        streams: &[Attachment],
        key: GroupKey,
    ) -> Result<(), AttachError> {
        self.enter(shared, streams, &[]).map_err(|error| {
            // Whether the unit took it is not known: take it away again before the table goes.
            let left = self.leave(shared, streams, key);
            let left = match &shared.domain {
                Some(domain) => domain.end(left),
                None => left,
            };
            not_attached(device, error, left)
        })
    }

    /// Puts one more of a group into what the others share.
    pub(super) fn join(
        &self,
        device: Requester,
        unit: usize,
        other: Requester,
        shared: &Shared<P>,
        turn: &Turn<P>,
    ) -> Result<(), AttachError> {
        if unit != shared.unit {
            return Err(AttachError::GroupAcrossUnits { device, other });
        }
        let held = self.held_by(&turn.members(), unit, turn.key)?;
        let mut streams = self.attachments(device, unit)?;
        let mut known = Vec::new();
        streams.retain(|stream| {
            let is_held = holds(&held, *stream);
            if is_held {
                known.push(*stream);
            }
            !is_held
        });
        self.enter(shared, &streams, &known).map_err(|error| {
            let left = self.leave(shared, &streams, turn.key);
            not_attached(device, error, left)
        })
    }

    /// Points the unit at `shared` for `streams`, `known` being those of the same device that are in it already.
    ///
    /// A unit may not know each name a device could speak in (virtio): one is enough, the others get nowhere.
    fn enter(
        &self,
        shared: &Shared<P>,
        streams: &[Attachment],
        known: &[Attachment],
    ) -> Result<(), DomainError> {
        let mut entered = !known.is_empty();
        let mut refused = Ok(());
        for &stream in streams {
            let outcome = match &shared.domain {
                Some(domain) => domain.attach(shared.unit, stream),
                None => self.units()[shared.unit]
                    .move_to(stream, shared.id, Translate::PassThrough)
                    .map_err(DomainError::from),
            };
            match outcome {
                Ok(()) => entered = true,
                Err(error @ DomainError::Unit(UnitError::Refused { .. })) => refused = Err(error),
                Err(error) => return Err(error),
            }
        }
        if entered { Ok(()) } else { refused }
    }

    /// Takes `streams` from whatever their unit does for them, back to the memory that firmware reserved for them. All are
    /// tried.
    fn leave(
        &self,
        shared: &Shared<P>,
        streams: &[Attachment],
        key: GroupKey,
    ) -> Result<(), UnitError> {
        let units = self.units();
        let Some(unit) = units.get(shared.unit) else {
            return Ok(());
        };
        let firmware = self.firmware_device(key, shared.unit);
        let mut outcome = Ok(());
        for &stream in streams {
            let kept = firmware.as_ref().filter(|firmware| firmware.has(stream));
            let left = match kept.and_then(|firmware| firmware.domain.root()) {
                Some(root) => unit.move_to(stream, shared.id, root),
                None => unit.detach(stream, shared.id),
            };
            outcome = outcome.and(left);
        }
        outcome
    }

    /// Takes the device's way to memory away. Called once, by the device's handle.
    pub(crate) fn detach(&'static self, core: &DeviceCore<P>) -> Result<(), DetachError> {
        let device = core.requester;
        let turn = Turn::of_group(self, device);
        // A device that firmware left at work goes on within its reserved memory.
        let goes_on = self.is_left_at_work(device);
        {
            // Under the lock, so that nobody switches it on again who did not see that it leaves.
            let _state = self.state.lock();
            core.leaving.store(true, Ordering::Release);
            if !goes_on {
                core.function.disable_bus_master();
            }
        }
        let left = self.take_out(device, &turn).inspect_err(|_| {
            core.detach_unconfirmed.store(true, Ordering::Release);
        })?;
        drop(turn);
        self.give_back(core, &left);
        left.check(device, core.counters.live())
    }

    /// Takes `device`, of whose group this is the turn, out of what the group shares, and has it be known as attached no
    /// more.
    ///
    /// # Errors
    /// [`DetachError::Unconfirmed`]: it counts as lost then.
    pub(super) fn take_out(
        &self,
        device: Requester,
        turn: &Turn<P>,
    ) -> Result<Left<P>, DetachError> {
        let Some(shared) = turn.shared() else {
            turn.left(device);
            self.forget(device);
            return Ok(Left {
                other: None,
                domain: None,
            });
        };
        let is_other = |other: &Requester| *other != device;
        let members: Vec<_> = turn.members().into_iter().filter(is_other).collect();
        let lost: Vec<_> = turn
            .lost()
            .into_iter()
            .filter(|lost| is_other(&lost.device))
            .collect();
        let is_lost = turn.lost().len() > lost.len();
        let outcome = match (members.is_empty(), lost.first()) {
            (true, None) => self.dissolve(device, &shared, turn),
            // Who did not leave for certain before may still walk the table. Asked again it is by its own name.
            (true, Some(other)) if !is_lost => {
                let left = self.leave_all(device, &shared, turn);
                let left = left.and(Err(other.error));
                match &shared.domain {
                    Some(domain) => domain.end(left),
                    None => left,
                }
            }
            _ => self.part(device, &members, &shared, turn),
        };
        // Neither the id nor the device is used again before it is confirmed: both may still be in the unit's caches.
        outcome
            .inspect_err(|&error| turn.lose(device, error))
            .map_err(|error| DetachError::Unconfirmed { device, error })?;
        turn.left(device);
        self.forget(device);
        let mut others = { members.into_iter() }.chain(lost.iter().map(|lost| lost.device));
        Ok(Left {
            other: others.next(),
            domain: shared.domain.clone(),
        })
    }

    /// The last of a group leaves: its domain ends.
    fn dissolve(
        &self,
        device: Requester,
        shared: &Shared<P>,
        turn: &Turn<P>,
    ) -> Result<(), UnitError> {
        let left = self.leave_all(device, shared, turn);
        match &shared.domain {
            Some(domain) => domain.end(left)?,
            None => left?,
        }
        self.return_id(turn.key, shared.unit, shared.id);
        Ok(())
    }

    /// Takes all names of `device`, and those of the group's devices at work for firmware, from what the group shares.
    fn leave_all(
        &self,
        device: Requester,
        shared: &Shared<P>,
        turn: &Turn<P>,
    ) -> Result<(), UnitError> {
        let streams = self.held_by(&[device], shared.unit, turn.key);
        self.leave(shared, &streams.expect(SAME_NAMES), turn.key)
    }

    /// Gives back what was in quarantine of a device that has `left`, and of its whole group where it was the last. Without
    /// the group's turn: it is not known what owners of memory do when they are dropped.
    pub(super) fn give_back(&self, core: &DeviceCore<P>, left: &Left<P>) {
        match &left.domain {
            Some(domain) if domain.is_revoked() => self.release_quarantines(domain),
            // Its unit answers, so this may be the time to ask for what it did not confirm. What is not confirmed now waits for
            // the last of the group.
            Some(_) if !core.quarantine.is_empty() => drop(core.recover()),
            _ => {}
        }
    }

    /// Gives back what is in quarantine of all devices whose domain this one is, which has ended.
    pub(super) fn release_quarantines(&self, domain: &Arc<Domain<P>>) {
        let holders: Vec<_> = {
            let state = self.state.lock();
            let is_one = |core: &&DeviceCore<P>| match &core.route {
                Route::Translated(own) => Arc::ptr_eq(own, domain) && !core.is_unreferenced(),
                _ => false,
            };
            state.cores().filter(is_one).map(HeldBriefly::new).collect()
        };
        for held in holders {
            let core = held.core();
            let taken = core.quarantine.take();
            // SAFETY: every unit confirmed that no device reaches anything through the domain.
            unsafe { core.release_quarantined(taken) };
        }
    }

    /// One of a group leaves, others stay: its own names lose the domain.
    fn part(
        &self,
        device: Requester,
        others: &[Requester],
        shared: &Shared<P>,
        turn: &Turn<P>,
    ) -> Result<(), UnitError> {
        let stay = self.held_by(others, shared.unit, turn.key);
        let stay = stay.expect(SAME_NAMES);
        let streams = self.attachments(device, shared.unit);
        let mut streams = streams.expect(SAME_NAMES);
        streams.retain(|stream| !holds(&stay, *stream));
        self.leave(shared, &streams, turn.key)
    }

    /// What the unit knows `devices` and the group's devices at work for firmware by.
    fn held_by(
        &self,
        devices: &[Requester],
        unit: usize,
        key: GroupKey,
    ) -> Result<Vec<Attachment>, AttachError> {
        let mut held = Vec::new();
        for &device in devices {
            for stream in self.attachments(device, unit)? {
                add(&mut held, stream);
            }
        }
        for stream in self
            .firmware_device(key, unit)
            .iter()
            .flat_map(|firmware| &firmware.streams)
        {
            add(&mut held, *stream);
        }
        Ok(held)
    }

    /// Every name that requests of `device` may carry at `unit`.
    pub(super) fn attachments(
        &self,
        device: Requester,
        unit: usize,
    ) -> Result<Vec<Attachment>, AttachError> {
        let state = self.state.lock();
        let behind = |requester| state.scopes.as_ref()?.behind(requester);
        // A unit that knows devices by their ids knows other ids of theirs as well, whatever firmware lists.
        let by_id = behind(device).is_some_and(|own| own.stream == u32::from(device.id));
        let mut streams = Vec::new();
        for id in state.groups.ids_of(device) {
            let is_function = state.groups.is_function(id);
            let stream = match behind(id) {
                Some(behind) if behind.unit == unit => behind.stream,
                Some(_) if is_function => {
                    return Err(AttachError::GroupAcrossUnits { device, other: id });
                }
                _ if by_id => id.id.into(),
                // Firmware knows no such device: its requests are refused.
                _ => continue,
            };
            let attachment = Attachment {
                requester: id,
                stream,
                pasid: None,
            };
            add(&mut streams, attachment);
        }
        Ok(streams)
    }

    /// The devices of a group that firmware left memory to, behind one unit.
    pub(super) fn firmware_device(
        &self,
        key: GroupKey,
        unit: usize,
    ) -> Option<Arc<FirmwareDevice<P>>> {
        let state = self.state.lock();
        let mut firmware = state.firmware.iter();
        let ours = firmware.find(|known| known.key == key && known.unit == unit);
        ours.cloned()
    }

    /// Whether firmware left memory to the device itself, and not only to another of its group.
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

    /// Gives a domain's id back, unless it is that of devices at work for firmware, who keep it.
    fn return_id(&self, key: GroupKey, unit: usize, id: DomainId) {
        if self.firmware_device(key, unit).is_none() {
            self.state.lock().ids.free(id);
        }
    }

    pub(super) fn forget(&self, device: Requester) {
        self.state.lock().attached.retain(|&known| known != device);
    }
}

/// What a device that left its group was part of.
pub(super) struct Left<P: Platform> {
    /// One that still uses, or may still use, what they shared.
    other: Option<Requester>,
    pub(super) domain: Option<Arc<Domain<P>>>,
}

impl<P: Platform> Left<P> {
    /// # Errors
    /// [`DetachError::Shared`] where others reach the `live` mappings that `device` left behind.
    pub(super) fn check(&self, device: Requester, live_mappings: u64) -> Result<(), DetachError> {
        match (self.other, &self.domain) {
            (Some(other), Some(_)) if live_mappings > 0 => Err(DetachError::Shared {
                device,
                other,
                live_mappings,
            }),
            _ => Ok(()),
        }
    }
}

/// Adds a stream unless it is there.
pub(super) fn add(streams: &mut Vec<Attachment>, stream: Attachment) {
    if !holds(streams, stream) {
        streams.push(stream);
    }
}

/// Whether `stream` is among `streams`.
pub(super) fn holds(streams: &[Attachment], stream: Attachment) -> bool {
    streams.iter().any(|each| each.stream == stream.stream)
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
