//! Bus addresses that wait for a flush are there for who needs them: a device of few of them maps on and on, though nothing of what it
//! unmapped is flushed by a timer or by their number.

use dmamap::addr::DmaMask;
use dmamap::buffer::{DmaBuffer, DmaMemory};
use dmamap::device::Device;
use dmamap::iommu::DomainError;
use dmamap::iova::IovaError;
use dmamap::map::{AnyDirection, Attributes, Bidirectional, MapFailure};
use dmamap::system::Protection;
use hosted::Hosted;
use machine::Machine;
use machine::temper::Temper;

use super::kinds::{Kind, kinds};
use super::{LONG_MS, flushing};
use rig::{EDU, PAGE, Rig};

const BOTH: AnyDirection = AnyDirection::Bidirectional;
const NOTHING: Attributes = Attributes::NONE;

/// Boots with a queue that has room for more than the addresses of `bits` bits, in pages.
fn boot(kind: &Kind, bits: u32) -> (Rig, Device<Hosted>) {
    let machine = Machine::boot(kind.config(Temper::Forget)).unwrap();
    let kernel = Hosted::boot_with_cpus(machine.clone(), 4).unwrap();
    let options = flushing(kind.options, 16384, LONG_MS);
    let rig = Rig::boot_on(machine, kernel, kernel, options).unwrap();
    let device = rig.attach_trusted(EDU, Protection::Deferred);
    device.set_mask(DmaMask::from_bits(bits).unwrap()).unwrap();
    (rig, device)
}

fn buffer(device: &Device<Hosted>, pages: u64) -> DmaBuffer<Hosted> {
    DmaBuffer::allocate(device.platform(), pages * PAGE).unwrap()
}

/// Maps and unmaps so many times, one mapping at a time.
fn go_on(device: &Device<Hosted>, pages: u64, times: u64) {
    let mut memory = Some(buffer(device, pages));
    for n in 0..times {
        let given = memory.take().unwrap();
        let mapping = device.map_single(given, Bidirectional);
        let mapping = mapping.unwrap_or_else(|error| panic!("mapping {n}: {error:?}"));
        memory = Some(mapping.unmap().unwrap());
    }
    // The device may reach what it is trusted with until then.
    device.flush().unwrap();
}

#[test]
fn what_waits_for_a_flush_is_flushed_where_its_addresses_are_missing() {
    for kind in kinds() {
        let (rig, device) = boot(&kind, 22);
        // Pages of blocks, ranges that have blocks of their own, and more than half of all there are.
        for (pages, times) in [(1, 3000), (40, 400), (300, 40), (600, 20)] {
            let before = device.flush_figures().flushes;
            go_on(&device, pages, times);
            let flushes = device.flush_figures().flushes - before;
            let most = 1 + 4 * pages * times / 1024;
            assert!(
                (1..=most).contains(&flushes),
                "{} {pages}: {flushes} flushes",
                kind.name
            );
        }
        device.detach().unwrap();
        rig.finish();
    }
}

#[test]
fn what_a_lane_staged_is_flushed_where_its_addresses_are_missing() {
    for kind in kinds() {
        if kind.name == "virtio" {
            // There lanes stage nothing.
            continue;
        }
        let (rig, device) = boot(&kind, 32);
        let mut lane = device.lane();
        let first = lane.map_single(buffer(&device, 1), Bidirectional).unwrap();
        let mut memory = vec![lane.unmap(first).unwrap()];
        // What is left then is the block that the lane has, and less than 64 pages in a row elsewhere.
        let mut others = Vec::new();
        for pages in [1024, 64] {
            let mapped = buffer(&device, pages);
            let frames = mapped.segment(0);
            // SAFETY: the memory outlives the mappings, and no device is set to work.
            while let Ok(range) = unsafe { device.map_phys(frames, BOTH) } {
                others.push(range);
            }
            memory.push(mapped);
        }
        for (pages, times) in [(1, 2000), (64, 100), (200, 60)] {
            let mut given = Some(buffer(&device, pages));
            for n in 0..times {
                let mapping = lane.map_single(given.take().unwrap(), Bidirectional);
                let mapping = mapping.unwrap_or_else(|error| panic!("mapping {n}: {error:?}"));
                given = Some(lane.unmap(mapping).unwrap());
                let mapping = lane.map_sg(given.take().unwrap(), Bidirectional);
                let mapping = mapping.unwrap_or_else(|error| panic!("list {n}: {error:?}"));
                given = Some(lane.unmap_sg(mapping).unwrap());
            }
            let mapped = given.unwrap();
            let frames = mapped.segment(0);
            // Longer ones are no lane's.
            let times = if pages <= 64 { times } else { 0 };
            for n in 0..times {
                // SAFETY: the memory outlives the mapping, and no device is set to work.
                let range = unsafe { lane.map_phys(frames, BOTH) };
                let range = range.unwrap_or_else(|error| panic!("frames {n}: {error}"));
                // SAFETY: it was just mapped.
                unsafe { lane.unmap_phys(range, BOTH, NOTHING) }.unwrap();
            }
            device.flush().unwrap();
            drop(mapped);
        }
        for other in others {
            // SAFETY: it was mapped above.
            unsafe { device.unmap_phys(other, BOTH, NOTHING) }.unwrap();
        }
        device.flush().unwrap();
        drop((lane, memory));
        device.detach().unwrap();
        rig.finish();
    }
}

#[test]
fn a_refusal_flushes_nothing_where_nothing_waits() {
    for kind in kinds() {
        let (rig, device) = boot(&kind, 22);
        let mut alive = Vec::new();
        let refused = loop {
            match device.map_single(buffer(&device, 64), Bidirectional) {
                Ok(mapping) => alive.push(mapping),
                Err(refused) => break refused.error,
            }
            assert!(alive.len() <= 1 << (22 - 18), "{}", kind.name);
        };
        let is_that = matches!(
            refused.failure,
            MapFailure::Domain(DomainError::Iova(IovaError::IovaExhausted { .. }))
        );
        assert!(is_that, "{}: {refused}", kind.name);
        assert_eq!(device.flush_figures().flushes, 0, "{}", kind.name);
        let memory: Vec<_> = alive.into_iter().map(|one| one.unmap().unwrap()).collect();
        device.flush().unwrap();
        drop(memory);
        device.detach().unwrap();
        rig.finish();
    }
}
