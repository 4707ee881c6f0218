use alloc::vec;

use super::*;
use crate::addr::{BusAddr, BusRange, PhysAddr, PhysRange};

fn window(kind: WindowKind, bus: u64, len_bytes: u64) -> Window {
    Window {
        kind,
        bus: BusRange::new(BusAddr::new(bus), len_bytes).unwrap(),
        phys: PhysRange::new(PhysAddr::new(bus), len_bytes).unwrap(),
    }
}

fn host() -> Vec<Window> {
    vec![
        window(WindowKind::Memory, 0x8000_0000, 0x1000_0000),
        window(
            WindowKind::PrefetchableMemory,
            0x40_0000_0000,
            0x1_0000_0000,
        ),
        window(WindowKind::Io, 0, 0x1_0000),
    ]
}

fn bar(above: Option<usize>, kind: BarKind, len_bytes: u64) -> Want {
    Want {
        above,
        kind,
        len_bytes,
    }
}

fn port(above: Option<usize>) -> BridgeAbility {
    BridgeAbility {
        above,
        io_last: Some(0xffff),
        prefetchable: Prefetchable::Bits64,
    }
}

/// Every BAR is aligned, within its bridge's window, and shares no address with another of its space.
fn check(bridges: &[BridgeAbility], wants: &[Want], plan: &Plan) {
    let placed: Vec<_> = wants
        .iter()
        .zip(&plan.bars)
        .filter_map(|(w, at)| Some((w, (*at)?.1)))
        .collect();
    for (index, &(want, at)) in placed.iter().enumerate() {
        assert_eq!(at % want.len_bytes, 0);
        let end = at + (want.len_bytes - 1);
        assert!(want.kind == BarKind::PrefetchableMemory64 || end <= 0xffff_ffff);
        for &(other, other_at) in &placed[..index] {
            let same_space = want.kind.is_io() == other.kind.is_io();
            assert!(!same_space || end < other_at || other_at + (other.len_bytes - 1) < at);
        }
        if let Some(bridge) = want.above {
            let inside = |kind| {
                plan.windows[bridge]
                    .get(kind)
                    .is_some_and(|(base, len)| base <= at && end < base + len)
            };
            assert!(
                KINDS.into_iter().any(inside),
                "{want:?} at {at:#x}: {plan:x?}"
            );
        }
    }
    for (bridge, ability) in bridges.iter().enumerate() {
        for kind in KINDS {
            let Some((base, len)) = *plan.windows[bridge].get(kind) else {
                continue;
            };
            let granule = if kind == WindowKind::Io {
                0x1000
            } else {
                0x10_0000
            };
            assert_eq!((base % granule, len % granule), (0, 0));
            if let Some(above) = ability.above {
                let (outer, outer_len) = plan.windows[above].get(kind).unwrap();
                assert!(outer <= base && base + len <= outer + outer_len);
            }
        }
    }
}

#[test]
fn bars_on_the_root_bus_go_to_the_window_of_their_kind() {
    let wants = [
        bar(None, BarKind::Memory32, 0x4000),
        bar(None, BarKind::Memory64, 0x10_0000),
        bar(None, BarKind::PrefetchableMemory64, 0x1000_0000),
        bar(None, BarKind::Io, 0x20),
    ];
    let plan = plan(&host(), &[], &wants);
    check(&[], &wants, &plan);
    // Larger alignments first; the first 4 KiB of ports are left alone.
    let expected = [0x8010_0000, 0x8000_0000, 0x40_0000_0000, 0x1000];
    let bases: Vec<_> = plan.bars.iter().map(|bar| bar.unwrap().1).collect();
    assert_eq!(bases, expected);
}

#[test]
fn windows_of_nested_bridges_hold_what_lies_behind_them() {
    let bridges = [port(None), port(Some(0)), port(None)];
    let wants = [
        bar(Some(1), BarKind::Memory32, 0x1000),
        bar(Some(1), BarKind::Io, 0x20),
        bar(Some(1), BarKind::PrefetchableMemory64, 0x10_0000),
        bar(Some(0), BarKind::Memory64, 0x40_0000),
        bar(Some(2), BarKind::Memory32, 0x4000),
        bar(None, BarKind::Memory32, 0x10_0000),
    ];
    let plan = plan(&host(), &bridges, &wants);
    check(&bridges, &wants, &plan);
    assert!(plan.bars.iter().all(Option::is_some));
    // 4 MiB of the BAR and 1 MiB of the inner window.
    assert_eq!(
        plan.windows[0].get(WindowKind::Memory).unwrap().1,
        0x50_0000
    );
    assert_eq!(*plan.windows[2].get(WindowKind::Io), None);
}

