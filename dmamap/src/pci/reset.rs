//! Resetting one function (PCI Express 6.6.2), as Linux' `pci_reset_function` does.
//!
//! 1. It may not start requests any more, and its answers to those it started are waited for: a completion that comes after
//!    the reset could be taken for another's.
//! 2. The reset is started: [`ResetMethod`], the gentlest the function has.
//! 3. It is left alone for as long as its manual gives it, then asked until it answers.
//! 4. Its configuration is written back, but for bus mastering.
//!
//! Every wait has a bound. A function that lies gains nothing by it: memory it was lent comes back by the word of its
//! IOMMU unit alone.

use hw::pci::bridge::{BRIDGE_CONTROL, BridgeControl};
use hw::pci::capability::id;
use hw::pci::config::{STATUS, Status, VENDOR_ID, VENDOR_NONE};
use hw::pci::reset::{
    ADVANCED_CAPABILITIES, ADVANCED_CONTROL, ADVANCED_STATUS, AdvancedCapabilities,
    AdvancedControl, AdvancedStatus, DEVICE_CAPABILITIES, DEVICE_CONTROL, DEVICE_STATUS,
    DeviceCapabilities, DeviceControl, DeviceStatus, POWER_CONTROL, PowerControl, PowerState,
};
use hw::pci::{DEVICES_PER_BUS, FUNCTIONS_PER_DEVICE};

use super::config::FunctionConfig;
use super::saved::SavedConfig;
use super::{BusMaster, Function, PciAddress};
use crate::platform::Platform;

const MS: u64 = 1_000_000;

/// How long a function is left alone after a reset of its own or of its bus (6.6.1, 6.6.2).
const AFTER_RESET_NS: u64 = 100 * MS;
/// How long a change between D0 and D3hot takes (5.9).
const AFTER_POWER_NS: u64 = 10 * MS;
/// How long a bus is held in reset: PCI asks for 1 ms.
const BUS_RESET_NS: u64 = 2 * MS;

/// Vendor id of a function that is not ready yet (2.3.2).
const VENDOR_NOT_READY: u16 = 0x0001;

/// What resets a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetMethod {
    /// PCI Express function-level reset.
    FunctionLevel,
    /// The same in conventional PCI, by the advanced features capability.
    AdvancedFeatures,
    /// To D3hot and back.
    PowerState,
    /// The bus it is alone on.
    SecondaryBus,
}

/// Whether the answers to a function's requests were all there when it was reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transactions {
    /// They were, or the function does not tell.
    Done,
    /// Some were waited for in vain.
    StillPending,
}

/// A reset that took place. The function is configured as before, but for bus mastering, which is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionReset {
    /// How.
    pub method: ResetMethod,
    /// What became of requests under way.
    pub transactions: Transactions,
}

/// How long a reset waits for the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResetPatience {
    /// Milliseconds for its requests to end, before it is reset all the same.
    pub pending_ms: u64,
    /// Milliseconds for it to answer again.
    pub ready_ms: u64,
}

impl Default for ResetPatience {
    /// What Linux grants.
    fn default() -> Self {
        Self {
            pending_ms: PENDING_MS,
            ready_ms: 60_000,
        }
    }
}

/// Why a function was not reset, or is not as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FunctionResetError {
    /// Whatever is behind a bridge would be reset too. Nothing was done.
    #[error("{0} is a bridge: what is behind it would be reset too")]
    Bridge(PciAddress),
    /// It is an IOMMU unit, and would forget what it keeps devices from. Nothing was done.
    #[error("{0} is an IOMMU unit: what it translates for would be let through, or stopped")]
    Unit(PciAddress),
    /// It has nothing that resets it alone. Nothing was done.
    #[error("{0} has no way to be reset alone")]
    NoMethod(PciAddress),
    /// Its registers read as all ones. Nothing was done.
    #[error("{0} is gone")]
    Gone(PciAddress),
    /// It did not answer after the reset. It is no bus master, and not configured.
    #[error("{address} did not answer within {waited_ms} ms after its reset")]
    NotReady {
        /// Which function.
        address: PciAddress,
        /// How long it was given.
        waited_ms: u64,
    },
    /// It answers, but does not keep a base address. It is no bus master, and decodes nothing.
    #[error("{address} does not keep its base address register at {offset:#x} after its reset")]
    NotRestored {
        /// Which function.
        address: PciAddress,
        /// Offset of the register.
        offset: u16,
    },
}

impl FunctionResetError {
    /// Whether the function is as it was before the call.
    pub fn nothing_was_done(&self) -> bool {
        matches!(
            self,
            Self::Bridge(_) | Self::Unit(_) | Self::NoMethod(_) | Self::Gone(_)
        )
    }
}

