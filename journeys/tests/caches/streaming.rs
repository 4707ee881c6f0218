//! Lists of buffers, mappings in two steps and the raw layer, as steps of `forgotten`.

use dmamap::addr::{BusRange, PhysRange};
use dmamap::buffer::{DmaBuffer, ScatterList};
use dmamap::map::{AnyDirection, Attributes, Bidirectional, FromDevice, MapFailure, ToDevice};

use crate::forgotten::{Bench, Kernel, NEW, OLD, PAGE, expect};

/// Two buffers of a page, one of them mapped but for its first bytes.
fn two_buffers(bench: &Bench, byte: u8) -> ScatterList<DmaBuffer<Kernel>> {
    let mut list = ScatterList::with_room(2).unwrap();
    list.push(bench.buffer(PAGE, byte)).unwrap();
    list.push_part(bench.buffer(PAGE, byte), 64, PAGE - 64)
        .unwrap();
    list
}

pub(crate) fn list_of_buffers(bench: &mut Bench) -> Result<(), String> {
    let sent = two_buffers(bench, NEW);
    let sent = bench.edu.device().map_sgtable(sent, ToDevice).unwrap();
    let received = two_buffers(bench, OLD);
    let received = bench
        .edu
        .device()
        .map_sgtable(received, FromDevice)
        .unwrap();
    for (from, to) in sent.runs().zip(received.runs()) {
        // SAFETY: both are the lists' memory.
        unsafe {
            bench.edu.fetch_at(from.start(), from.len_bytes()).unwrap();
            bench.edu.store_at(to.start(), to.len_bytes()).unwrap();
        }
    }
    let received = received.unmap().unwrap();
    expect("first", received.entries()[0].buffer().as_slice(), NEW)?;
    let second = received.entries()[1].buffer().as_slice();
    expect("beside", &second[..64], OLD)?;
    expect("second", &second[64..], NEW)?;
    // Views across the end of the first buffer, to and from the device.
    let list = two_buffers(bench, OLD);
    let mut both = bench.edu.device().map_sgtable(list, Bidirectional).unwrap();
    let at: Vec<_> = both.runs().collect();
    for byte in 1..3 {
        let mut view = both.sync_range_for_cpu(PAGE - 64, 128).unwrap();
        view.write_at(0, &[byte; 128]).unwrap();
        drop(view);
        let second = at[1].start();
        let last = at[0].slice(PAGE - 64, 64).unwrap().start();
        // SAFETY: both are the list's memory.
        unsafe {
            bench.edu.fetch_at(second, 64).unwrap();
            bench.edu.store_at(at[0].start(), 64).unwrap();
            bench.edu.fetch_at(last, 64).unwrap();
            bench
                .edu
                .store_at(at[1].slice(64, 64).unwrap().start(), 64)
                .unwrap();
        }
        let (mut by_second, mut seen) = ([0; 64], [0; 64]);
        match byte {
            1 => {
                let view = both.sync_for_cpu();
                view.read_at(0, &mut by_second).unwrap();
                view.read_at(PAGE + 64, &mut seen).unwrap();
            }
            _ => {
                let view = both.sync_range_for_cpu(0, 64).unwrap();
                view.read_at(0, &mut by_second).unwrap();
                drop(view);
                let view = both.sync_range_for_cpu(PAGE + 64, 64).unwrap();
                view.read_at(0, &mut seen).unwrap();
            }
        }
        expect("by the second", &by_second, byte)?;
        expect("by the first", &seen, byte)?;
    }
    let list = both.unmap().unwrap();
    expect("left", &list.entries()[0].buffer().as_slice()[64..128], OLD)?;
    drop(sent);
    Ok(())
}

fn memory_of(buffer: &DmaBuffer<Kernel>, len_bytes: u64) -> PhysRange {
    PhysRange::new(buffer.phys(0).unwrap(), len_bytes).unwrap()
}

pub(crate) fn raw_list(bench: &mut Bench) -> Result<(), String> {
    let nowhere = BusRange::new(dmamap::addr::BusAddr::new(0), 0).unwrap();
    let direction = AnyDirection::Bidirectional;
    let mut buffers = [bench.buffer(PAGE, OLD), bench.buffer(PAGE, OLD)];
    for byte in [NEW, OLD] {
        buffers[0].as_mut_slice().fill(byte);
        // Pieces of whole cache lines; behind an IOMMU each has pages of its own.
        let pieces = [memory_of(&buffers[0], 1024), memory_of(&buffers[1], 1024)];
        let mut told = [nowhere; 2];
        let device = bench.edu.device();
        // SAFETY: the buffers are not touched while they are mapped, and the device has finished before.
        unsafe {
            let used = device.map_sg_raw(&pieces, &mut told, direction).unwrap();
            let (from, to) = match used {
                2 => (told[0].start(), told[1].start()),
                // Neighbours in memory, and nothing between them and the device.
                _ => (told[0].start(), told[0].slice(1024, 1024).unwrap().start()),
            };
            bench.edu.fetch_at(from, 1024).unwrap();
            bench.edu.store_at(to, 1024).unwrap();
            let device = bench.edu.device();
            device
                .unmap_sg_raw(&pieces, &told[..used], direction, Attributes::NONE)
                .unwrap();
        }
        expect("copied", &buffers[1].as_slice()[..1024], byte)?;
    }
    Ok(())
}

