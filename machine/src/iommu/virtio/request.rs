//! One request: what the driver wrote, done or refused (5.13.6).

use hw::virtio::iommu::probe::{ReservedMemory, ReservedSubtype};
use hw::virtio::iommu::request::{
    Attach, Detach, Head, Map, Probe, RequestType, Status, TAIL_BYTES, Tail, Unmap,
};

use super::config::ReservedKind;
use super::core::Core;
use super::domains::Lost;
use super::queue::Buffer;
use crate::findings::FindingKind;

/// What the device writes.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: Status,
    /// Before the status: properties.
    properties: Vec<u8>,
}

/// A request that was looked at.
#[derive(Debug)]
pub(super) struct Executed {
    pub(super) answer: Answer,
    pub(super) lost: Lost,
}

impl Answer {
    fn new(status: Status) -> Self {
        Self {
            status,
            properties: Vec::new(),
        }
    }

    /// All that is written to a buffer of `writable` bytes: the tail is at its end.
    pub(super) fn into_bytes(self, writable: u64) -> Vec<u8> {
        let mut bytes = self.properties;
        bytes.resize(writable.saturating_sub(TAIL_BYTES) as usize, 0);
        let tail = Tail::new().with_status(self.status.code());
        bytes.extend(tail.into_bits().to_le_bytes());
        bytes
    }
}

impl Core {
    /// Answers with `status` and does nothing.
    pub(super) fn refuse(&self, _buffer: &Buffer, status: Status) -> Option<Executed> {
        Some(Executed {
            answer: Answer::new(status),
            lost: Lost::Nothing,
        })
    }

    /// Does what `buffer` asks for. `None` if it is so malformed that there is nowhere to write a status.
    pub(super) fn execute(&self, buffer: &Buffer) -> Option<Executed> {
        let words = buffer.read_words();
        let kind = words
            .as_deref()
            .and_then(|words| words.first())
            .map(|head| Head::from_bits(*head).kind());
        let (Some(words), Some(kind)) = (words, kind) else {
            self.violation(format!("a request without a head: {buffer:?}"));
            return None;
        };
        let Some(kind) = RequestType::from_code(kind) else {
            self.violation(format!("a request of type {kind:#x}"));
            return self.refuse(buffer, Status::Unsupported);
        };
        let (read, written) = self.lengths(kind);
        if (buffer.readable(), buffer.writable()) != (read, written) {
            self.violation(format!(
                "{kind:?} of {} and {} bytes, which has {read} and {written}",
                buffer.readable(),
                buffer.writable()
            ));
            return None;
        }
        let done = match kind {
            RequestType::Attach => self.attach(&words),
            RequestType::Detach => self.detach(&words),
            RequestType::Map => self.map(&words),
            RequestType::Unmap => self.unmap(&words),
            RequestType::Probe => {
                let probed = self.probe(&words);
                if let Ok(properties) = probed {
                    let answer = Answer {
                        status: Status::Ok,
                        properties,
                    };
                    return Some(Executed {
                        answer,
                        lost: Lost::Nothing,
                    });
                }
                probed.map(|_| Lost::Nothing)
            }
        };
        let (status, lost) = match done {
            Ok(lost) => (Status::Ok, lost),
            Err(status) => (status, Lost::Nothing),
        };
        let asked_again = kind == RequestType::Detach && self.front.lock().hooks.tried_patience;
        if let Status::Invalid | Status::Range | Status::NoEntry = status
            && !asked_again
        {
            // What a driver that keeps count of its domains and mappings never asks for.
            self.violation(format!("{kind:?} {words:x?} refused: {}", status.text()));
        }
        let answer = Answer::new(status);
        Some(Executed { answer, lost })
    }

    fn violation(&self, detail: String) {
        self.reporter.report(FindingKind::ProtocolViolation, detail);
    }

    /// Bytes of the parts that the device reads and writes.
    fn lengths(&self, kind: RequestType) -> (u64, u64) {
        let words = match kind {
            RequestType::Attach => Attach::WORDS,
            RequestType::Detach => Detach::WORDS,
            RequestType::Map => Map::WORDS,
            RequestType::Unmap => Unmap::WORDS,
            RequestType::Probe => Probe::WORDS,
        };
        let properties = match kind {
            RequestType::Probe => self.config.probe_size.into(),
            _ => 0,
        };
        (4 * words as u64, properties + TAIL_BYTES)
    }

    /// The words of a request; reserved ones that are not zero are a finding and refused.
    fn checked<const N: usize>(
        &self,
        what: &str,
        words: &[u32],
        reserved: [u32; N],
    ) -> Result<[u32; N], Status> {
        let words: [u32; N] = words.try_into().expect("its length was checked");
        if words
            .iter()
            .zip(reserved)
            .any(|(word, bits)| word & bits != 0)
        {
            self.reporter
                .report(FindingKind::ReservedBits, format!("{what}: {words:x?}"));
            return Err(Status::Invalid);
        }
        Ok(words)
    }

    fn attach(&self, words: &[u32]) -> Result<Lost, Status> {
        let request = Attach::from_words(self.checked("ATTACH", words, Attach::RESERVED)?);
        if request.flags.bypass() && !self.config.features.bypass_config() {
            return Err(Status::Invalid);
        }
        self.counters.attaches.add_one();
        self.domains.write().attach(&self.config, request)
    }

    fn detach(&self, words: &[u32]) -> Result<Lost, Status> {
        let request = Detach::from_words(self.checked("DETACH", words, Detach::RESERVED)?);
        self.counters.detaches.add_one();
        self.domains.write().detach(&self.config, request)
    }

    fn map(&self, words: &[u32]) -> Result<Lost, Status> {
        let request = Map::from_words(self.checked("MAP", words, Map::RESERVED)?);
        self.counters.maps.add_one();
        self.domains.write().map(&self.config, request)
    }

    fn unmap(&self, words: &[u32]) -> Result<Lost, Status> {
        let request = Unmap::from_words(self.checked("UNMAP", words, Unmap::RESERVED)?);
        self.counters.unmaps.add_one();
        self.domains.write().unmap(request)
    }

    /// The properties of an endpoint, a list that zeros end.
    fn probe(&self, words: &[u32]) -> Result<Vec<u8>, Status> {
        if !self.config.features.probe() {
            return Err(Status::Unsupported);
        }
        let words: [u32; Probe::WORDS] = words.try_into().expect("its length was checked");
        let request = Probe::from_words(words);
        if words != request.to_words() {
            self.reporter
                .report(FindingKind::ReservedBits, format!("PROBE: {words:x?}"));
            return Err(Status::Invalid);
        }
        let requester = request
            .endpoint
            .checked_sub(self.config.first_endpoint)
            .and_then(|requester| u16::try_from(requester).ok())
            .ok_or(Status::NoEntry)?;
        self.counters.probes.add_one();
        let properties = self.config.reserved_for(requester).flat_map(|reserved| {
            let subtype = match reserved.kind {
                ReservedKind::Platform => ReservedSubtype::Reserved,
                ReservedKind::Messages => ReservedSubtype::Msi,
            };
            ReservedMemory {
                subtype: subtype.code(),
                start: *reserved.addresses.start(),
                end: *reserved.addresses.end(),
            }
            .to_words()
        });
        Ok(properties.flat_map(u32::to_le_bytes).collect())
    }
}