/// How long requests under way may take to end: those of one function, or of all that are told at one time.
pub(crate) const PENDING_MS: u64 = 700;

/// When functions are waited for no longer. Those that are waited for together share one, so that many that hang take no
/// more time than one.
#[derive(Clone, Copy)]
pub(crate) struct Deadline {
    at_ns: u64,
    /// How far away it was.
    bound_ms: u64,
}

impl Deadline {
    /// That many milliseconds from now.
    pub(crate) fn in_ms<P: Platform>(platform: P, bound_ms: u64) -> Self {
        Self {
            at_ns: platform
                .now_ns()
                .saturating_add(bound_ms.saturating_mul(MS)),
            bound_ms,
        }
    }

    pub(crate) fn is_over<P: Platform>(self, platform: P) -> bool {
        platform.now_ns() >= self.at_ns
    }
}

/// A way to reset a function, and the register that starts it.
enum Way<'a, P: Platform> {
    Express(u16),
    Advanced(u16),
    Power(u16),
    Bus(&'a FunctionConfig<P>),
}

impl<P: Platform> Function<P> {
    /// Whether the function is there; one that was pulled out, or lost its power, reads as all ones. Reads the function.
    pub fn is_present(&self) -> bool {
        self.config().read::<u16>(VENDOR_ID) != VENDOR_NONE
    }

    /// Whether requests of the function wait for their answers; `None` where it does not tell. Reads the function.
    pub fn read_transactions_pending(&self) -> Option<bool> {
        read_transactions_pending(self.config(), |id| self.capability(id))
    }

    /// Waits until the function's requests are answered, or the deadline. One that is gone has none.
    pub(crate) fn drain(&self, deadline: Deadline) -> Transactions {
        drain(
            self.platform(),
            self.config(),
            |id| self.capability(id),
            deadline,
        )
    }

    /// How the function would be [reset](Self::reset); `None` if nothing resets it alone. Reads the function.
    pub fn reset_method(&self) -> Option<ResetMethod> {
        Some(match self.reset_way()? {
            Way::Express(_) => ResetMethod::FunctionLevel,
            Way::Advanced(_) => ResetMethod::AdvancedFeatures,
            Way::Power(_) => ResetMethod::PowerState,
            Way::Bus(_) => ResetMethod::SecondaryBus,
        })
    }