pub(crate) fn raw_syncs(bench: &mut Bench) -> Result<(), String> {
    let direction = AnyDirection::Bidirectional;
    // Whatever is wrong, the memory is unmapped.
    let mut outcome = Ok(());
    let mut buffer = bench.buffer(2 * PAGE, OLD);
    let memory = memory_of(&buffer, 2 * PAGE);
    let skip = Attributes::NONE.skip_cpu_sync();
    // SAFETY: for all of it: the CPU touches the buffer in its turns only, and the device has finished before each.
    let range = unsafe { bench.edu.device().map_phys_attrs(memory, direction, skip) }.unwrap();
    assert!(bench.edu.device().need_sync_raw(range));
    let half = |n: u64| range.slice(n * PAGE, PAGE).unwrap();
    // No dirty line may be written over what the device will write.
    // SAFETY: as above.
    unsafe {
        bench
            .edu
            .device()
            .sync_raw_single_for_device(half(1), direction)
    }
    .unwrap();
    for (byte, by_range) in [(1, false), (2, true), (3, false)] {
        buffer.as_mut_slice()[..PAGE as usize].fill(byte);
        let device = bench.edu.device();
        // SAFETY: as above.
        unsafe {
            match by_range {
                true => device.sync_raw_range_for_device(range, 0, PAGE, direction),
                false => device.sync_raw_single_for_device(half(0), direction),
            }
            .unwrap();
            bench.edu.fetch_at(half(0).start(), PAGE).unwrap();
            bench.edu.store_at(half(1).start(), PAGE).unwrap();
            let device = bench.edu.device();
            match by_range {
                true => device.sync_raw_range_for_cpu(range, PAGE, PAGE, direction),
                false => device.sync_raw_single_for_cpu(half(1), direction),
            }
            .unwrap();
        }
        outcome = outcome.and(expect("copied", &buffer.as_slice()[PAGE as usize..], byte));
    }
    let pieces = [
        memory.slice(0, PAGE).unwrap(),
        memory.slice(PAGE, PAGE).unwrap(),
    ];
    buffer.as_mut_slice()[..PAGE as usize].fill(NEW);
    let device = bench.edu.device();
    // SAFETY: as above.
    unsafe {
        device.sync_raw_sg_for_device(&pieces[..1], &[half(0)], direction);
        bench.edu.fetch_at(half(0).start(), PAGE).unwrap();
        bench.edu.store_at(half(1).start(), PAGE).unwrap();
        let device = bench.edu.device();
        device.sync_raw_sg_for_cpu(&pieces[1..], &[half(1)], direction);
        device.unmap_phys(range, direction, skip).unwrap();
    }
    outcome.and(expect("copied", &buffer.as_slice()[PAGE as usize..], NEW))
}

pub(crate) fn two_steps(bench: &mut Bench) -> Result<(), String> {
    let buffers = [bench.buffer(PAGE, NEW), bench.buffer(PAGE, OLD)];
    let room = ScatterList::with_room(2).unwrap();
    let first = buffers[0].phys(0).unwrap();
    let span = bench
        .edu
        .device()
        .iova_try_alloc(first, 2 * PAGE, room, Bidirectional);
    let mut span = match span {
        Ok(span) => span,
        Err(refused) => {
            // Nothing to choose addresses from: what callers do instead is to map by pieces.
            assert_eq!(refused.error.failure, MapFailure::NotTranslated);
            return list_of_buffers(bench);
        }
    };
    for buffer in buffers {
        span.link(buffer).unwrap();
    }
    let mut span = span.sync().unwrap();
    let at = |n: u64| span.range().slice(n * PAGE, PAGE).unwrap().start();
    let (one, two) = (at(0), at(1));
    // SAFETY: both are the span's memory.
    unsafe {
        bench.edu.fetch_at(one, PAGE).unwrap();
        bench.edu.store_at(two, PAGE).unwrap();
    }
    let mut seen = [0; 64];
    let mut view = span.sync_range_for_cpu(PAGE, 64).unwrap();
    view.read_at(0, &mut seen).unwrap();
    view.write_at(0, &[1; 64]).unwrap();
    drop(view);
    expect("copied", &seen, NEW)?;
    // SAFETY: as above.
    unsafe {
        bench.edu.fetch_at(two, 64).unwrap();
        bench.edu.store_at(one, 64).unwrap();
    }
    let links = span.destroy().unwrap();
    expect("back", &links.entries()[0].buffer().as_slice()[..64], 1)?;
    expect("kept", &links.entries()[0].buffer().as_slice()[64..], NEW)?;
    expect("copied", &links.entries()[1].buffer().as_slice()[64..], NEW)
}

pub(crate) fn two_raw_steps(bench: &mut Bench) -> Result<(), String> {
    let direction = AnyDirection::Bidirectional;
    let mut outcome = Ok(());
    let mut buffer = bench.buffer(2 * PAGE, OLD);
    let memory = memory_of(&buffer, 2 * PAGE);
    let device = bench.edu.device();
    let span = device.iova_try_alloc_raw(memory.start(), 2 * PAGE, direction, Attributes::NONE);
    let Some(mut span) = span.unwrap() else {
        return raw_list(bench);
    };
    let at = |n: u64| span.range().slice(n * PAGE, PAGE).unwrap().start();
    let (one, two) = (at(0), at(1));
    for byte in [NEW, OLD] {
        buffer.as_mut_slice()[..PAGE as usize].fill(byte);
        // SAFETY: the buffer is not touched while it is linked, and the device has finished before.
        unsafe {
            span.link(0, memory).unwrap();
            span.sync(0, 2 * PAGE).unwrap();
            bench.edu.fetch_at(one, PAGE).unwrap();
            bench.edu.store_at(two, PAGE).unwrap();
            span.unlink(0, 2 * PAGE).unwrap();
        }
        outcome = outcome.and(expect("copied", &buffer.as_slice()[PAGE as usize..], byte));
    }
    span.free().unwrap();
    outcome
}
