//! Asynchronous event requests: admin commands the controller keeps until it has something to tell.

/// How many requests a controller keeps (`AERL` + 1).
pub(crate) const REQUESTS_MAX: usize = 4;

/// Events kept until a request comes; later ones are lost.
const EVENTS_MAX: usize = 8;

/// An event, as dword 0 of the completion tells it: type in bits 2:0, information in bits 15:8, log page in
/// bits 23:16 (NVM Express base specification 2.0, 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event(pub(crate) u32);

/// An event that meets a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EventReport {
    /// Id of the command that asked.
    pub(crate) command_id: u16,
    /// What happened.
    pub(crate) event: Event,
}

/// Requests that wait for events, and events that wait for requests.
#[derive(Debug, Default)]
pub(crate) struct AsyncEvents {
    requests: Vec<u16>,
    events: Vec<Event>,
}

impl AsyncEvents {
    /// Error: a doorbell of no queue was written. The error log page tells more.
    pub(crate) const INVALID_DOORBELL_REGISTER: Event = Event(0x01_00_00);
    /// Error: a doorbell was written with a value that cannot be.
    pub(crate) const INVALID_DOORBELL_VALUE: Event = Event(0x01_01_00);

    /// Keeps a request; `false` if there are too many.
    #[must_use]
    pub(crate) fn request(&mut self, command_id: u16) -> bool {
        let room = self.requests.len() < REQUESTS_MAX;
        if room {
            self.requests.push(command_id);
        }
        room
    }

    /// Something happened.
    pub(crate) fn raise(&mut self, event: Event) {
        if self.events.len() < EVENTS_MAX {
            self.events.push(event);
        }
    }

    /// The oldest event with the oldest request.
    pub(crate) fn take(&mut self) -> Option<EventReport> {
        if self.requests.is_empty() || self.events.is_empty() {
            return None;
        }
        Some(EventReport {
            command_id: self.requests.remove(0),
            event: self.events.remove(0),
        })
    }

    /// Forgets all, as a reset does.
    pub(crate) fn clear(&mut self) {
        self.requests.clear();
        self.events.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_and_a_request_wait_for_each_other() {
        let mut events = AsyncEvents::default();
        assert!(events.request(7));
        assert_eq!(events.take(), None);
        events.raise(AsyncEvents::INVALID_DOORBELL_VALUE);
        events.raise(AsyncEvents::INVALID_DOORBELL_REGISTER);
        let first = EventReport {
            command_id: 7,
            event: AsyncEvents::INVALID_DOORBELL_VALUE,
        };
        assert_eq!(events.take(), Some(first));
        assert_eq!(events.take(), None);
        assert!(events.request(8));
        let second = EventReport {
            command_id: 8,
            event: AsyncEvents::INVALID_DOORBELL_REGISTER,
        };
        assert_eq!(events.take(), Some(second));
    }

    #[test]
    fn requests_beyond_the_limit_are_refused() {
        let mut events = AsyncEvents::default();
        for id in 0..REQUESTS_MAX as u16 {
            assert!(events.request(id));
        }
        assert!(!events.request(99));
    }
}