    fn reset_way(&self) -> Option<Way<'_, P>> {
        let config = self.config();
        let express = self.capability(id::PCI_EXPRESS).filter(|express| {
            let bits = config.read(express + DEVICE_CAPABILITIES);
            DeviceCapabilities::from_bits(bits).function_level_reset()
        });
        let advanced = self.capability(id::ADVANCED_FEATURES).filter(|advanced| {
            let bits = config.read(advanced + ADVANCED_CAPABILITIES);
            AdvancedCapabilities::from_bits(bits).function_level_reset()
        });
        let power = self.capability(id::POWER_MANAGEMENT).filter(|power| {
            !PowerControl::from_bits(config.read(power + POWER_CONTROL)).no_soft_reset()
        });
        express
            .map(Way::Express)
            .or(advanced.map(Way::Advanced))
            .or(power.map(Way::Power))
            .or_else(|| self.bus_of_its_own().map(Way::Bus))
    }

    /// The bridge right above, if nothing else is on the bus behind it.
    fn bus_of_its_own(&self) -> Option<&FunctionConfig<P>> {
        let bridge = self.parent()?;
        let own = self.address();
        if bridge.buses()?.secondary != own.bus {
            return None;
        }
        let places = (0..DEVICES_PER_BUS)
            .flat_map(|device| (0..FUNCTIONS_PER_DEVICE).map(move |function| (device, function)));
        let mut others = places.map(|(device, function)| PciAddress {
            device,
            function,
            ..own
        });
        let alone = others.all(|other| {
            other == own || self.config().at(other).read::<u16>(VENDOR_ID) == VENDOR_NONE
        });
        alone.then(|| bridge.config())
    }

    /// Resets the function: it forgets what its driver told it, and requests nothing. Its configuration is as before
    /// afterwards, but for bus mastering, which is off. Sleeps for 100 ms and more.
    ///
    /// An attached device is reset by [`Device::reset`](crate::device::Device::reset), which takes memory back too.
    ///
    /// # Errors
    /// [`FunctionResetError`].
    pub fn reset(&self, patience: ResetPatience) -> Result<FunctionReset, FunctionResetError> {
        let address = self.address();
        if self.is_bridge() {
            return Err(FunctionResetError::Bridge(address));
        }
        if self.is_unit() {
            return Err(FunctionResetError::Unit(address));
        }
        if !self.is_present() {
            return Err(FunctionResetError::Gone(address));
        }
        let way = self
            .reset_way()
            .ok_or(FunctionResetError::NoMethod(address))?;
        let saved = SavedConfig::of(self);
        self.disable_bus_master();
        let platform = self.platform();
        let transactions = self.drain(Deadline::in_ms(platform, patience.pending_ms));
        let method = self.start_reset(way);
        self.wait_until_ready(Deadline::in_ms(platform, patience.ready_ms))?;
        saved
            .restore(self.config(), BusMaster::Off)
            .map_err(|offset| FunctionResetError::NotRestored { address, offset })?;
        Ok(FunctionReset {
            method,
            transactions,
        })
    }

    /// Starts a reset and leaves the function alone for the time it may take.
    fn start_reset(&self, way: Way<'_, P>) -> ResetMethod {
        let config = self.config();
        let ready_at_once = Status::from_bits(config.read(STATUS)).immediate_readiness();
        match way {
            Way::Express(express) => {
                config.modify(express + DEVICE_CONTROL, |bits: u16| {
                    DeviceControl::from_bits(bits)
                        .with_initiate_reset(true)
                        .into_bits()
                });
                if !ready_at_once {
                    self.pause(AFTER_RESET_NS);
                }
                ResetMethod::FunctionLevel
            }
            Way::Advanced(advanced) => {
                let start = AdvancedControl::new().with_initiate_reset(true);
                config.write(advanced + ADVANCED_CONTROL, start.into_bits());
                self.pause(AFTER_RESET_NS);
                ResetMethod::AdvancedFeatures
            }
            Way::Power(power) => {
                for state in [PowerState::D3Hot, PowerState::D0] {
                    config.modify(power + POWER_CONTROL, |bits: u16| {
                        PowerControl::from_bits(bits).with_state(state).into_bits()
                    });
                    self.pause(AFTER_POWER_NS);
                }
                ResetMethod::PowerState
            }
            Way::Bus(bridge) => {
                let hold = |held| {
                    bridge.modify(BRIDGE_CONTROL, |bits: u16| {
                        BridgeControl::from_bits(bits)
                            .with_secondary_bus_reset(held)
                            .into_bits()
                    });
                };
                hold(true);
                self.pause(BUS_RESET_NS);
                hold(false);
                self.pause(AFTER_RESET_NS);
                ResetMethod::SecondaryBus
            }
        }
    }

    /// Waits until the function answers, or the deadline.
    pub(crate) fn wait_until_ready(&self, deadline: Deadline) -> Result<(), FunctionResetError> {
        loop {
            // Before it is looked at: it is once more when the time is over.
            let is_over = deadline.is_over(self.platform());
            if self.is_ready() {
                return Ok(());
            }
            if is_over {
                return Err(FunctionResetError::NotReady {
                    address: self.address(),
                    waited_ms: deadline.bound_ms,
                });
            }
            self.platform().relax();
        }
    }

    /// Whether the function answers: it is there, and has come back from a reset or a loss of power.
    pub(crate) fn is_ready(&self) -> bool {
        let vendor = self.config().read::<u16>(VENDOR_ID);
        !matches!(vendor, VENDOR_NONE | VENDOR_NOT_READY)
    }

    fn pause(&self, duration_ns: u64) {
        let until_ns = self.platform().now_ns().saturating_add(duration_ns);
        while self.platform().now_ns() < until_ns {
            self.platform().relax();
        }
    }
}

fn read_transactions_pending<P: Platform>(
    config: &FunctionConfig<P>,
    capability: impl Fn(u8) -> Option<u16>,
) -> Option<bool> {
    if let Some(express) = capability(id::PCI_EXPRESS) {
        let status = DeviceStatus::from_bits(config.read(express + DEVICE_STATUS));
        return Some(status.transactions_pending());
    }
    let advanced = capability(id::ADVANCED_FEATURES)?;
    let capabilities =
        AdvancedCapabilities::from_bits(config.read(advanced + ADVANCED_CAPABILITIES));
    let status = AdvancedStatus::from_bits(config.read(advanced + ADVANCED_STATUS));
    capabilities
        .transactions_pending()
        .then(|| status.transactions_pending())
}

/// Waits until a function's requests are answered, or the deadline. One that is gone has none.
pub(crate) fn drain<P: Platform>(
    platform: P,
    config: &FunctionConfig<P>,
    capability: impl Fn(u8) -> Option<u16>,
    deadline: Deadline,
) -> Transactions {
    loop {
        // Before it is looked at, as in `wait_until_ready`.
        let is_over = deadline.is_over(platform);
        let pending = read_transactions_pending(config, &capability) == Some(true)
            && config.read::<u16>(VENDOR_ID) != VENDOR_NONE;
        if !pending {
            return Transactions::Done;
        }
        if is_over {
            return Transactions::StillPending;
        }
        platform.relax();
    }
}
