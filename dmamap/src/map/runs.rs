//! Where the pieces of a mapped list lie on the bus.

use crate::addr::{BusAddr, BusRange, FRAME_BYTES, PhysRange};
use crate::map::copies::Copies;
use crate::map::route::Route;
use crate::platform::Platform;

/// The bus addresses of each of `pieces`, in order, mapped together at `range`: side by side where the device has one copy
/// of all, in whole frames side by side where an IOMMU translates, elsewhere where memory has them.
pub(crate) fn runs<'a, P: Platform>(
    route: &'a Route<P>,
    copies: Copies,
    range: BusRange,
    pieces: impl Iterator<Item = PhysRange> + 'a,
) -> impl Iterator<Item = BusRange> + 'a {
    let mut frames = range.start().as_u64() - range.start().frame_offset();
    let mut copied = 0;
    pieces.filter_map(move |piece| match route {
        _ if copies.are_one_run() => {
            let start = copied;
            copied += piece.len_bytes();
            range.slice(start, piece.len_bytes())
        }
        Route::Direct(direct) => direct.bus_range(piece),
        Route::Blocked | Route::Translated(_) => {
            let head = piece.start().frame_offset();
            let start = BusAddr::new(frames + head);
            frames += (head + piece.len_bytes()).next_multiple_of(FRAME_BYTES);
            BusRange::new(start, piece.len_bytes()).ok()
        }
    })
}
