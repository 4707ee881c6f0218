//! Coherent memory past the caches is given back, whatever fails on the way.

use dmamap::addr::DmaMask;
use dmamap::map::{CoherentError, CoherentFailure};
use dmamap::platform::Platform;
use hosted::{FaultInjector, Hosted, PlatformCall, Resource, Tracer};
use machine::temper::Temper;
use machine::{Iommu, Machine};

use crate::rig::{attach, computer, config, iommus};
use rig::shut_down;

#[test]
fn whatever_fails_nothing_is_lost() {
    for (name, iommu) in iommus() {
        let machine = Machine::boot(config(iommu, Temper::Forget)).expect("the machine is sound");
        let kernel = Hosted::boot(machine.clone()).expect("the kernel boots");
        let platform = FaultInjector::new(kernel);
        let computer = computer(platform, kernel);
        let function = computer.edus().next().expect("a device").clone();
        let device = attach(&computer, &function);
        device.set_mask_and_coherent(DmaMask::ALL).expect("64 bits");
        let lent = kernel.report();
        let failed = platform.fail_each_in_turn(|_| {
            let outcome = device.alloc_coherent::<u64>(700);
            let injected = platform.last_injected();
            match outcome {
                Ok(memory) => memory.free().expect("it comes back"),
                Err(CoherentError {
                    failure: CoherentFailure::Uncached(_),
                    ..
                }) => {
                    assert_eq!(injected, Some(Resource::FrameMapping), "{name}");
                }
                Err(_) => assert_eq!(injected, Some(Resource::Frames), "{name}"),
            }
            device.reclaim().expect("the unit confirms");
            assert_eq!(kernel.report().uncached_mappings, 0, "{name}");
        });
        assert!(failed >= 2, "{name}: {failed}");
        platform.exhaust_from(Resource::FrameMapping, 1);
        assert!(matches!(
            device.alloc_coherent::<u64>(1),
            Err(CoherentError {
                failure: CoherentFailure::Uncached(_),
                ..
            })
        ));
        platform.relent();
        device.reclaim().expect("the unit confirms");
        assert_eq!(kernel.report().frames.in_use, lent.frames.in_use, "{name}");
        device.detach().expect("it detaches");
        shut_down(&computer);
        drop((function, computer));
        machine.shutdown();
        let report = kernel.shutdown();
        assert!(report.is_clean(), "{name}: {report:?}");
    }
}

#[test]
fn the_mapping_is_made_after_maintenance_and_ends_before_the_frames_do() {
    let machine = Machine::boot(config(Iommu::None, Temper::Keep)).expect("the machine is sound");
    let kernel = Hosted::boot(machine.clone()).expect("the kernel boots");
    let platform = Tracer::new(kernel, 1000);
    let computer = computer(platform, kernel);
    let function = computer.edus().next().expect("a device").clone();
    let device = attach(&computer, &function);
    device.set_mask_and_coherent(DmaMask::ALL).expect("64 bits");
    platform.take();
    let memory = device.alloc_coherent::<u64>(1).expect("memory");
    let virt = memory.virt();
    memory.free().expect("it comes back");
    let mut calls = platform.take();
    calls.retain(|call| !matches!(call, PlatformCall::ReadBarrier | PlatformCall::WriteBarrier));
    let calls: Vec<_> = calls.iter().map(name_of).collect();
    let wanted = [
        "allocate",
        "clean",
        "invalidate",
        "map",
        "clean",
        "invalidate",
        "unmap",
        "free",
    ];
    assert_eq!(calls, wanted);
    assert_eq!(
        kernel.virt_to_phys(virt),
        None,
        "no memory to be mapped again"
    );
    device.detach().expect("it detaches");
    drop((function, computer));
    machine.shutdown();
    assert!(kernel.shutdown().is_clean());
}

fn name_of(call: &PlatformCall) -> &'static str {
    match call {
        PlatformCall::AllocateFrames(..) => "allocate",
        PlatformCall::CleanCache(..) => "clean",
        PlatformCall::InvalidateCache(..) => "invalidate",
        PlatformCall::MapFrames(..) => "map",
        PlatformCall::UnmapFrames(..) => "unmap",
        PlatformCall::FreeFrames(..) => "free",
        _ => "something else",
    }
}
