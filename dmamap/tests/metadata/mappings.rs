//! Bytes for each live mapping, behind every unit: tables, addresses and records, as many frames as the domain holds.

use dmamap::addr::{BusRange, DmaMask, FRAME_BYTES, PhysRange};
use dmamap::bounce::SLOT_BYTES;
use dmamap::device::Device;
use dmamap::map::{AnyDirection, Attributes, BufferPool, FromDevice, ToDevice};
use dmamap::platform::{FrameRequest, Platform};
use dmamap::system::Protection;
use hosted::Hosted;

use rig::kinds::kinds;
use rig::{EDU, PAGE, Rig, buffer_of, small};

/// Mappings that live at once.
const LIVE: u64 = 20_000;
/// The most bytes that each may cost.
const MOST_BYTES: u64 = 16;

const DIRECTION: AnyDirection = AnyDirection::ToDevice;

/// A page that is mapped again and again, so that memory is no limit.
struct Page {
    kernel: Hosted,
    frame: PhysRange,
}

impl Page {
    fn new(kernel: Hosted) -> Self {
        let frame = kernel.allocate_frames(FrameRequest::new(1)).unwrap();
        Self { kernel, frame }
    }

    fn map(&self, device: &Device<Hosted>) -> BusRange {
        // SAFETY: the frame is this value's, which outlives its mappings, and nobody looks at it.
        unsafe { device.map_phys(self.frame, DIRECTION) }.unwrap()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: lent in `new`; all mappings are gone.
        unsafe { self.kernel.free_frames(self.frame) };
    }
}

fn unmap(device: &Device<Hosted>, range: BusRange) {
    // SAFETY: `Page::map` made it, and it is unmapped once.
    unsafe { device.unmap_phys(range, DIRECTION, Attributes::NONE) }.unwrap();
}

#[test]
fn a_live_mapping_costs_no_more_than_16_bytes_behind_every_unit_and_nothing_when_it_is_gone() {
    for (kind, iommu) in kinds() {
        let rig = Rig::boot(small().with_iommu(iommu));
        // Vouched for, and deferred: thousands of waits would show nothing.
        let device = rig.attach_trusted(EDU, Protection::Deferred);
        device.set_mask(DmaMask::ALL).unwrap();
        let page = Page::new(rig.kernel);
        let before = rig.frames_in_use();
        let empty = device.domain_frames() as u64;
        let mappings: Vec<_> = (0..LIVE).map(|_| page.map(&device)).collect();
        let grown = device.domain_frames() as u64 - empty;
        assert_eq!(
            rig.frames_in_use() - before,
            grown,
            "{kind}: all is counted"
        );
        let bytes = grown * FRAME_BYTES;
        println!("{kind}: {:.2} bytes a mapping", bytes as f64 / LIVE as f64);
        assert!(bytes <= MOST_BYTES * LIVE, "{kind}: {bytes} bytes");
        assert_eq!(device.figures().live_mappings, LIVE);
        // Every seventh first: what is between must go all the same.
        for turn in 0..7 {
            let turn = mappings.iter().skip(turn).step_by(7);
            turn.for_each(|&range| unmap(&device, range));
        }
        device.reclaim().unwrap();
        assert_eq!(device.domain_frames() as u64, empty, "{kind}");
        assert_eq!(rig.frames_in_use(), before, "{kind}");
        drop(page);
        device.detach().unwrap();
        rig.finish();
    }
}

#[test]
fn blocks_of_a_pool_that_stays_mapped_cost_nothing_each() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let pool = BufferPool::allocate(&device, 512, PAGE, ToDevice).unwrap();
    let mapped = (rig.frames_in_use(), device.domain_frames());
    for _ in 0..10 {
        let blocks: Vec<_> = core::iter::from_fn(|| pool.take()).collect();
        assert_eq!(blocks.len(), 512);
        assert_eq!((rig.frames_in_use(), device.domain_frames()), mapped);
    }
    pool.free().unwrap();
    device.detach().unwrap();
    rig.finish();
}

#[test]
fn copies_in_a_pool_that_stays_mapped_cost_nothing_each() {
    let rig = Rig::boot(small());
    let function = rig.function(EDU);
    let device = rig.system().attach(&function, Protection::Bounce).unwrap();
    drop(function);
    let live = |count| {
        let map = |_| {
            let buffer = buffer_of(rig.kernel, SLOT_BYTES, 1);
            device.map_single(buffer, FromDevice).unwrap()
        };
        (0..count).map(map).collect::<Vec<_>>()
    };
    // An area of the pool comes with the first.
    drop(live(1));
    let with_area = device.domain_frames();
    let all = live(512);
    assert_eq!(device.domain_frames(), with_area);
    assert_eq!(device.bounce_figures().slots_in_use, 512);
    // Each buffer has a frame, and nothing else was taken.
    let buffers = all.len() as u64;
    let in_use = rig.frames_in_use();
    drop(all);
    assert_eq!(in_use - rig.frames_in_use(), buffers);
    device.detach().unwrap();
    rig.finish();
}
