//! What QEMU answers to requests that cannot be: the driver tells it as it is, and loses nothing but what the device
//! still reaches.

use board::hardware::Hardware;
use dmamap::addr::BusAddr;
use dmamap::iommu::{DomainError, RevokeError};
use dmamap::map::{Bidirectional, FromDevice, MapFailure};
use dmamap::system::AttachError;
use hw::virtio::iommu::request::{Attach, Map, RequestType, Unmap};

use crate::altered::{attach_of, map_of, unmap_of};
use crate::rig::{BOARDS, FRAME, KEPT, LEN, Rig, SENT, is_reached};

/// Bytes of the mapping that is unmapped in part.
const TEN_PAGES: u64 = 10 * FRAME;

/// A domain of nobody's: ids are given from 1 on.
const NOBODYS: u32 = 0x7ffe;

/// Maps memory while MAP is altered so that the unit refuses it for `reason`: the memory comes back.
fn map_is_refused(
    board: &str,
    reason: &'static str,
    alter: impl FnOnce(&mut Map, BusAddr) + Send + 'static,
) {
    let Some(mut rig) = Rig::boot(board) else {
        return;
    };
    let edu = rig.start();
    // What is there already, so that tables and what the allocator keeps are too.
    let known = edu
        .device()
        .map_single(rig.buffer(FRAME, KEPT), Bidirectional)
        .expect("it maps");
    let (figures, domain_frames) = (edu.device().figures(), edu.device().domain_frames());
    let frames = rig.kernel.frames().in_use;

    let known_bus = known.bus_addr();
    rig.altered.alter_next(RequestType::Map, move |words| {
        let mut map = map_of(words);
        alter(&mut map, known_bus);
        words.copy_from_slice(&map.to_words());
    });
    let rejected = edu
        .device()
        .map_single(rig.buffer(FRAME, KEPT), Bidirectional);
    let rejected = rejected.expect_err("the unit refuses it");
    assert_eq!(rejected.error.device, edu.device().requester());
    let refused = DomainError::Unit(rig.refused("MAP", reason));
    assert_eq!(
        rejected.error.failure,
        MapFailure::Domain(refused),
        "{board}"
    );
    assert!(!rejected.error.leaves_memory_reachable());
    let buffer = rejected.buffer.expect("nothing reaches it");
    drop(buffer);
    assert_eq!(edu.device().figures(), figures, "{board}");
    assert_eq!(edu.device().domain_frames(), domain_frames, "{board}");
    assert_eq!(rig.kernel.frames().in_use, frames, "{board}");

    // The addresses were given back, and the unit maps them.
    let mut edu = edu;
    is_reached(&rig, &mut edu);
    known.unmap().expect("it comes back");
    edu.stop().detach().expect("it is detached");
    rig.finish();
}

#[test]
fn a_map_over_another_is_invalid() {
    for board in BOARDS {
        map_is_refused(board, "invalid parameters", |map, known| {
            (map.virt_start, map.virt_end) = (known.as_u64(), known.as_u64() + FRAME - 1);
        });
    }
}

#[test]
fn a_map_in_an_unknown_domain_has_no_entry() {
    for board in BOARDS {
        map_is_refused(board, "no such domain or endpoint", |map, _| {
            map.domain = NOBODYS;
        });
    }
}

/// Unmaps ten pages while UNMAP is altered so that the unit refuses it for `reason`: they are kept, for the device still
/// reaches them.
fn unmap_is_refused(board: &str, reason: &'static str, alter: fn(&mut Unmap)) {
    let Some(mut rig) = Rig::boot(board) else {
        return;
    };
    let mut edu = rig.start();
    let mapping = edu
        .device()
        .map_single(rig.buffer(TEN_PAGES, KEPT), FromDevice)
        .expect("it maps");
    let (bus, phys, requester) = (mapping.bus_addr(), mapping.phys(), edu.device().requester());
    rig.altered.alter_next(RequestType::Unmap, move |words| {
        let mut unmap = unmap_of(words);
        let whole = (bus.as_u64(), bus.as_u64() + TEN_PAGES - 1);
        assert_eq!((unmap.virt_start, unmap.virt_end), whole);
        alter(&mut unmap);
        words.copy_from_slice(&unmap.to_words());
    });
    let quarantined = mapping.unmap().expect_err("the unit refuses it");
    assert!(rig.altered.is_done());
    assert_eq!(quarantined.device, requester, "{board}");
    assert_eq!(quarantined.range.start(), bus, "{board}");
    assert_eq!(quarantined.range.len_bytes(), TEN_PAGES, "{board}");
    let refused = RevokeError::Unit(rig.refused("UNMAP", reason));
    assert_eq!(quarantined.error, refused, "{board}");
    let figures = edu.device().figures();
    assert_eq!((figures.live_mappings, figures.live_bytes), (0, 0));
    assert_eq!(figures.quarantined_bytes, TEN_PAGES, "{board}");

    // The first and the last page: nothing of it was unmapped, and nobody else has it.
    for at in [0, TEN_PAGES - FRAME] {
        // SAFETY: the unit confines the device, which reaches memory that is kept for good.
        unsafe { edu.store_at(BusAddr::new(bus.as_u64() + at), LEN) }.expect("it is written");
        let word = rig.qemu.ram().load_u64(phys.start().as_u64() + at);
        assert_eq!(word.expect("it is RAM").to_ne_bytes(), [SENT; 8], "{board}");
    }
    assert_eq!(rig.computer.system().faults().total, 0, "{board}");
    // What is mapped next is elsewhere, and taken back.
    is_reached(&rig, &mut edu);
    // A detach that the unit confirms ends the quarantine.
    edu.stop().detach().expect("it is detached");
    rig.finish();
}

#[test]
fn an_unmap_of_a_part_is_out_of_range() {
    for board in BOARDS {
        unmap_is_refused(board, "out-of-range parameters", |unmap| {
            unmap.virt_end = unmap.virt_start + TEN_PAGES / 2 - 1;
        });
        unmap_is_refused(board, "out-of-range parameters", |unmap| {
            unmap.virt_start += TEN_PAGES / 2;
        });
    }
}

#[test]
fn an_unmap_in_an_unknown_domain_has_no_entry() {
    for board in BOARDS {
        unmap_is_refused(board, "no such domain or endpoint", |unmap| {
            unmap.domain = NOBODYS;
        });
    }
}

#[test]
fn an_attach_of_an_unknown_endpoint_has_no_entry() {
    for board in BOARDS {
        let Some(mut rig) = Rig::boot(board) else {
            return;
        };
        let frames = rig.kernel.frames().in_use;
        rig.altered.alter_next(RequestType::Attach, |words| {
            let attach = Attach {
                endpoint: NOBODYS,
                ..attach_of(words)
            };
            words.copy_from_slice(&attach.to_words());
        });
        let refused = rig.try_start(0).err().expect("the unit refuses it");
        let AttachError::Domain { error, .. } = refused else {
            panic!("{board}: {refused}");
        };
        let expected = rig.refused("ATTACH", "no such domain or endpoint");
        assert_eq!(error, DomainError::Unit(expected), "{board}");
        assert_eq!(rig.kernel.frames().in_use, frames, "{board}");
        let mut edu = rig.start();
        is_reached(&rig, &mut edu);
        edu.stop().detach().expect("it is detached");
        rig.finish();
    }
}
