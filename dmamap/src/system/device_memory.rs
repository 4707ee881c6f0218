//! Memory that firmware set aside for the DMA of some devices, handed to each of them when it is attached.
//!
//! Where no unit translates for a device it alone decides what it reaches: a pool of its own, of which all its data is a copy,
//! is then all it is told of; and memory set aside as coherent is what it shares with the CPU.

use alloc::sync::Arc;
use alloc::vec::Vec;

use firmware::Devices;
use firmware::devicetree::{DeviceMemory, Purpose};

use super::{DmaSystem, State};
use crate::addr::{FRAME_SIZE_LOG2, PhysAddr, PhysRange};
use crate::bounce::{BounceError, Pool};
use crate::device::DeviceCore;
use crate::iommu::Requester;
use crate::map::{Ground, Route};
use crate::platform::{Platform, VirtualMapError};

/// Who memory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum User {
    Device(Requester),
    /// All devices of a segment that are not named themselves.
    Segment(u16),
}

impl User {
    fn covers(self, device: Requester) -> bool {
        match self {
            Self::Device(named) => named == device,
            Self::Segment(segment) => segment == device.segment,
        }
    }
}

/// Memory that some device's coherent memory is of.
pub(super) struct SetAside<P: Platform> {
    user: User,
    frames: PhysRange,
    ground: Arc<Ground<P>>,
}

/// The entry of `all` for `device`: the one that names it, else the one for its segment.
pub(super) fn for_device<T>(all: &[T], device: Requester, user: impl Fn(&T) -> User) -> Option<&T> {
    let named = all.iter().find(|each| user(each) == User::Device(device));
    named.or_else(|| all.iter().find(|each| user(each).covers(device)))
}

/// Why memory that is set aside cannot be handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceMemoryError {
    /// A device that it is for has a driver already.
    #[error("{device} is attached already: hand over memory before")]
    AlreadyAttached {
        /// The device.
        device: Requester,
    },
    /// The memory is no pool.
    #[error("{memory} is no pool: {error}")]
    Pool {
        /// The memory.
        memory: PhysRange,
        /// Why.
        error: BounceError,
    },
    /// Coherent memory is whole frames.
    #[error("{memory} is not whole frames")]
    NotFrames {
        /// The memory.
        memory: PhysRange,
    },
    /// The CPU has no way to it past its caches.
    #[error("{memory} cannot be mapped: {error}")]
    Map {
        /// The memory.
        memory: PhysRange,
        /// What the platform says.
        error: VirtualMapError,
    },
    /// There is no memory to keep account of so many frames, or there are no such addresses.
    #[error("{base:#x} to {last:#x}: no memory to keep account of it")]
    TooLong {
        /// First physical address.
        base: u64,
        /// Last physical address, inclusive.
        last: u64,
    },
}

impl<P: Platform> DmaSystem<P> {
    /// Hands each device, when it is attached, the memory that firmware set aside for it
    /// ([`Devicetree::device_memory`](firmware::Devicetree::device_memory)), where no unit translates for it: a device with a
    /// [restricted](Purpose::Restricted) pool is [restricted](Self::restrict) to that, several with one pool together; and
    /// coherent memory of one with [coherent](Purpose::Coherent) memory comes from there alone, as if it
    /// [had declared it](crate::device::Device::declare_coherent_memory). Devices that are not on PCI are passed over.
    ///
    /// # Errors
    /// [`DeviceMemoryError`]; what stands before in `all` is handed over then.
    ///
    /// # Safety
    /// - The memory is RAM that firmware reserved for these devices: nobody else uses it, now or later, and no line of it is in a
    ///   cache of the CPU's.
    /// - [`Platform::frame_pointer`] reaches restricted pools, and [`Platform::map_frames`] maps coherent memory.
    pub unsafe fn adopt_device_memory(
        &self,
        all: &[DeviceMemory],
    ) -> Result<(), DeviceMemoryError> {
        for each in all {
            let users = users(each);
            let Some(frames) = frames_of(each)? else {
                continue;
            };
            if users.is_empty() {
                continue;
            }
            match each.purpose {
                Purpose::Restricted => {
                    // SAFETY: the caller's promise.
                    let pool = unsafe { Pool::of(self.platform, frames) }.map_err(|error| {
                        let memory = frames;
                        DeviceMemoryError::Pool { memory, error }
                    })?;
                    self.restrict_to(pool, &users).map_err(attached)?;
                }
                Purpose::Coherent => {
                    // SAFETY: the caller's promise.
                    let ground = unsafe { self.ground(frames) }?;
                    self.set_aside(&ground, frames, &users).map_err(attached)?;
                }
            }
        }
        Ok(())
    }

