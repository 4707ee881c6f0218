//! What comes back with the power, and what does not; and how long all of that takes.

use std::thread;
use std::time::{Duration, Instant};

use crate::altered::Altered;
use dmamap::pci::{BusMaster, Function};
use dmamap::system::QuiesceError;
use hosted::Hosted;
use hw::pci::capability::{ACS_CONTROL, AcsFlags, extended_id};
use hw::pci::config::BAR0;
use journeys::boot::BootOptions;
use machine::MachineConfig;
use machine::fabric::{Below, FunctionConfig, Model, PortConfig};
use rig::{EDU, Rig, small};

/// Where the machine has the first base address register of the educational device.
const EDU_BAR0: u64 = 0xe000_0000 + ((EDU.id as u64) << 12) + BAR0 as u64;

/// Vendor and device id of educational devices.
const EDU_IDS: (u16, u16) = (hw::edu::VENDOR_ID, hw::edu::DEVICE_ID);

/// Functions of one device.
const MANY: usize = 8;

fn sleep_without_power(rig: &Rig) -> dmamap::system::Resumed {
    let suspended = rig.system().suspend(rig.computer.topology()).unwrap();
    rig.machine.power_cycle();
    // SAFETY: the devices had no power and obey their bus-master bits.
    unsafe { rig.system().resume(suspended) }.unwrap()
}

#[test]
fn access_control_comes_back_with_the_power() {
    let below = Below::Device(vec![FunctionConfig::new(Model::Edu)]);
    let port = PortConfig::new(below).with_acs(AcsFlags::ISOLATING);
    let rig = Rig::boot(small().with_port(port));
    let topology = rig.computer.topology();
    let port = topology.functions().find_map(|one| {
        Some((
            one,
            one.extended_capability(extended_id::ACS)? + ACS_CONTROL,
        ))
    });
    let (port, control) = port.expect("it has access control services");
    let before: u16 = port.read_config(control).unwrap();
    assert!(AcsFlags::from_bits(before).request_redirect());
    assert_eq!(sleep_without_power(&rig).lost, []);
    assert_eq!(port.read_config::<u16>(control), Ok(before));
    rig.finish();
}

#[test]
fn a_function_that_is_lost_over_sleep_is_no_bus_master() {
    let (altered, rig) = Altered::boot(small(), BootOptions::default());
    let function = rig.function(EDU);
    let device = rig.attach(EDU);
    assert_eq!(function.read_bus_master(), BusMaster::On);
    // It does not take its address again.
    altered.does_not_hear(EDU_BAR0);
    assert_eq!(sleep_without_power(&rig).lost, [function.address()]);
    assert_eq!(function.read_bus_master(), BusMaster::Off);
    device.detach().unwrap();
    drop((altered, function));
    rig.finish();
}

#[test]
fn a_function_that_never_answers_takes_no_time_from_those_after_it() {
    let (altered, rig) = Altered::boot(with_many(), BootOptions::default());
    let many = the_many(&rig);
    let (never, late) = (&many[0], &many[1]);
    let port = late.parent().unwrap().clone();
    let before = late.read_config::<u32>(BAR0).unwrap();
    let suspended = rig.system().suspend(rig.computer.topology()).unwrap();
    rig.machine.power_cycle();
    rig.machine.remove(never.requester());
    let vendor = |one: &Function<Hosted>| 0xe000_0000 + (u64::from(one.requester()) << 12);
    // What is behind the port is looked at after the port came back.
    altered.answers_late(vendor(&port), 2);
    altered.answers_late(vendor(late), 2);
    // SAFETY: the devices had no power and obey their bus-master bits.
    let resumed = unsafe { rig.system().resume(suspended) }.unwrap();
    assert_eq!(resumed.lost, [never.address()]);
    assert_ne!(before, 0);
    assert_eq!(late.read_config::<u32>(BAR0), Ok(before));
    drop((many, port, altered));
    rig.finish();
}

fn with_many() -> MachineConfig {
    let functions = (0..MANY).map(|_| FunctionConfig::new(Model::Edu));
    small().with_port(PortConfig::new(Below::Device(functions.collect())))
}

fn the_many(rig: &Rig) -> Vec<Function<Hosted>> {
    let functions = rig.computer.topology().functions();
    let many: Vec<_> = functions
        .filter(|one| one.parent().is_some() && (one.vendor(), one.device()) == EDU_IDS)
        .cloned()
        .collect();
    assert_eq!(many.len(), MANY);
    many
}

/// How long quiescing takes with so many requests that do not end.
fn quiescing(pending: usize) -> Duration {
    let rig = Rig::boot(with_many());
    let many = the_many(&rig);
    let waiting = many.iter().take(pending);
    let requests: Vec<_> = waiting
        .map(|one| rig.machine.hold_request(one.requester()))
        .collect();
    let begun = Instant::now();
    let quiesced = rig.system().quiesce(rig.computer.topology());
    let took = begun.elapsed();
    assert!(matches!(quiesced, Err(QuiesceError::StillPending { .. })));
    drop(requests);
    rig.system().quiesce(rig.computer.topology()).unwrap();
    drop(many);
    rig.finish();
    took
}

/// How long resuming takes with so many functions that do not come back.
fn resuming(missing: usize) -> Duration {
    let rig = Rig::boot(with_many());
    let many = the_many(&rig);
    let suspended = rig.system().suspend(rig.computer.topology()).unwrap();
    rig.machine.power_cycle();
    for one in many.iter().take(missing) {
        rig.machine.remove(one.requester());
    }
    let begun = Instant::now();
    // SAFETY: the devices had no power and obey their bus-master bits.
    let resumed = unsafe { rig.system().resume(suspended) }.unwrap();
    assert_eq!(resumed.lost.len(), missing);
    let took = begun.elapsed();
    drop(many);
    rig.finish();
    took
}

#[test]
fn many_that_do_not_answer_are_waited_for_no_longer_than_one() {
    // All at the same time, as they wait for most of it, and so that a busy host slows all of them.
    thread::scope(|scope| {
        let waits: [fn(usize) -> Duration; 2] = [quiescing, resuming];
        let waits = waits.map(|wait| {
            let run = |count| scope.spawn(move || wait(count));
            (run(1), run(MANY))
        });
        for (one, many) in waits {
            let (one, many) = (one.join().unwrap(), many.join().unwrap());
            assert!(
                many < one * (MANY as u32) / 2,
                "{many:?} instead of {one:?}"
            );
        }
    });
}
