//! Break before make: what an entry may become.

use dmamap::addr::BusAddr;
use dmamap::pagetable::{Gather, Permission};

use crate::subject::*;
use rig::Random;

/// Maps fill empty entries and leave all others alone; unmaps and reclaims empty entries and leave all others
/// alone. So no entry ever goes from one valid word to another, whatever a unit still remembers.
pub(crate) fn no_valid_entry_is_replaced_by_another<F: Subject>(format: F) {
    let random = Random::from_environment(11);
    let [page, large] = [1, 2].map(|level| size(&format, level));
    let (arena, mut table) = table(format);
    let run = run_bytes(&format, 1).unwrap_or(16 * page);
    let aperture = aperture_bytes(&table);
    let mut before = hardware_words(arena, &table);
    for step in 0..60 {
        let align = random.pick(&[page, run, large]).min(aperture / 4);
        let z = (random.below(4 * large) % (aperture / 2)) / align * align;
        let len_bytes = (random.pick(&[page, 3 * page, run, large, 2 * large])).min(aperture / 2);
        let grows = match random.below(5) {
            0 | 1 => {
                let y = random.pick(&[z, z + page, 0]);
                let permission = random.pick(&[Permission::Read, Permission::ReadWrite]);
                let _ = table.map(BusAddr::new(z), phys(y, len_bytes), permission);
                true
            }
            2 | 3 => {
                let whole = leaves(&table);
                let mut gather = Gather::new(arena);
                if !whole.is_empty() {
                    let leaf = random.pick(&whole).bus;
                    table.unmap(leaf, &mut gather).unwrap();
                }
                // What would split or is not there changes nothing.
                let _ = table.unmap(bus(z, len_bytes), &mut gather);
                // SAFETY: no unit walks the table.
                unsafe { gather.release() };
                false
            }
            _ => {
                reclaim(arena, &mut table);
                false
            }
        };
        let after = hardware_words(arena, &table);
        let (old, new) = if grows {
            (&before, &after)
        } else {
            (&after, &before)
        };
        for (at, word) in old {
            assert_eq!(new.get(at), Some(word), "step {step}, entry at {at:#x}");
        }
        before = after;
    }
    finish(arena, table);
}
