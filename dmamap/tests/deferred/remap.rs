//! Retired memory that is lent to the same device again, before a flush.

use dmamap::map::{FromDevice, MapFailure, ToDevice};
use machine::temper::Temper;

use super::kinds::{hold, kinds, release};
use super::{BYTES, LONG_MS, attach_deferred, deferred_edu, flushing, lend, load};
use rig::{EDU, PAGE, Rig, buffer_of, small, try_write};

#[test]
fn memory_that_is_lent_again_comes_back_only_when_all_its_addresses_are_lost() {
    for kind in kinds() {
        for protection in ["strict", "deferred"] {
            let mut rig = kind.boot(Temper::Keep, 64, LONG_MS);
            let mut edu = match protection {
                "strict" => rig.edu(),
                _ => deferred_edu(&mut rig),
            };
            load(&mut edu, 0x22);
            let first = lend(edu.device(), 0x11);
            let old = first.bus_addr();
            edu.fetch(&first, 0, BYTES).unwrap();
            load(&mut edu, 0x22);
            edu.device().flush().unwrap();
            let flushes = edu.device().flush_figures().flushes;
            let again = first.retire().remap(FromDevice).unwrap();
            assert_ne!(again.bus_addr(), old);
            edu.store(&again, 0, BYTES).unwrap();
            let third = again.retire().remap(ToDevice).unwrap();
            assert_eq!(edu.device().flush_figures().waiting, 2);
            assert_eq!(edu.device().flush_figures().flushes, flushes);
            let mut buffer = third.unmap().unwrap();
            assert_eq!(edu.device().flush_figures().waiting, 0, "{}", kind.name);
            buffer.as_mut_slice().fill(0x33);
            try_write(&mut edu, old, BYTES);
            assert!(buffer.as_slice().iter().all(|&byte| byte == 0x33));
            drop((edu, buffer));
            rig.finish_after_faults();
        }
    }
}

#[test]
fn what_was_lost_once_does_not_come_back_by_being_lent_again() {
    let mut kind = kinds().swap_remove(0);
    kind.options.units.wait_bound_ms = 150;
    let rig = kind.boot(Temper::Keep, 64, LONG_MS);
    let device = attach_deferred(&rig);
    let retired = lend(&device, 1).retire();
    hold(&rig);
    device.flush().unwrap_err();
    release(&rig);
    let again = retired.remap(FromDevice).unwrap();
    again.unmap().unwrap_err();
    assert_eq!(device.figures().quarantined_bytes, PAGE);
    drop(lend(&device, 1).unmap().unwrap());
    device.detach().unwrap();
    assert_eq!(rig.finish_with_losses().frames.in_use, 0);
}

#[test]
fn what_cannot_be_lent_again_is_still_there() {
    let rig = Rig::boot_with(small(), flushing(Default::default(), 64, LONG_MS));
    let device = rig.attach(EDU);
    let scattered = dmamap::buffer::ScatteredBuffer::allocate(rig.kernel, 3 * PAGE).unwrap();
    let retired = device.map_sg(scattered, FromDevice).unwrap().retire();
    let live = device.figures().live_mappings;
    let failed = match retired.remap(FromDevice) {
        Err(failed) => failed,
        // Frames that happen to lie side by side.
        Ok(mapping) => return drop(mapping),
    };
    let failure = failed.error.failure;
    assert!(
        matches!(failure, MapFailure::NotContiguous { .. }),
        "{failure}"
    );
    assert_eq!(device.figures().live_mappings, live);
    let again = failed
        .retired
        .expect("it is as it was")
        .remap_sg(FromDevice);
    let retired = again.unwrap().retire();
    device.detach().unwrap();
    let failed = retired.remap_sg(ToDevice).unwrap_err();
    drop(failed.retired.expect("it is as it was").finish().unwrap());
    rig.finish();
}

#[test]
fn what_the_device_wrote_is_read_before_the_flush() {
    let mut rig = Rig::boot_with(small(), flushing(Default::default(), 64, LONG_MS));
    let mut edu = deferred_edu(&mut rig);
    load(&mut edu, 0x5a);
    let buffer = buffer_of(rig.kernel, PAGE, 0);
    let lent = edu.device().map_single(buffer, FromDevice).unwrap();
    edu.store(&lent, 128, BYTES).unwrap();
    let retired = lent.retire();
    let mut seen = [0; 2 * BYTES as usize];
    retired.read_at(128 - BYTES, &mut seen).unwrap();
    let (before, after) = seen.split_at(BYTES as usize);
    assert!(before.iter().all(|&byte| byte == 0) && after.iter().all(|&byte| byte == 0x5a));
    retired.read_at(PAGE - BYTES + 1, &mut seen).unwrap_err();
    retired.read_at(u64::MAX, &mut seen).unwrap_err();
    assert!(!retired.is_settled());
    drop((retired, edu));
    rig.finish();
}
