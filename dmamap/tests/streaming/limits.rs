//! In what pieces a device takes memory: what can be set, and what is told of it.

use dmamap::addr::DmaMask;
use dmamap::device::LimitError;
use dmamap::map::{MapFailure, ToDevice};
use dmamap::system::Protection;
use machine::Iommu;

use rig::{EDU, PAGE, Rig, buffer_of, small};

#[test]
fn limits_that_no_device_can_have_are_refused_and_change_nothing() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let segments = |device: &dmamap::device::Device<_>| {
        (
            device.max_segment_bytes(),
            device.segment_boundary(),
            device.min_align_mask(),
        )
    };
    assert_eq!(segments(&device), (64 << 10, 0xffff_ffff, 0));
    let empty = LimitError::EmptySegment { device: EDU };
    assert_eq!(device.set_max_segment_bytes(0), Err(empty));
    for boundary in [0, 2, 0x1000, 0xfff0, u64::MAX - 1] {
        let refused = LimitError::Boundary {
            device: EDU,
            boundary,
        };
        assert_eq!(device.set_segment_boundary(boundary), Err(refused));
        assert!(refused.to_string().contains(&format!("{boundary:#x}")));
    }
    for mask in [2, 0x1000, 0xff0, u64::MAX - 1] {
        let refused = LimitError::MinAlignMask { device: EDU, mask };
        assert_eq!(device.set_min_align_mask(mask), Err(refused));
    }
    assert_eq!(segments(&device), (64 << 10, 0xffff_ffff, 0));
    for log2 in 1..=64 {
        let mask = u64::MAX >> (64 - log2);
        device.set_segment_boundary(mask).unwrap();
        device.set_min_align_mask(mask).unwrap();
        device.set_max_segment_bytes(mask).unwrap();
        assert_eq!(segments(&device), (mask, mask, mask));
    }
    device.set_min_align_mask(0).unwrap();
    device.detach().unwrap();
    rig.finish();
}

#[test]
fn sizes_tell_what_serves_the_device() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    assert_eq!(device.max_mapping_bytes(), (1 << 32) - PAGE);
    assert_eq!(device.opt_mapping_bytes(), 2 << 20);
    assert_eq!(device.merge_boundary(), Some(PAGE - 1));
    assert_eq!(device.cache_alignment_bytes(), 1, "the device snoops");
    device.set_mask(DmaMask::from_bits(20).unwrap()).unwrap();
    assert_eq!(device.max_mapping_bytes(), (1 << 20) - PAGE);
    assert_eq!(device.opt_mapping_bytes(), (1 << 20) - PAGE);
    // One byte more than the most is refused, and comes back.
    let long = buffer_of(rig.kernel, 1 << 20, 0);
    let refused = device.map_single(long, ToDevice).unwrap_err();
    assert!(matches!(refused.error.failure, MapFailure::Domain(_)));
    assert!(refused.buffer.is_some());
    drop(refused);
    device.detach().unwrap();
    let function = rig.function(EDU);
    let blocked = rig.system().attach(&function, Protection::Blocked).unwrap();
    assert_eq!(
        (blocked.max_mapping_bytes(), blocked.opt_mapping_bytes()),
        (0, 0)
    );
    assert_eq!(blocked.merge_boundary(), None);
    drop((blocked, function));
    rig.finish();

    let rig = Rig::boot(small().with_iommu(Iommu::None));
    let device = rig.attach_trusted(EDU, Protection::Strict);
    // Some memory is beyond the mask, so it may be copied: as much as an area of the machine's pool holds.
    assert_eq!(device.max_mapping_bytes(), 2 << 20);
    assert_eq!(device.opt_mapping_bytes(), 2 << 20);
    device.set_mask(DmaMask::from_bits(36).unwrap()).unwrap();
    assert_eq!(device.max_mapping_bytes(), 1 << 36);
    assert_eq!(device.opt_mapping_bytes(), 1 << 36);
    assert_eq!(device.merge_boundary(), None);
    device.detach().unwrap();
    rig.finish();
}
