//! Putting a device into a domain, and taking it out.

use core::ptr::NonNull;

use alloc::boxed::Box;

use super::device_memory::for_device;
use super::occupancy::{Company, Turn};
use super::{AttachError, CoreSlot, DmaSystem, Protection};
use crate::addr::{BusAddr, PhysRange};
use crate::bounce::{self, Bounce, Forced, OwnPools};
use crate::bridge::HostBridge;
use crate::device::{Device, DeviceCore, Guard, Standing, Trust};
use crate::iommu::Requester;
use crate::map::{Direct, Route};
use crate::pci::Function;
use crate::platform::Platform;

impl<P: Platform> DmaSystem<P> {
    /// Attaches a device that need not be trusted, and lets it do DMA: a unit stands before it, and it
    /// reaches only what is mapped for it, and what is mapped for others of its [group](crate::group) that are attached:
    /// they share one domain, and all are attached with the same protection.
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
    /// - unmaps, frees, drops or detaches only after the device has finished with the memory;
    /// - lets no other device use its registers ([`Device::map_resource`]) but one that may be trusted likewise.
    ///
    /// A device that is trusted is given whole frames where memory of the [raw layer](Device::map_phys) or of a
    /// [`PackedBuffer`](crate::buffer::PackedBuffer) shares them with others'. Its group is given these too.
    ///
    /// A device with [`Protection::Identity`] shares that with all of its [group](crate::group) that is attached so, or that
    /// firmware left at work: the caller vouches for these as well.
    ///
    /// The same with [`Protection::Deferred`], also after
    /// [`relax_to_deferred`](Device::relax_to_deferred), for the device and all of its group that is or will be attached:
    /// its memory comes back at once, and until a flush ([`flush_window_ms`](super::Settings::flush_window_ms)) they could
    /// still reach what was mapped at the addresses of a mapping that does not live any more. A mapping asked to be
    /// protected [at least](crate::map::Attributes::at_least) as [`Protection::Strict`] is out of reach when unmapping
    /// returns.
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
        let device = requester_of(function);
        let (machine, system) = (function.platform().machine(), self.platform.machine());
        if machine != system {
            // Another machine's, whatever it is called there: what stands before it here says nothing about it.
            return Err(AttachError::OtherMachine {
                device,
                machine,
                system,
            });
        }
        self.sweep();
        let turn = Turn::to_attach(self, device)?;
        // From here on the units are not stopped: what stands before the device stays there.
        let route = self
            .check_strength(device, protection)
            .and_then(|()| self.route(device, protection, trust, &turn));
        let route = match route {
            Ok(route) => route,
            Err(error) => {
                if let AttachError::Unconfirmed { undo, .. } = &error {
                    turn.lose(device, *undo);
                } else {
                    self.forget(device);
                }
                return Err(error);
            }
        };
        let blocked = matches!(route, Route::Blocked);
        let standing = Standing {
            coherence: self.coherence_of(device),
            bus_limit: self
                .bridge_of(device)
                .map_or(BusAddr::new(u64::MAX), HostBridge::bus_limit),
            guard: Guard::new(protection, trust),
            bounce: self.bounce_of(device, protection, &route),
        };
        let core = DeviceCore::new(self, function.clone(), device, route, standing);
        self.hand_over_memory(&core);
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

    /// Whether the settings allow to protect no more than so.
    fn check_strength(&self, device: Requester, protection: Protection) -> Result<(), AttachError> {
        let least = self.least_protection();
        let protection = match (protection, self.unit_of(device)) {
            (Protection::Blocked, _) | (_, Some(_)) => protection,
            (_, None) => Protection::Identity,
        };
        if protection.is_weaker_than(least) {
            return Err(AttachError::TooWeak {
                device,
                protection,
                least,
            });
        }
        Ok(())
    }

    /// The weakest protection that the settings allow.
    pub(crate) fn least_protection(&self) -> Protection {
        self.state.lock().settings.least_protection
    }

