//! Control registers beyond those that models act on: they hold what is written, and a reset takes it.

use hw::pci::capability::{extended_id, port_type};
use hw::pci::config::EXPANSION_ROM;
use hw::pci::control::{
    LINK_CONTROL, LINK_CONTROL_2, LINK_RETRAIN, ROOT_CONTROL, ResizableBarControl, SLOT_CONTROL,
    SLOT_CONTROL_2, aer, ats, ltr, pasid, pri, resizable_bar,
};
use hw::pci::reset::DEVICE_CONTROL_2;

use super::config_space::ConfigSpace;

/// Which functions have more control registers than their models need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Controls {
    /// None.
    #[default]
    Few,
    /// PCI Express endpoints: error reporting, latencies, ids, translations, page requests, a resizable register, a ROM.
    All,
}

/// Adds those of the link, and for a port with a slot and a root those, to the PCI Express capability at `express`.
pub(super) fn link(config: &mut ConfigSpace, express: u16, kind: u8) {
    let mut allow = |offset: u16, mask: u16| config.allow(express + offset, &mask.to_le_bytes());
    allow(DEVICE_CONTROL_2, 0xffff);
    allow(LINK_CONTROL, 0x0fff & !LINK_RETRAIN);
    allow(LINK_CONTROL_2, 0xffff);
    if matches!(kind, port_type::ROOT_PORT | port_type::DOWNSTREAM_PORT) {
        allow(SLOT_CONTROL, 0x1fff);
        allow(SLOT_CONTROL_2, 0xffff);
    }
    if kind == port_type::ROOT_PORT {
        allow(ROOT_CONTROL, 0x1f);
    }
}

/// Adds error reporting; a root's command with it.
pub(super) fn errors(config: &mut ConfigSpace) {
    let at = config.add_extended_capability(extended_id::AER, &[0; 0x44]);
    for offset in [
        aer::UNCORRECTABLE_MASK,
        aer::UNCORRECTABLE_SEVERITY,
        aer::CORRECTABLE_MASK,
    ] {
        config.allow(at + offset, &[0xff; 4]);
    }
    config.allow(at + aer::CONTROL, &[0x40, 0x01, 0, 0]);
    config.allow(at + aer::ROOT_COMMAND, &[7, 0, 0, 0]);
}

/// Adds all that an endpoint may have.
pub(super) fn endpoint(config: &mut ConfigSpace, express: u16) {
    link(config, express, port_type::ENDPOINT);
    errors(config);
    let at = config.add_extended_capability(extended_id::LTR, &[0; 4]);
    config.allow(at + ltr::MAX_LATENCIES, &[0xff, 0x1f, 0xff, 0x1f]);
    let at = config.add_extended_capability(extended_id::PASID, &[0; 4]);
    config.allow(at + pasid::CONTROL, &[7, 0]);
    let at = config.add_extended_capability(extended_id::PRI, &[0; 12]);
    config.allow(at + pri::CONTROL, &[1, 0]);
    config.allow(at + pri::ALLOCATION, &[0xff; 4]);
    let at = config.add_extended_capability(extended_id::ATS, &[0; 4]);
    config.allow(at + ats::CONTROL, &[0x1f, 0x80]);
    let at = config.add_extended_capability(extended_id::RESIZABLE_BAR, &[0; 8]);
    let control = ResizableBarControl::new().with_bars(1);
    config.set(
        at + resizable_bar::control(0),
        &control.into_bits().to_le_bytes(),
    );
    let size = ResizableBarControl::new().with_size_log2_mib(0x3f);
    config.allow(
        at + resizable_bar::control(0),
        &size.into_bits().to_le_bytes(),
    );
    config.allow(EXPANSION_ROM, &0xffff_0001_u32.to_le_bytes());
}
