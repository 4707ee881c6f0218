//! How functions are reset, and how they come back.

use std::time::Duration;

use board::hardware::Width;
use hw::pci::capability::id;
use hw::pci::reset::{
    ADVANCED_BYTES, ADVANCED_CAPABILITIES, ADVANCED_CONTROL, ADVANCED_STATUS, AdvancedCapabilities,
    AdvancedControl, AdvancedStatus, DEVICE_CAPABILITIES, DEVICE_CONTROL, DEVICE_STATUS,
    DeviceCapabilities, DeviceControl, DeviceStatus, POWER_BYTES, POWER_CONTROL, PowerControl,
    PowerState,
};

use super::config_space::ConfigSpace;
use super::controls::Controls;

/// What resets the functions of a machine, each alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResetKind {
    /// Function-level reset: by the PCI Express capability, or in conventional functions by advanced features.
    #[default]
    FunctionLevel,
    /// The way from D3hot to D0.
    PowerState,
    /// Nothing: only the bus a function is on.
    BusOnly,
}

/// How a function comes back from a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comeback {
    /// It answers configuration requests after so long; before, it asks to be tried again.
    After(Duration),
    /// It asks to be tried again for ever.
    Never,
}

impl Default for Comeback {
    fn default() -> Self {
        Self::After(Duration::from_millis(20))
    }
}

/// How functions of a machine are reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resets {
    /// What resets them.
    pub kind: ResetKind,
    /// How they come back.
    pub comeback: Comeback,
    /// What else they forget.
    pub controls: Controls,
}

/// Where a function's registers for resets lie.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ResetRegisters {
    express: Option<u16>,
    advanced: Option<u16>,
    power: Option<u16>,
    kind: ResetKind,
}

impl ResetRegisters {
    /// Adds them to `config`, of a function with its PCI Express capability at `express`, if it has one.
    pub(crate) fn install(config: &mut ConfigSpace, express: Option<u16>, kind: ResetKind) -> Self {
        let mut this = Self {
            express,
            kind,
            ..Self::default()
        };
        if let Some(express) = express {
            let level = kind == ResetKind::FunctionLevel;
            let capabilities = DeviceCapabilities::new().with_function_level_reset(level);
            config.set(
                express + DEVICE_CAPABILITIES,
                &capabilities.into_bits().to_le_bytes(),
            );
            let settings = DeviceControl::new().with_settings(0x7fff);
            config.allow(
                express + DEVICE_CONTROL,
                &settings.into_bits().to_le_bytes(),
            );
        }
        if kind == ResetKind::FunctionLevel && express.is_none() {
            let capabilities = AdvancedCapabilities::new()
                .with_transactions_pending(true)
                .with_function_level_reset(true);
            let body = [ADVANCED_BYTES as u8, capabilities.into_bits(), 0, 0];
            this.advanced = Some(config.add_capability(id::ADVANCED_FEATURES, &body));
        }
        if kind == ResetKind::PowerState {
            let power = config.add_capability(id::POWER_MANAGEMENT, &[0; POWER_BYTES as usize - 2]);
            let state = PowerControl::new().with_state(PowerState::D3Hot);
            config.allow(power + POWER_CONTROL, &state.into_bits().to_le_bytes());
            this.power = Some(power);
        }
        this
    }

    /// Shows whether requests are on their way.
    pub(crate) fn show_pending(&self, config: &mut ConfigSpace, pending: usize) {
        let pending = pending > 0;
        if let Some(express) = self.express {
            let status = DeviceStatus::new().with_transactions_pending(pending);
            config.set(express + DEVICE_STATUS, &status.into_bits().to_le_bytes());
        }
        if let Some(advanced) = self.advanced {
            let status = AdvancedStatus::new().with_transactions_pending(pending);
            config.set(advanced + ADVANCED_STATUS, &[status.into_bits()]);
        }
    }

    /// Whether a write, not yet done to `config`, resets the function.
    pub(crate) fn starts(
        &self,
        config: &ConfigSpace,
        offset: u16,
        width: Width,
        value: u64,
    ) -> bool {
        // The byte at `at` as it is written, if it is.
        let written = |at: u16| {
            let index = u64::from(at.checked_sub(offset)?);
            (index < width.bytes()).then(|| (value >> (8 * index)) as u8)
        };
        let express = self
            .express
            .filter(|_| self.kind == ResetKind::FunctionLevel);
        let by_express = express.and_then(|express| written(express + DEVICE_CONTROL + 1));
        let by_express = by_express
            .is_some_and(|high| DeviceControl::from_bits(u16::from(high) << 8).initiate_reset());
        let by_advanced = self
            .advanced
            .and_then(|advanced| written(advanced + ADVANCED_CONTROL))
            .is_some_and(|byte| AdvancedControl::from_bits(byte).initiate_reset());
        let by_power = self.power.is_some_and(|power| {
            let before = PowerControl::from_bits(config.word(power + POWER_CONTROL));
            let after = written(power + POWER_CONTROL)
                .map(|byte| PowerControl::from_bits(u16::from(byte)).state());
            before.state() == PowerState::D3Hot && after == Some(PowerState::D0)
        });
        by_express || by_advanced || by_power
    }
}

const _: () = assert!(ADVANCED_CAPABILITIES == 3, "the body above has it second");
