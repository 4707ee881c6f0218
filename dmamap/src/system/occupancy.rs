//! Who of a group is attached, and how: one domain serves all of them.
//!
//! Whoever changes that takes the group's turn first; others of the group wait, as what they do depends on the outcome.
//! The turn is no lock: hardware is waited for while it is held.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{AttachError, DmaSystem, Phase, Protection, State};
use crate::iommu::{Behind, Domain, DomainId, Requester, UnitError};
use crate::platform::Platform;

/// Which group: what a unit or the wires cannot tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GroupKey {
    /// One of the enumerated ones.
    Group(usize),
    /// What a unit has one name for, of which nothing was enumerated.
    Stream(Behind),
    /// A device that no unit stands before: nothing is shared.
    Alone(Requester),
}

/// What the members of a group share in hardware.
pub(super) struct Shared<P: Platform> {
    /// The unit's number.
    pub(super) unit: usize,
    /// The id their translations carry.
    pub(super) id: DomainId,
    /// Their table; `None` where the unit lets them through.
    pub(super) domain: Option<Arc<Domain<P>>>,
}

/// Whether somebody is changing who is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    Open,
    Taken,
}

/// Whether others of a group may come in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Company {
    Welcome,
    /// The one who is in keeps the domain to itself.
    Refused,
}

/// A group of which somebody is attached, or was and may still be.
pub(super) struct Occupancy<P: Platform> {
    key: GroupKey,
    door: Door,
    /// How its members are protected.
    protection: Protection,
    members: Vec<Requester>,
    company: Company,
    shared: Option<Arc<Shared<P>>>,
    /// Who was to leave and was not confirmed to have left. While there is one, what is shared is.
    lost: Vec<Lost>,
}

/// A device that was to leave its group, and was not confirmed to have left.
#[derive(Clone, Copy)]
pub(super) struct Lost {
    pub(super) device: Requester,
    /// What its unit did.
    pub(super) error: UnitError,
}

impl<P: Platform> State<P> {
    /// The group of a device.
    pub(super) fn key_of(&self, device: Requester) -> GroupKey {
        let behind = |requester| self.scopes.as_ref()?.behind(requester);
        let Some(stream) = behind(device) else {
            return GroupKey::Alone(device);
        };
        let mut groups = self.groups.iter();
        let named = |id: &Requester| *id == device || behind(*id) == Some(stream);
        let holds = |members: &[crate::group::Member]| {
            members.iter().any(|member| member.ids.iter().any(named))
        };
        match groups.position(|group| holds(group.members())) {
            Some(group) => GroupKey::Group(group),
            None => GroupKey::Stream(stream),
        }
    }

    /// Whether somebody is attaching or detaching a device.
    pub(super) fn is_anybody_moving(&self) -> bool {
        self.occupied.iter().any(|each| each.door == Door::Taken)
    }

    fn occupancy(&mut self, key: GroupKey) -> Option<&mut Occupancy<P>> {
        self.occupied.iter_mut().find(|each| each.key == key)
    }
}

/// The right to change who of a group is attached.
pub(super) struct Turn<P: Platform> {
    system: &'static DmaSystem<P>,
    pub(super) key: GroupKey,
}

/// Those of a group that are attached already.
pub(super) struct Present<P: Platform> {
    /// One of them.
    pub(super) other: Requester,
    /// How they are protected.
    pub(super) protection: Protection,
    /// Whether they let others in.
    pub(super) company: Company,
    /// What they share; `None` where they are blocked.
    pub(super) shared: Option<Arc<Shared<P>>>,
}

impl<P: Platform> Turn<P> {
    /// Waits for the turn of the group of `device`, and notes that it is about to be attached.
    pub(super) fn to_attach(
        system: &'static DmaSystem<P>,
        device: Requester,
    ) -> Result<Self, AttachError> {
        loop {
            {
                let mut state = system.state.lock();
                if !matches!(state.phase, Phase::Off | Phase::Running) {
                    return Err(AttachError::UnitsChanging { device });
                }
                if state.attached.contains(&device) {
                    return Err(AttachError::AlreadyAttached { device });
                }
                if let Some(turn) = Self::take(system, &mut state, device) {
                    state.attached.push(device);
                    return Ok(turn);
                }
            }
            system.platform.relax();
        }
    }

    /// Waits for the turn of the group of `device`, which is attached or may still be in.
    pub(super) fn of_group(system: &'static DmaSystem<P>, device: Requester) -> Self {
        loop {
            if let Some(turn) = Self::take(system, &mut system.state.lock(), device) {
                return turn;
            }
            system.platform.relax();
        }
    }

