//! What a completion entry says, believed only as far as it can be checked.

use hw::nvme::{CompletionEntry, StatusField};

use super::error::ControllerError;

/// A completion whose queue numbers were checked. Its command id was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Completion {
    /// The command meant: any number.
    pub(super) id: u16,
    /// How it ended.
    pub(super) status: StatusField,
    /// The command's own result (dword 0).
    pub(super) value: u32,
}

impl Completion {
    /// Takes an entry found in the completion queue of `queue`, whose submission queue has `entries`.
    ///
    /// # Errors
    /// [`ControllerError`] if it speaks of another queue or of an entry that this one does not have: then the
    /// controller has lost its way and nothing it says can be used.
    pub(super) fn check(
        entry: CompletionEntry,
        queue: u16,
        entries: u32,
    ) -> Result<Self, ControllerError> {
        let origin = entry.queue();
        if origin.sqid() != queue {
            return Err(ControllerError::ForeignCompletion {
                queue,
                claimed: origin.sqid(),
            });
        }
        if u32::from(origin.sqhd()) >= entries {
            let head = origin.sqhd();
            return Err(ControllerError::QueueHeadOutOfRange {
                queue,
                head,
                entries,
            });
        }
        let result = entry.result();
        Ok(Self {
            id: result.cid(),
            status: result.sf(),
            value: entry.dw0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_a_completion_or_an_error() {
        for dw2 in (0..=u32::MAX).step_by(0x1357) {
            let entry = CompletionEntry {
                dw0: 1,
                dw1: 2,
                dw2,
                dw3: !dw2,
            };
            let sound = dw2 >> 16 == 1 && dw2 & 0xffff < 9;
            assert_eq!(Completion::check(entry, 1, 9).is_ok(), sound);
        }
    }

    #[test]
    fn the_fields_are_where_the_specification_has_them() {
        // Base 2.0, figure "Common Completion Queue Entry Layout": id 0x1234, phase 1, status type 2 code 0x81.
        let entry = CompletionEntry {
            dw0: 77,
            dw1: 0,
            dw2: 0x0001_0005,
            dw3: 0x0503_1234,
        };
        let completion = Completion::check(entry, 1, 9).unwrap();
        assert_eq!((completion.id, completion.value), (0x1234, 77));
        assert_eq!((completion.status.sct(), completion.status.sc()), (2, 0x81));
    }

    #[test]
    fn another_queue_or_head_is_the_controllers_error() {
        let entry = CompletionEntry {
            dw0: 0,
            dw1: 0,
            dw2: 0x0002_0000,
            dw3: 0,
        };
        assert_eq!(
            Completion::check(entry, 1, 9),
            Err(ControllerError::ForeignCompletion {
                queue: 1,
                claimed: 2
            })
        );
        let entry = CompletionEntry {
            dw0: 0,
            dw1: 0,
            dw2: 0x0001_0009,
            dw3: 0,
        };
        assert_eq!(
            Completion::check(entry, 1, 9),
            Err(ControllerError::QueueHeadOutOfRange {
                queue: 1,
                head: 9,
                entries: 9
            })
        );
    }
}
