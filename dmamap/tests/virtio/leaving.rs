//! Who unmaps while the last endpoint of the domain is detached: what is asked is asked before the domain is gone, and nothing
//! comes back before it is.

use std::thread;

use dmamap::buffer::DmaBuffer;
use dmamap::device::Device;
use dmamap::map::{Bidirectional, Mapping};
use dmamap::system::Protection;
use hosted::Hosted;
use machine::bus::Access;
use machine::iommu::translator::Translator;
use machine::iommu::virtio::VirtioConfig;
use machine::temper::Temper;

use rig::patience::wait_until;
use rig::virtio::{TEMPERS, behind, unit};
use rig::waiting::{Held, while_there_is};
use rig::{EDU, HEARTBEAT, PAGE, Rig, buffer_of};

type Page = Mapping<Hosted, DmaBuffer<Hosted>, Bidirectional>;

fn map(rig: &Rig, device: &Device<Hosted>) -> Page {
    let buffer = buffer_of(rig.kernel, PAGE, 1);
    device.map_single(buffer, Bidirectional).unwrap()
}

/// Waits until the unit was told of more than `known` requests, or batches of them.
fn wait_for_notification(rig: &Rig, known: u64) {
    let notified = || unit(rig).statistics().notifications > known;
    wait_until("the unit is told of a request", notified);
}

#[test]
fn memory_comes_back_only_when_a_detach_that_ends_its_domain_was_answered() {
    for temper in TEMPERS {
        let rig = Rig::boot(behind(VirtioConfig::default()).with_temper(temper));
        let device = rig.attach(EDU);
        let mapping = map(&rig, &device);
        let bus = mapping.bus_addr().as_u64();
        let reaches = || unit(&rig).translate(EDU.id, bus, Access::Write).is_ok();
        assert!(reaches());
        let told = unit(&rig).statistics().notifications;
        let buffer = thread::scope(|scope| {
            let held = Held::new(unit(&rig));
            let leaving = scope.spawn(|| device.detach().unwrap());
            wait_for_notification(&rig, told);
            let buffer = while_there_is(
                held,
                || mapping.unmap().unwrap(),
                || assert!(reaches(), "it is what the unmap waits for"),
            );
            leaving.join().unwrap();
            buffer
        });
        assert!(!reaches());
        drop(buffer);
        // Nothing was asked of a domain that is gone.
        let statistics = unit(&rig).statistics();
        assert_eq!((statistics.unmaps, statistics.refusals), (0, 0));
        rig.finish_after_faults();
    }
}

#[test]
fn nothing_is_asked_of_a_domain_behind_the_detach_that_ends_it() {
    // Room for one request beside PROBE's: who comes next is a matter of chance.
    let narrow = VirtioConfig {
        queue_size_max: 4,
        ..VirtioConfig::default()
    };
    for temper in [Temper::Keep, Temper::Random(1)] {
        let rig = Rig::boot(behind(narrow.clone()).with_temper(temper));
        let other = rig.attach(HEARTBEAT);
        for _ in 0..40 {
            let device = rig.attach(EDU);
            let (first, second) = (map(&rig, &device), map(&rig, &device));
            let of_other = map(&rig, &other);
            let told = unit(&rig).statistics().notifications;
            thread::scope(|scope| {
                let held = Held::new(unit(&rig));
                scope.spawn(|| drop(of_other.unmap().unwrap()));
                wait_for_notification(&rig, told);
                scope.spawn(|| drop(first.unmap().unwrap()));
                scope.spawn(|| drop(second.unmap().unwrap()));
                scope.spawn(|| device.detach().unwrap());
                thread::yield_now();
                drop(held);
            });
            // Its number is given to the next.
            let again = rig
                .system()
                .attach(&rig.function(EDU), Protection::Strict)
                .unwrap();
            let mapping = map(&rig, &again);
            assert!(again.translate(mapping.bus_addr()).is_some());
            drop(mapping.unmap().unwrap());
            again.detach().unwrap();
            assert_eq!(unit(&rig).statistics().refusals, 0, "{temper:?}");
        }
        other.detach().unwrap();
        rig.finish();
    }
}
