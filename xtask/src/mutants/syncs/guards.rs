//! Which tests have to notice that a call is missing.

use super::super::mutation::Test;

const fn order(name: &'static str) -> Test {
    Test::program("drivers", "order", name)
}

const DISKS: Test = Test::program(
    "journeys",
    "caches/whole",
    "disks_are_read_and_written_whole",
);

/// The tests for calls in `file`, the likeliest first.
pub(super) fn guards(file: &str) -> &'static [Test] {
    let of_place = GUARDS.iter().find(|(place, _)| file.starts_with(place));
    of_place.map_or(&[], |(_, tests)| *tests)
}

/// By where the call is; the first that fits.
const GUARDS: &[(&str, &[Test])] = &[("drivers/src/nvme", &[DISKS])];
