//! Raw links that are taken back late, or not all: their copies are not forgotten, nor what the device wrote there.

use dmamap::iommu::RevokeError;
use dmamap::map::AnyDirection;
use dmamap::platform::{FrameRequest, Platform};
use machine::cache::Snooping;

use crate::spans::{nothing_is_lent, raw_span};
use crate::spy::Spy;
use crate::{Ram, pattern};
use rig::{EDU, PAGE, Rig, small};

#[test]
fn copies_of_links_come_back_when_their_device_is_gone() {
    for snooping in [Snooping::On, Snooping::Off] {
        let mut rig = Rig::boot(small().with_devices(snooping));
        let device = rig.attach(EDU);
        let mut spy = Spy::on(&mut rig, device);
        let ram = Ram::allocate(rig.kernel, 4);
        let mut expected = pattern(9, 4 * PAGE as usize);
        ram.write(0, &expected);
        // What lies in place is the caller's to make right where the device does not snoop.
        let mut pieces = vec![ram.part(100, PAGE - 100), ram.part(3 * PAGE, 50)];
        if snooping == Snooping::On {
            pieces.insert(1, ram.part(2 * PAGE, PAGE));
        }
        let len: u64 = pieces.iter().map(|piece| piece.len_bytes()).sum();
        for unlinked_in_order in [true, false] {
            let direction = AnyDirection::Bidirectional;
            let mut span = raw_span(spy.device(), pieces[0], len, direction);
            let mut links = Vec::new();
            let mut offset = 0;
            for &piece in &pieces {
                // SAFETY: the memory lives, and is touched by address alone.
                unsafe { span.link(offset, piece) }.unwrap();
                links.push((offset, piece));
                offset += piece.len_bytes();
            }
            span.sync(0, len).unwrap();
            let news = pattern(0x40 + u8::from(unlinked_in_order), len as usize);
            spy.poke(span.range().start(), &news);
            for &(offset, piece) in &links {
                let at = (piece.start().as_u64() - ram.frames.start().as_u64()) as usize;
                let news = &news[offset as usize..][..piece.len_bytes() as usize];
                expected[at..][..news.len()].copy_from_slice(news);
            }
            spy.stop();
            assert!(rig.system().bounce_figures().slots_in_use > 0);
            if !unlinked_in_order {
                links.reverse();
            }
            for (offset, piece) in links {
                // SAFETY: linked above.
                unsafe { span.unlink(offset, piece.len_bytes()) }.unwrap();
            }
            assert!(ram.bytes() == expected, "{snooping:?}");
            nothing_is_lent(&rig);
            span.free().unwrap();
            let device = rig.attach(EDU);
            spy = Spy::on(&mut rig, device);
        }
        drop(ram);
        spy.stop();
        rig.finish();
    }
}

#[test]
fn what_is_gone_when_a_large_page_would_be_split_is_copied_back() {
    const LARGE: u64 = 2 << 20;
    let mut rig = Rig::boot(small().with_devices(Snooping::Off));
    let device = rig.attach(EDU);
    let mut spy = Spy::on(&mut rig, device);
    let ram = Ram::allocate(rig.kernel, 2);
    let mut expected = pattern(9, 2 * PAGE as usize);
    ram.write(0, &expected);
    let request = FrameRequest {
        align_log2: 21,
        ..FrameRequest::new((LARGE / PAGE) as usize)
    };
    let large = rig.kernel.allocate_frames(request).unwrap();
    let first = ram.part(100, PAGE - 100);
    let whole = 2 * LARGE - 100;
    let mut span = raw_span(spy.device(), first, whole, AnyDirection::FromDevice);
    let start = span.range().start().as_u64() - 100;
    let before = LARGE - start % LARGE;
    assert!(before > 40 * PAGE, "more pieces than are noted at once");
    // SAFETY: the memory lives, and is touched by address alone.
    unsafe {
        span.link(0, first).unwrap();
        // One page again and again: no two are one piece.
        for page in 1..before / PAGE {
            span.link(page * PAGE - 100, ram.part(PAGE, PAGE)).unwrap();
        }
        span.link(before - 100, large).unwrap();
    }
    let linked = span.linked_bytes();
    span.sync(0, linked).unwrap();
    let news = pattern(0x40, first.len_bytes() as usize);
    spy.poke(span.range().start(), &news);
    expected[100..][..news.len()].copy_from_slice(&news);
    // SAFETY: what must be refused is tried.
    let refused = unsafe { span.unlink(0, before - 100 + PAGE) }.unwrap_err();
    assert!(
        matches!(refused.error, RevokeError::Table(_)),
        "{refused:?}"
    );
    let left = span.linked_bytes();
    assert!(LARGE <= left && left < linked - PAGE);
    assert!(ram.bytes() == expected);
    nothing_is_lent(&rig);
    // SAFETY: what is still linked.
    unsafe { span.unlink(linked - left, left) }.unwrap();
    assert!(ram.bytes() == expected);
    span.free().unwrap();
    // SAFETY: lent above, and unlinked.
    unsafe { rig.kernel.free_frames(large) };
    drop(ram);
    spy.stop();
    rig.finish();
}
