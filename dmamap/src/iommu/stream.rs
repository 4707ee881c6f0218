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
            Stream::From(first) => first.wrapping_add(u32::from(requester.id - self.first)),
            Stream::One(stream) => stream,
        }
    }

    /// The greatest number in the range.
    fn last_stream(&self) -> u32 {
        self.stream_of(Requester {
            segment: self.segment,
            id: self.last,
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
        let ranges = self.ranges.iter().map(StreamRange::last_stream);
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