    /// The pools that serve a device of that route.
    fn bounce_of(
        &'static self,
        device: Requester,
        protection: Protection,
        route: &Route<P>,
    ) -> Bounce<P> {
        let state = self.state.lock();
        let own = for_device(&state.restricted, device, |each| each.user);
        let is_direct = matches!(route, Route::Direct(_));
        let always = protection == Protection::Bounce;
        let own_below_bytes = match protection {
            Protection::Bounce => bounce::ALL,
            Protection::Strict => state.bounce.copy_below_bytes,
            Protection::Blocked | Protection::Identity | Protection::Deferred => 0,
        };
        Bounce {
            shared: own
                .filter(|_| is_direct)
                .map_or(&self.bounce, |own| own.pool),
            own: match route {
                Route::Translated(domain) if own_below_bytes > 0 => {
                    Some(OwnPools::new(self.platform, domain.clone()))
                }
                _ => None,
            },
            own_below_bytes,
            forced: match always || own.is_some() {
                true => Forced::Always,
                false => state.bounce.forced,
            },
        }
    }

    fn route(
        &'static self,
        device: Requester,
        protection: Protection,
        trust: Trust,
        turn: &Turn<P>,
    ) -> Result<Route<P>, AttachError> {
        let unit = self.unit_of(device);
        let revocable = match protection {
            Protection::Blocked => true,
            Protection::Identity => false,
            Protection::Deferred | Protection::Strict | Protection::Bounce => unit.is_some(),
        };
        if trust == Trust::Withheld && !revocable {
            return Err(AttachError::NotRevocable { device });
        }
        let Some(unit) = unit else {
            let route = match protection {
                Protection::Blocked => Route::Blocked,
                _ => {
                    let bridge = self.bridge_of(device);
                    Route::Direct(Direct::behind(
                        bridge.ok_or(AttachError::NoHostBridge { device })?,
                    ))
                }
            };
            turn.joined(device, protection, None);
            return Ok(route);
        };
        if let Some(other) = turn.lost().first().map(|lost| lost.device) {
            return Err(AttachError::GroupUnconfirmed { device, other });
        }
        let shared = match turn.present() {
            None => self.found(device, unit, protection, turn)?,
            Some(present) if present.protection != protection => {
                return Err(AttachError::GroupProtection {
                    device,
                    other: present.other,
                    protection: present.protection,
                });
            }
            Some(present) if present.company == Company::Refused => {
                let other = present.other;
                return Err(AttachError::GroupUnmanaged { device, other });
            }
            Some(present) => {
                if let Some(shared) = &present.shared {
                    self.join(device, unit, present.other, shared, turn)?;
                }
                present.shared
            }
        };
        turn.joined(device, protection, shared.clone());
        let domain = shared.map(|shared| shared.domain.clone());
        Ok(match (protection, domain) {
            (_, None) => Route::Blocked,
            (Protection::Identity, Some(_)) => Route::Direct(Direct::passed_through()),
            (_, Some(domain)) => Route::Translated(domain.expect("only identity is let through")),
        })
    }

    /// The host bridge that leads to the device.
    pub(crate) fn bridge_of(&self, device: Requester) -> Option<&HostBridge> {
        let bus = (device.id >> 8) as u8;
        let mut bridges = self.bridges.iter();
        bridges.find(|bridge| bridge.leads_to(device.segment, bus))
    }

    /// Whether a window of a host bridge shows any of `registers`: then they are those of PCI functions.
    pub(crate) fn is_behind_a_bridge(&self, registers: PhysRange) -> bool {
        let mut windows = self.bridges.iter().flat_map(HostBridge::windows);
        windows.any(|window| window.phys.overlaps(registers))
    }

    pub(super) fn unit_of(&self, device: Requester) -> Option<usize> {
        Some(self.behind(device)?.unit)
    }
}

pub(super) fn requester_of<P: Platform>(function: &Function<P>) -> Requester {
    Requester {
        segment: function.address().segment,
        id: function.requester(),
    }
}
