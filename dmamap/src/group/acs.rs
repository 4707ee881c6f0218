//! Access control services: who is kept from reaching its peers without passing an IOMMU (PCIe base spec 6.12).

use core::fmt;

use hw::pci::capability::{ACS_CAPABILITY, ACS_CONTROL, AcsFlags, extended_id};

use crate::pci::{ConfigError, Function, PortType};
use crate::platform::Platform;

/// The access control services of one function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acs {
    /// What it can do.
    pub capable: AcsFlags,
    /// What it does now.
    pub on: AcsFlags,
}

impl Acs {
    /// Reads them from the function; `None` if it has none, or is gone.
    pub fn read<P: Platform>(function: &Function<P>) -> Option<Self> {
        let offset = function.extended_capability(extended_id::ACS)?;
        let word = |register| {
            let bits: u16 = function.read_config(offset + register).ok()?;
            (bits != u16::MAX).then_some(AcsFlags::from_bits(bits))
        };
        Some(Self {
            capable: word(ACS_CAPABILITY)?,
            on: word(ACS_CONTROL)?,
        })
    }

    /// Switches on what keeps devices apart ([`AcsFlags::ISOLATING`]), as far as the function can.
    ///
    /// # Errors
    /// [`ConfigError`] if the capability lies where no register can be.
    pub fn isolate<P: Platform>(function: &Function<P>) -> Result<(), ConfigError> {
        let Some(offset) = function.extended_capability(extended_id::ACS) else {
            return Ok(());
        };
        let capable = AcsFlags::from_bits(function.read_config(offset + ACS_CAPABILITY)?);
        let wanted = capable.and(AcsFlags::ISOLATING);
        let change = |control| AcsFlags::from_bits(control).or(wanted).into_bits();
        // SAFETY: nothing is switched off, so fewer functions reach each other than before, if any do.
        unsafe { function.modify_config_guarded(offset + ACS_CONTROL, change) }
    }

    /// What of [`AcsFlags::ISOLATING`] a function of this kind should do and does not.
    ///
    /// A port of a switch away from the root has to have all of it (6.12.1.1). A root port without redirection does
    /// not pass requests to its peers at all, and functions of a device have none of what is only for ports: there what
    /// a function cannot do need not be done.
    pub fn missing(self, port: Option<PortType>) -> AcsFlags {
        let wanted = match port {
            Some(PortType::DownstreamPort) => AcsFlags::ISOLATING,
            Some(PortType::RootPort) => self
                .capable
                .and(AcsFlags::ISOLATING)
                .with_source_validation(true),
            _ => self.capable.and(AcsFlags::ISOLATING),
        };
        AcsFlags::from_bits(wanted.into_bits() & !self.on.into_bits())
    }

    /// Whether requests to peers go up to the root complex rather than to the peer, and completions too.
    pub(crate) fn redirects(self) -> bool {
        self.on.request_redirect() || self.on.completion_redirect() || self.on.egress_control()
    }
}

/// The names of the flags of [`AcsFlags::ISOLATING`] that are set: `SV RR CR UF`.
pub(crate) struct Names(pub(crate) AcsFlags);

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = [
            (self.0.source_validation(), "SV"),
            (self.0.request_redirect(), "RR"),
            (self.0.completion_redirect(), "CR"),
            (self.0.upstream_forwarding(), "UF"),
        ];
        let mut separator = "";
        for (_, name) in named.into_iter().filter(|(set, _)| *set) {
            write!(f, "{separator}{name}")?;
            separator = " ";
        }
        Ok(())
    }
}
