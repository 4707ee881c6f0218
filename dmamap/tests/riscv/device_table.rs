//! The device directory of a RISC-V IOMMU, as a unit meets it at every moment of a device's life.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use board::hardware::Hardware;
use dmamap::addr::DmaMask;
use dmamap::buffer::DmaBuffer;
use dmamap::device::Device;
use dmamap::map::Bidirectional;
use dmamap::system::{Settings, Stage};
use firmware::{Tables, Walks};
use hosted::Hosted;
use hw::riscv::directory::ContextFormat;
use hw::riscv::fault::Cause;
use journeys::boot::{BootOptions, IommuUse};
use machine::bus::Access;
use machine::cache::Snooping;
use machine::iommu::riscv::RiscvConfig;
use machine::iommu::translator::Translator;
use machine::temper::Temper;
use machine::{Iommu, Machine, MachineConfig};
use rig::observed::{Observed, Observer, Touch};
use rig::{EDU, HEARTBEAT, PAGE, Rig, small};

/// Where the map never gives an address out.
const NEVER_MAPPED: u64 = 0x12_3456_7000;

/// Directories of every depth, of contexts of both forms.
fn units() -> impl Iterator<Item = RiscvConfig> {
    [ContextFormat::Base, ContextFormat::Extended]
        .into_iter()
        .flat_map(|context_format| {
            (1..=3).map(move |levels| RiscvConfig {
                context_format,
                directory_levels: vec![levels],
                ..RiscvConfig::default()
            })
        })
}

/// Boots a machine that `observer` looks at, whose unit's walks do not snoop: each store to a table is followed by a
/// touch.
///
/// RIMT has no word for such a unit, so it is started by hand, as one of a devicetree is.
fn boot(unit: RiscvConfig, stage: Stage, temper: Temper, observer: impl Observer) -> Rig {
    let walks = Snooping::Off;
    let config: MachineConfig = small()
        .with_iommu(Iommu::Riscv { unit, walks })
        .with_temper(temper);
    let machine = Machine::boot(config).unwrap();
    let kernel = Hosted::boot(Observed::new(machine.clone(), observer)).unwrap();
    let options = BootOptions {
        iommu: IommuUse::Ignored,
        ..BootOptions::default()
    };
    let mut rig = Rig::boot_on(machine, kernel, kernel, options).unwrap();

    let rsdp = rig.machine.rsdp().expect("the machine has ACPI");
    let tables = Tables::find(rsdp, &kernel).unwrap();
    let mut description = tables.iommus().unwrap();
    description.units[0].walks = Some(Walks::DoNotSnoop);
    let settings = Settings {
        stage: Some(stage),
        ..Settings::default()
    };
    let system = rig.system();
    let (topology, resources) = rig.computer.topology_and_resources_mut();
    // SAFETY: the description is the machine's own, and nobody else drives it.
    unsafe { system.start_units(&description, topology, resources, settings) }.unwrap();
    rig
}

fn map_a_page(rig: &Rig, device: &Device<Hosted>) {
    device.set_mask(DmaMask::ALL).unwrap();
    let buffer = DmaBuffer::allocate(rig.kernel, PAGE).unwrap();
    let mapping = device.map_single(buffer, Bidirectional).unwrap();
    mapping.unmap().unwrap();
}

#[test]
fn contexts_reach_a_unit_that_does_not_snoop() {
    for unit in units() {
        for stage in [Stage::First, Stage::Second] {
            let rig = boot(unit.clone(), stage, Temper::Random(3), |_: &Machine, _| ());
            for requester in [EDU, HEARTBEAT, EDU] {
                let device = rig.attach(requester);
                map_a_page(&rig, &device);
                device.detach().unwrap();
            }
            // Poison, had anything not been written back.
            rig.finish();
        }
    }
}

#[test]
fn a_context_is_never_met_half_written() {
    let tempers = [Temper::Keep, Temper::Forget, Temper::Random(9)];
    for (unit, &temper) in units().zip(tempers.iter().cycle()) {
        for stage in [Stage::First, Stage::Second] {
            let met = Arc::new(Mutex::new(HashMap::<u16, usize>::new()));
            let counted = met.clone();
            let rig = boot(
                unit.clone(),
                stage,
                temper,
                move |machine: &Machine, touch| {
                    if !matches!(touch, Touch::Cleaned { .. }) {
                        return;
                    }
                    let unit = machine.riscv_units().next().expect("it has a unit");
                    let fault = unit
                        .translate(EDU.id, NEVER_MAPPED, Access::Read)
                        .unwrap_err();
                    *counted.lock().unwrap().entry(fault.reason).or_default() += 1;
                },
            );
            for _ in 0..3 {
                let device = rig.attach(EDU);
                map_a_page(&rig, &device);
                device.detach().unwrap();
            }
            let met = met.lock().unwrap().clone();
            let page_fault = match stage {
                Stage::First => Cause::ReadPageFault,
                Stage::Second => Cause::ReadGuestPageFault,
            };
            let whole = [
                Cause::InboundDisallowed,
                Cause::DirectoryNotValid,
                page_fault,
            ];
            for reason in met.keys() {
                assert!(whole.iter().any(|cause| cause.code() == *reason), "{met:?}");
            }
            for cause in &whole[1..] {
                assert!(met.get(&cause.code()) > Some(&3), "{cause:?}: {met:?}");
            }
            rig.finish_after_faults();
        }
    }
}

#[test]
fn a_detached_device_has_no_context() {
    for unit in units() {
        let rig = boot(unit, Stage::First, Temper::Forget, |_: &Machine, _| ());
        let unit = rig.machine.riscv_units().next().unwrap();
        let reason = || {
            let refused = unit.translate(EDU.id, NEVER_MAPPED, Access::Read);
            refused.unwrap_err().reason
        };
        let (invalid, unmapped) = (Cause::DirectoryNotValid.code(), Cause::ReadPageFault.code());
        assert_eq!(reason(), invalid);
        let device = rig.attach(EDU);
        assert_eq!(reason(), unmapped);
        device.detach().unwrap();
        assert_eq!(reason(), invalid);
        rig.finish_after_faults();
    }
}
