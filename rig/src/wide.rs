//! An educational device with as many address lines as bus addresses have bits: its DMA reaches what lanes give out.

use dmamap::device::Device;
use dmamap::pci::Function;
use drivers::edu::Edu;
use hosted::Hosted;
use machine::MachineConfig;
use machine::fabric::{Below, FunctionConfig, Model, PortConfig};

use crate::Rig;

/// Adds it to a machine, behind a port of its own.
pub fn with_wide_edu(config: MachineConfig) -> MachineConfig {
    with_wide_edus(config, 1)
}

/// The same with several functions, which nothing keeps apart.
pub fn with_wide_edus(config: MachineConfig, count: usize) -> MachineConfig {
    let functions = vec![FunctionConfig::new(Model::Edu); count];
    config.with_port(PortConfig::new(Below::Device(functions)))
}

/// The functions of such a device, by address.
pub fn wide_functions(rig: &Rig) -> Vec<Function<Hosted>> {
    let ids = (hw::edu::VENDOR_ID, hw::edu::DEVICE_ID);
    let functions = rig.computer.topology().functions();
    functions
        .filter(|one| one.parent().is_some() && (one.vendor(), one.device()) == ids)
        .cloned()
        .collect()
}

/// The device at work.
pub fn start(rig: &mut Rig, function: &Function<Hosted>, device: Device<Hosted>) -> Edu<Hosted> {
    Edu::start(device, function, rig.computer.resources_mut()).expect("the device works")
}