    /// # Safety
    /// As [`adopt_device_memory`](Self::adopt_device_memory).
    unsafe fn ground(&self, memory: PhysRange) -> Result<Arc<Ground<P>>, DeviceMemoryError> {
        let bits = memory.start().as_u64() | memory.len_bytes();
        if bits.trailing_zeros() < FRAME_SIZE_LOG2 {
            return Err(DeviceMemoryError::NotFrames { memory });
        }
        // SAFETY: the caller's promise.
        let ground = unsafe { Ground::of_frames(self.platform, memory) }
            .map_err(|error| DeviceMemoryError::Map { memory, error })?;
        ground.map(Arc::new).ok_or(DeviceMemoryError::TooLong {
            base: memory.start().as_u64(),
            last: memory.last().as_u64(),
        })
    }

    fn set_aside(
        &self,
        ground: &Arc<Ground<P>>,
        frames: PhysRange,
        users: &[User],
    ) -> Result<(), Requester> {
        let mut state = self.state.lock();
        state.check_unattached(users)?;
        for &user in users {
            state.set_aside.retain(|each| each.user != user);
            let ground = Arc::clone(ground);
            state.set_aside.push(SetAside {
                user,
                frames,
                ground,
            });
        }
        Ok(())
    }

    /// What is to be done for a device that is being attached.
    pub(super) fn hand_over_memory(&self, core: &DeviceCore<P>) {
        let Route::Direct(direct) = &core.route else {
            return;
        };
        let state = self.state.lock();
        let found = for_device(&state.set_aside, core.requester, |each| each.user);
        let found = found.map(|found| (Arc::clone(&found.ground), found.frames));
        drop(state);
        let Some((ground, frames)) = found else {
            return;
        };
        let device = core.requester;
        match direct.bus_range(frames) {
            Some(bus) => {
                if let Err(error) = core.declare_ground(&ground, bus) {
                    log::warn!("{error}");
                }
            }
            None => log::warn!("{device}: no bus shows it the memory set aside for it, {frames}"),
        }
    }
}

impl<P: Platform> State<P> {
    /// The first of `users` that is attached, or has a device attached.
    pub(super) fn check_unattached(&self, users: &[User]) -> Result<(), Requester> {
        let mut attached = self.attached.iter().copied();
        let early = attached.find(|&device| users.iter().any(|user| user.covers(device)));
        early.map_or(Ok(()), Err)
    }
}

fn attached(device: Requester) -> DeviceMemoryError {
    DeviceMemoryError::AlreadyAttached { device }
}

fn users(memory: &DeviceMemory) -> Vec<User> {
    let mut users = Vec::new();
    for devices in &memory.users {
        match devices {
            Devices::Requesters {
                segment,
                first,
                last,
            } => users.extend((*first..=*last).map(|id| {
                let segment = *segment;
                User::Device(Requester { segment, id })
            })),
            Devices::Segment { segment } => users.push(User::Segment(*segment)),
            // Neither is a scope what devicetrees say, nor are devices attached that are not on PCI.
            Devices::Scope { .. } => {}
            Devices::Named(path) => {
                log::info!("{}: {path} is not on PCI", memory.path);
            }
        }
    }
    users
}

/// The memory; `None` if it is empty.
fn frames_of(memory: &DeviceMemory) -> Result<Option<PhysRange>, DeviceMemoryError> {
    let (base, last) = (memory.memory.base, memory.memory.last);
    let Some(more) = last.checked_sub(base) else {
        return Ok(None);
    };
    let too_long = DeviceMemoryError::TooLong { base, last };
    let len_bytes = more.checked_add(1).ok_or(too_long)?;
    PhysRange::new(PhysAddr::new(base), len_bytes)
        .map(Some)
        .map_err(|_| too_long)
}
