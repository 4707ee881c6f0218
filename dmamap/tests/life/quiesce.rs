//! Nothing a device does outlives the kernel that told it to, nor meets the next one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use board::between::Between;
use board::hardware::{Hardware, Width};
use dmamap::pci::{BusMaster, Problem};
use dmamap::system::{Protection, QuiesceError, SuspendError};
use hosted::Hosted;
use hw::pci::capability::id;
use hw::pci::msix::{MESSAGE_CONTROL, MessageControl};
use journeys::boot::BootOptions;
use machine::Machine;
use machine::bus::HeldRequest;
use machine::device::nvme::{Medium, NvmeConfig};

use crate::reset::DISK;
use rig::{EDU, HEARTBEAT, PAGE, Rig, buffer_of, small};

/// Where the machine has the command register of the educational device.
const EDU_COMMAND: u64 = 0xe000_0000 + ((EDU.id as u64) << 12) + 4;

fn disk() -> NvmeConfig {
    let file = tempfile::tempfile().expect("the host has room");
    NvmeConfig::new(file, 1 << 20, Medium::ReadWrite)
}

/// A machine with a request under way that ends once it was waited for a few times.
struct Ending {
    machine: Arc<Machine>,
    request: Mutex<Option<HeldRequest>>,
    waits: AtomicUsize,
}

impl Between for Ending {
    fn board(&self) -> &dyn Hardware {
        &*self.machine
    }

    fn on_idle(&self) {
        if self.waits.fetch_add(1, Ordering::SeqCst) == 20 {
            drop(self.request.lock().unwrap().take());
        }
        self.machine.idle();
    }
}

#[test]
fn devices_of_an_earlier_kernel_are_quiet_before_units_start() {
    let machine = Machine::boot(small()).unwrap();
    // Another kernel left the device at work, a request of it under way.
    machine.write(EDU_COMMAND, Width::Word, 0x0006);
    let request = machine.hold_request(EDU.id);
    let ending = Arc::new(Ending {
        machine: machine.clone(),
        request: Mutex::new(Some(request)),
        waits: AtomicUsize::new(0),
    });
    let kernel = Hosted::boot(ending.clone()).unwrap();
    let rig = Rig::boot_on(machine, kernel, kernel, BootOptions::default()).unwrap();
    assert!(
        ending.request.lock().unwrap().is_none(),
        "it was not waited for"
    );
    drop(ending);
    let function = rig.function(EDU);
    assert_eq!(function.read_bus_master(), BusMaster::Off);
    assert_eq!(rig.computer.topology().problems(), []);
    assert_eq!(rig.function(HEARTBEAT).read_bus_master(), BusMaster::On);
    drop(function);
    rig.finish();
}

#[test]
fn a_device_whose_requests_never_end_is_a_problem_of_the_topology() {
    let machine = Machine::boot(small()).unwrap();
    let request = machine.hold_request(EDU.id);
    let kernel = Hosted::boot(machine.clone()).unwrap();
    let rig = Rig::boot_on(machine, kernel, kernel, BootOptions::default()).unwrap();
    let address = rig.function(EDU).address();
    assert_eq!(
        rig.computer.topology().problems(),
        [Problem::TransactionsPending { address }]
    );
    drop(request);
    rig.finish();
}

#[test]
fn message_interrupts_of_an_earlier_kernel_are_off() {
    let rig = Rig::boot(small().with_disk(disk()));
    let function = rig.function(DISK);
    let control = function.capability(id::MSIX).unwrap() + MESSAGE_CONTROL;
    let enabled = || MessageControl::from_bits(function.read_config(control).unwrap()).enable();
    let on = MessageControl::new().with_enable(true);
    // SAFETY: the table is masked, so no message is written anywhere.
    unsafe { function.write_config_guarded(control, on.into_bits()) }.unwrap();
    assert!(enabled());
    rig.system().quiesce(rig.computer.topology()).unwrap();
    assert!(!enabled());
    // The same at enumeration.
    // SAFETY: the table is masked, so no message is written anywhere.
    unsafe { function.write_config_guarded(control, on.into_bits()) }.unwrap();
    let Rig {
        machine,
        kernel,
        computer,
    } = rig;
    // SAFETY: nothing is attached, and models obey their bus-master bit.
    unsafe { computer.system().shutdown() }.unwrap();
    drop((function, computer));
    let again = Rig::boot_on(machine, kernel, kernel, BootOptions::default()).unwrap();
    let function = again.function(DISK);
    let control = MessageControl::from_bits(function.read_config(control).unwrap());
    assert!(!control.enable());
    drop(function);
    again.finish();
}

#[test]
fn quiescing_names_who_is_in_the_way() {
    let rig = Rig::boot(small());
    let (function, heartbeat) = (rig.function(EDU), rig.function(HEARTBEAT));
    let topology = rig.computer.topology();
    let device = rig.attach(EDU);
    let other = rig.attach(HEARTBEAT);
    let refused = rig.system().quiesce(topology);
    assert_eq!(
        refused,
        Err(QuiesceError::StillAttached {
            devices: vec![EDU, HEARTBEAT]
        })
    );
    assert_eq!(function.read_bus_master(), BusMaster::On);
    device.detach().unwrap();
    other.detach().unwrap();
    // A driver that has gone left a request under way.
    // SAFETY: the device reaches nothing, as nobody attached it.
    unsafe { function.enable_bus_master() };
    let request = rig.machine.hold_request(EDU.id);
    let pending = QuiesceError::StillPending {
        device: function.address(),
    };
    assert_eq!(rig.system().quiesce(topology), Err(pending));
    assert_eq!(function.read_bus_master(), BusMaster::Off);
    drop(request);
    assert_eq!(rig.system().quiesce(topology), Ok(()));
    // What firmware left at work goes on in memory of its own.
    assert_eq!(heartbeat.read_bus_master(), BusMaster::On);
    drop((function, heartbeat));
    rig.finish();
}

#[test]
fn a_machine_with_requests_that_do_not_end_does_not_sleep() {
    let rig = Rig::boot(small());
    let function = rig.function(EDU);
    let device = rig.attach(EDU);
    let request = rig.machine.hold_request(EDU.id);
    let refused = rig.system().suspend(rig.computer.topology());
    let pending = SuspendError::StillPending {
        device: function.address(),
    };
    assert_eq!(refused.map(drop), Err(pending));
    // It goes on as before.
    assert_eq!(function.read_bus_master(), BusMaster::On);
    let buffer = buffer_of(rig.kernel, PAGE, 1);
    let mapping = device.map_single(buffer, dmamap::map::ToDevice).unwrap();
    drop(mapping.unmap().unwrap());
    drop((request, device));
    drop(rig.system().attach(&function, Protection::Strict).unwrap());
    drop(function);
    rig.finish();
}