    fn take(
        system: &'static DmaSystem<P>,
        state: &mut State<P>,
        device: Requester,
    ) -> Option<Self> {
        let key = state.key_of(device);
        match state.occupancy(key) {
            Some(occupancy) if occupancy.door == Door::Taken => return None,
            Some(occupancy) => occupancy.door = Door::Taken,
            None => state.occupied.push(Occupancy {
                key,
                door: Door::Taken,
                protection: Protection::Blocked,
                members: Vec::new(),
                company: Company::Welcome,
                shared: None,
                lost: Vec::new(),
            }),
        }
        Some(Self { system, key })
    }

    /// Those of the group that are attached, if any is.
    pub(super) fn present(&self) -> Option<Present<P>> {
        self.with(|occupancy| {
            Some(Present {
                other: *occupancy.members.first()?,
                protection: occupancy.protection,
                company: occupancy.company,
                shared: occupancy.shared.clone(),
            })
        })
    }

    /// All that are attached.
    pub(super) fn members(&self) -> Vec<Requester> {
        self.with(|occupancy| Some(occupancy.members.clone()))
            .unwrap_or_default()
    }

    /// Who was not confirmed to have left, and why not.
    pub(super) fn lost(&self) -> Vec<Lost> {
        self.with(|occupancy| Some(occupancy.lost.clone()))
            .unwrap_or_default()
    }

    /// What those share that are attached, or may still be in.
    pub(super) fn shared(&self) -> Option<Arc<Shared<P>>> {
        self.with(|occupancy| occupancy.shared.clone())
    }

    /// `shared` is what units are about to be told of.
    pub(super) fn found(&self, shared: &Arc<Shared<P>>) {
        self.with(|occupancy| {
            occupancy.shared = Some(shared.clone());
            Some(())
        });
    }

    /// `device` is attached now, like those before it.
    pub(super) fn joined(
        &self,
        device: Requester,
        protection: Protection,
        shared: Option<Arc<Shared<P>>>,
    ) {
        self.with(|occupancy| {
            occupancy.protection = protection;
            occupancy.shared = shared;
            occupancy.members.push(device);
            Some(())
        });
    }

    /// `device` is attached no more. What is shared goes with the last of whom it is known.
    pub(super) fn left(&self, device: Requester) {
        self.with(|occupancy| {
            occupancy.members.retain(|&member| member != device);
            occupancy.lost.retain(|lost| lost.device != device);
            if occupancy.members.is_empty() {
                occupancy.company = Company::Welcome;
            }
            Some(())
        });
    }

    /// From now on until `device`, which is attached, has left nobody else comes in.
    ///
    /// # Errors
    /// Another who is in.
    fn keep_alone(&self, device: Requester) -> Result<(), Requester> {
        let other = self.with(|occupancy| {
            let mut others = occupancy.members.iter();
            let other = others.find(|&&member| member != device).copied();
            if other.is_none() {
                occupancy.company = Company::Refused;
            }
            other
        });
        other.map_or(Ok(()), Err)
    }

    /// `device` is attached no more, but may still be in: nobody comes in before it is known that it is not.
    pub(super) fn lose(&self, device: Requester, error: UnitError) {
        self.left(device);
        self.with(|occupancy| {
            occupancy.lost.push(Lost { device, error });
            Some(())
        });
    }

    fn with<T>(&self, read: impl FnOnce(&mut Occupancy<P>) -> Option<T>) -> Option<T> {
        read(self.system.state.lock().occupancy(self.key)?)
    }
}

impl<P: Platform> DmaSystem<P> {
    /// From now on until `device`, which is attached, is detached no other of its group is attached.
    ///
    /// # Errors
    /// Another that is attached.
    pub(crate) fn keep_alone(&'static self, device: Requester) -> Result<(), Requester> {
        Turn::of_group(self, device).keep_alone(device)
    }

    /// Ends [`keep_alone`](Self::keep_alone).
    pub(crate) fn let_others_in(&'static self, device: Requester) {
        Turn::of_group(self, device).with(|occupancy| {
            occupancy.company = Company::Welcome;
            Some(())
        });
    }
}

impl<P: Platform> Drop for Turn<P> {
    fn drop(&mut self) {
        let mut state = self.system.state.lock();
        if let Some(occupancy) = state.occupancy(self.key) {
            occupancy.door = Door::Open;
        }
        state
            .occupied
            .retain(|each| each.door == Door::Taken || each.is_used());
    }
}

impl<P: Platform> Occupancy<P> {
    fn is_used(&self) -> bool {
        !self.members.is_empty() || !self.lost.is_empty()
    }
}
