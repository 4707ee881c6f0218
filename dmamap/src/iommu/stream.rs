//! How a unit names the devices behind it: source id, device id, stream id, endpoint id.

use alloc::vec::Vec;

use firmware::{Devices, IommuDescription, Stream};

use crate::iommu::requester::Requester;

/// Requester ids side by side, and the number their unit knows the first of them by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamRange {
    pub(crate) segment: u16,
    pub(crate) first: u16,
    /// Inclusive.
    pub(crate) last: u16,
    pub(crate) stream: Stream,
}

impl StreamRange {
    pub(crate) fn contains(&self, requester: Requester) -> bool {
        requester.segment == self.segment && (self.first..=self.last).contains(&requester.id)
    }

    /// The number of a requester in the range.
    pub(crate) fn stream_of(&self, requester: Requester) -> u32 {
        match self.stream {
            Stream::Requester => requester.id.into(),
            // Those beyond the last number there is share it, as aliases do.
            Stream::From(first) => first.saturating_add(u32::from(requester.id - self.first)),
            Stream::One(stream) => stream,
        }
    }

    /// The greatest number in the range; `None` if nobody is in it.
    fn last_stream(&self) -> Option<u32> {
        (self.first <= self.last).then(|| {
            self.stream_of(Requester {
                segment: self.segment,
                id: self.last,
            })
        })
    }

    /// The requester of a number, the first one where several share it.
    fn requester_of(&self, stream: u32) -> Option<Requester> {
        let offset = match self.stream {
            Stream::Requester => stream.checked_sub(self.first.into())?,
            Stream::From(first) => stream.checked_sub(first)?,
            Stream::One(one) => (one == stream).then_some(0)?,
        };
        let id = u16::try_from(u32::from(self.first).checked_add(offset)?).ok()?;
        (id <= self.last).then_some(Requester {
            segment: self.segment,
            id,
        })
    }
}

/// All names one unit knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct StreamNames {
    segment: u16,
    ranges: Vec<StreamRange>,
}

impl StreamNames {
    /// The names of unit number `unit`.
    pub(crate) fn of_unit(description: &IommuDescription, unit: usize) -> Self {
        let whole = |segment, stream| StreamRange {
            segment,
            first: 0,
            last: u16::MAX,
            stream,
        };
        let assigned = description
            .assignments
            .iter()
            .filter(|each| each.unit == unit);
        let ranges = assigned.filter_map(|each| match each.devices {
            Devices::Requesters {
                segment,
                first,
                last,
            } => Some(StreamRange {
                segment,
                first,
                last,
                stream: each.stream,
            }),
            Devices::Segment { segment } | Devices::Scope { segment, .. } => {
                Some(whole(segment, each.stream))
            }
            Devices::Named(_) => None,
        });
        Self {
            segment: description.units.get(unit).map_or(0, |unit| unit.segment),
            ranges: ranges.collect(),
        }
    }

    /// The greatest number the unit may meet: how far its tables must reach.
    pub(crate) fn last_stream(&self) -> u32 {
        let ranges = self.ranges.iter().filter_map(StreamRange::last_stream);
        ranges.max().unwrap_or(0)
    }

    /// Whose requests carry `stream`. A number nobody was given is reported as if it were a requester id.
    pub(crate) fn requester_of(&self, stream: u32) -> Requester {
        let known = self
            .ranges
            .iter()
            .find_map(|range| range.requester_of(stream));
        known.unwrap_or(Requester {
            segment: self.segment,
            id: stream as u16,
        })
    }
}

#[cfg(test)]
mod tests {
    use firmware::Assignment;

    use super::*;

    fn names(first: u16, last: u16, stream: Stream) -> StreamNames {
        let devices = Devices::Requesters {
            segment: 0,
            first,
            last,
        };
        let assignments = [Assignment {
            devices,
            unit: 0,
            stream,
        }];
        let description = IommuDescription {
            assignments: assignments.into(),
            ..IommuDescription::default()
        };
        StreamNames::of_unit(&description, 0)
    }

    #[test]
    fn the_last_number_is_of_the_last_requester() {
        assert_eq!(names(8, 15, Stream::Requester).last_stream(), 15);
        assert_eq!(names(8, 15, Stream::From(0x100)).last_stream(), 0x107);
        assert_eq!(names(8, 15, Stream::One(3)).last_stream(), 3);
    }

    #[test]
    fn a_range_that_ends_before_it_begins_has_nobody_in_it() {
        for stream in [Stream::Requester, Stream::From(9), Stream::One(9)] {
            assert_eq!(names(15, 8, stream).last_stream(), 0);
        }
    }

    #[test]
    fn numbers_do_not_wrap() {
        let range = StreamRange {
            segment: 0,
            first: 0,
            last: u16::MAX,
            stream: Stream::From(u32::MAX - 1),
        };
        let stream = |id| range.stream_of(Requester { segment: 0, id });
        assert_eq!([0, 1, 2].map(stream), [u32::MAX - 1, u32::MAX, u32::MAX]);
        assert_eq!(names(0, u16::MAX, range.stream).last_stream(), u32::MAX);
    }
}
