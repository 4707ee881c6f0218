//! Bus mastering, which every request of a device needs, is on while a driver has the device, and no longer.

use dmamap::pci::BusMaster;
use dmamap::system::Protection;
use rig::{EDU, HEARTBEAT, Rig, small};

#[test]
fn a_device_is_a_bus_master_while_it_is_attached() {
    let rig = Rig::boot(small());
    let function = rig.function(EDU);
    assert_eq!(function.read_bus_master(), BusMaster::Off);
    let device = rig.attach(EDU);
    assert_eq!(function.read_bus_master(), BusMaster::On);
    device.detach().unwrap();
    assert_eq!(function.read_bus_master(), BusMaster::Off);
    drop(rig.attach(EDU));
    assert_eq!(function.read_bus_master(), BusMaster::Off);
    drop(function);
    rig.finish();
}

#[test]
fn a_blocked_device_is_no_bus_master() {
    let rig = Rig::boot(small());
    let function = rig.function(EDU);
    let blocked = rig.system().attach(&function, Protection::Blocked).unwrap();
    assert_eq!(function.read_bus_master(), BusMaster::Off);
    drop((blocked, function));
    rig.finish();
}

#[test]
fn what_firmware_left_at_work_stays_a_bus_master() {
    let rig = Rig::boot(small());
    let function = rig.function(HEARTBEAT);
    assert_eq!(function.read_bus_master(), BusMaster::On);
    drop(rig.attach(HEARTBEAT));
    assert_eq!(function.read_bus_master(), BusMaster::On);
    drop(function);
    rig.finish();
}