#[test]
fn a_prefetchable_bar_falls_back_to_32_bit_space() {
    // Because a bridge cannot forward more ...
    let old = BridgeAbility {
        prefetchable: Prefetchable::Unusable,
        ..port(None)
    };
    let wants = [bar(Some(0), BarKind::PrefetchableMemory64, 0x10_0000)];
    let plan_old = plan(&host(), &[old], &wants);
    check(&[old], &wants, &plan_old);
    assert_eq!(
        *plan_old.windows[0].get(WindowKind::PrefetchableMemory),
        None
    );
    assert_eq!(plan_old.bars, [Some((WindowKind::Memory, 0x8000_0000))]);
    // ... or because the host bridge has nothing else.
    let low_only = vec![window(WindowKind::Memory, 0x8000_0000, 0x1000_0000)];
    let plan_low = plan(&low_only, &[port(None)], &wants);
    check(&[port(None)], &wants, &plan_low);
    assert_eq!(
        *plan_low.windows[0].get(WindowKind::PrefetchableMemory),
        Some((0x8000_0000, 0x10_0000))
    );
}

#[test]
fn what_does_not_fit_is_left_out_and_the_rest_is_placed() {
    let bridges = [port(None)];
    let wants = [
        bar(Some(0), BarKind::Memory32, 0x4000),
        bar(Some(0), BarKind::Memory32, 0x2000_0000),
        bar(None, BarKind::Memory32, 0x1000),
        bar(None, BarKind::PrefetchableMemory64, 1 << 63),
    ];
    let plan = plan(&host(), &bridges, &wants);
    check(&bridges, &wants, &plan);
    let placed: Vec<_> = plan.bars.iter().map(Option::is_some).collect();
    assert_eq!(placed, [true, false, true, false]);
}

#[test]
fn an_exhausted_window_takes_as_many_as_fit() {
    let wants = [bar(None, BarKind::Memory32, 0x400_0000); 7];
    let plan = plan(&host(), &[], &wants);
    check(&[], &wants, &plan);
    assert_eq!(plan.bars.iter().flatten().count(), 4);
}

#[test]
fn ports_behind_a_bridge_without_an_io_window_are_left_out() {
    let deaf = BridgeAbility {
        io_last: None,
        ..port(None)
    };
    let wants = [
        bar(Some(0), BarKind::Io, 0x20),
        bar(None, BarKind::Io, 0x20),
    ];
    let plan = plan(&host(), &[deaf], &wants);
    assert_eq!(plan.bars, [None, Some((WindowKind::Io, 0x1000))]);
}

#[test]
fn bars_that_overflow_any_sum_are_left_out() {
    let bridges = [port(None), port(Some(0))];
    let wants = [bar(Some(1), BarKind::PrefetchableMemory64, 1 << 63); 3];
    let plan = plan(&host(), &bridges, &wants);
    assert_eq!(plan.bars, [None; 3]);
    assert_eq!(plan.windows, vec![PerKind::default(); 2]);
}

proptest::proptest! {
    #[test]
    fn any_mix_is_laid_out_without_overlap(
        wants in proptest::collection::vec((0usize..5, 0u8..5, 4u32..30), 0..24),
    ) {
        let bridges = [port(None), port(Some(0)), port(Some(1)), port(None)];
        let kinds = [
            BarKind::Io,
            BarKind::Memory32,
            BarKind::PrefetchableMemory32,
            BarKind::Memory64,
            BarKind::PrefetchableMemory64,
        ];
        let wants: Vec<_> = wants
            .into_iter()
            .map(|(above, kind, log2)| {
                let kind = kinds[usize::from(kind)];
                let log2 = if kind.is_io() { log2.min(12) } else { log2 };
                bar(above.checked_sub(1), kind, 1 << log2)
            })
            .collect();
        check(&bridges, &wants, &plan(&host(), &bridges, &wants));
    }
}
