//! Commands as the driver thinks of them, and the submission entries they become.

use core::fmt;

use dmamap::addr::BusAddr;
use hw::nvme::SubmissionEntry;
use hw::nvme::command::{
    CreateCompletionQueueDword11, CreateSubmissionQueueDword11, Dword0, FeaturesDword10,
    IdentifyDword10, NumberOfQueues, QueueDword10, ReadWriteDword12, admin_opcode, cns, feature,
    io_opcode,
};

use super::prp::Prps;

/// A run of logical blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// The first one (LBA).
    pub first: u64,
    /// How many: 1 to 65536.
    pub count: u32,
}

impl fmt::Display for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} blocks from {:#x}", self.count, self.first)
    }
}

/// What a command does, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// Asks the controller who it is.
    IdentifyController,
    /// Asks for a namespace's size and format.
    IdentifyNamespace,
    /// Agrees on the number of I/O queues.
    SetNumberOfQueues,
    /// Creates an I/O completion queue.
    CreateCompletionQueue,
    /// Creates an I/O submission queue.
    CreateSubmissionQueue,
    /// Deletes an I/O completion queue.
    DeleteCompletionQueue,
    /// Deletes an I/O submission queue.
    DeleteSubmissionQueue,
    /// Reads blocks.
    Read,
    /// Writes blocks.
    Write,
    /// Makes completed writes last.
    Flush,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IdentifyController => "identify controller",
            Self::IdentifyNamespace => "identify namespace",
            Self::SetNumberOfQueues => "set number of queues",
            Self::CreateCompletionQueue => "create completion queue",
            Self::CreateSubmissionQueue => "create submission queue",
            Self::DeleteCompletionQueue => "delete completion queue",
            Self::DeleteSubmissionQueue => "delete submission queue",
            Self::Read => "read",
            Self::Write => "write",
            Self::Flush => "flush",
        })
    }
}

/// A command without its identifier, which the queue gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) operation: Operation,
    entry: SubmissionEntry,
}

impl Command {
    fn new(operation: Operation, opcode: u8) -> Self {
        let cdw0 = Dword0::new().with_opc(opcode).into_bits();
        Self {
            operation,
            entry: SubmissionEntry {
                cdw0,
                ..SubmissionEntry::default()
            },
        }
    }

    /// The entry for the queue.
    pub(super) fn with_id(&self, id: u16) -> SubmissionEntry {
        let cdw0 = Dword0::from_bits(self.entry.cdw0).with_cid(id).into_bits();
        SubmissionEntry { cdw0, ..self.entry }
    }

    /// Identify controller into the page at `data`.
    pub(super) fn identify_controller(data: BusAddr) -> Self {
        let mut command = Self::new(Operation::IdentifyController, admin_opcode::IDENTIFY);
        command.entry.prp1 = data.as_u64();
        command.entry.cdw10 = IdentifyDword10::new().with_cns(cns::CONTROLLER).into_bits();
        command
    }

    /// Identify namespace into the page at `data`.
    pub(super) fn identify_namespace(namespace: u32, data: BusAddr) -> Self {
        let mut command = Self::new(Operation::IdentifyNamespace, admin_opcode::IDENTIFY);
        command.entry.nsid = namespace;
        command.entry.prp1 = data.as_u64();
        command.entry.cdw10 = IdentifyDword10::new().with_cns(cns::NAMESPACE).into_bits();
        command
    }

    /// Asks for `count` (1 to 65535) I/O queues of each kind.
    pub(super) fn set_number_of_queues(count: u16) -> Self {
        let encoded = count.saturating_sub(1);
        let mut command = Self::new(Operation::SetNumberOfQueues, admin_opcode::SET_FEATURES);
        command.entry.cdw10 = FeaturesDword10::new()
            .with_fid(feature::NUMBER_OF_QUEUES)
            .into_bits();
        command.entry.cdw11 = NumberOfQueues::new()
            .with_nsq(encoded)
            .with_ncq(encoded)
            .into_bits();
        command
    }

    /// Creates a completion queue that raises `vector`, or no interrupt.
    pub(super) fn create_completion_queue(queue: QueueMemory, vector: Option<u16>) -> Self {
        let dword11 = CreateCompletionQueueDword11::new()
            .with_pc(true)
            .with_ien(vector.is_some())
            .with_iv(vector.unwrap_or(0));
        let mut command = Self::new(
            Operation::CreateCompletionQueue,
            admin_opcode::CREATE_COMPLETION_QUEUE,
        );
        command.entry.prp1 = queue.at.as_u64();
        command.entry.cdw10 = queue.dword10();
        command.entry.cdw11 = dword11.into_bits();
        command
    }

    /// Creates the submission queue that reports to the completion queue of the same id.
    pub(super) fn create_submission_queue(queue: QueueMemory) -> Self {
        let dword11 = CreateSubmissionQueueDword11::new()
            .with_pc(true)
            .with_cqid(queue.id);
        let mut command = Self::new(
            Operation::CreateSubmissionQueue,
            admin_opcode::CREATE_SUBMISSION_QUEUE,
        );
        command.entry.prp1 = queue.at.as_u64();
        command.entry.cdw10 = queue.dword10();
        command.entry.cdw11 = dword11.into_bits();
        command
    }

    /// Deletes a completion queue.
    pub(super) fn delete_completion_queue(id: u16) -> Self {
        let mut command = Self::new(
            Operation::DeleteCompletionQueue,
            admin_opcode::DELETE_COMPLETION_QUEUE,
        );
        command.entry.cdw10 = QueueDword10::new().with_qid(id).into_bits();
        command
    }

    /// Deletes a submission queue.
    pub(super) fn delete_submission_queue(id: u16) -> Self {
        let mut command = Self::new(
            Operation::DeleteSubmissionQueue,
            admin_opcode::DELETE_SUBMISSION_QUEUE,
        );
        command.entry.cdw10 = QueueDword10::new().with_qid(id).into_bits();
        command
    }

    /// Reads `blocks`.
    pub(super) fn read(namespace: u32, blocks: Blocks, data: Prps) -> Self {
        Self::transfer(Operation::Read, io_opcode::READ, namespace, blocks, data)
    }

    /// Writes `blocks`.
    pub(super) fn write(namespace: u32, blocks: Blocks, data: Prps) -> Self {
        Self::transfer(Operation::Write, io_opcode::WRITE, namespace, blocks, data)
    }

    /// Makes completed writes last.
    pub(super) fn flush(namespace: u32) -> Self {
        let mut command = Self::new(Operation::Flush, io_opcode::FLUSH);
        command.entry.nsid = namespace;
        command
    }

    fn transfer(
        operation: Operation,
        opcode: u8,
        namespace: u32,
        blocks: Blocks,
        data: Prps,
    ) -> Self {
        let mut command = Self::new(operation, opcode);
        command.entry.nsid = namespace;
        command.entry.prp1 = data.first;
        command.entry.prp2 = data.second;
        command.entry.cdw10 = blocks.first as u32;
        command.entry.cdw11 = (blocks.first >> 32) as u32;
        // The caller checked the count; the field holds one less.
        let encoded = blocks.count.saturating_sub(1) as u16;
        command.entry.cdw12 = ReadWriteDword12::new().with_nlb(encoded).into_bits();
        command
    }
}

/// Where an I/O queue lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QueueMemory {
    pub(super) id: u16,
    pub(super) at: BusAddr,
    pub(super) entries: u32,
}

impl QueueMemory {
    fn dword10(self) -> u32 {
        let encoded = self.entries.saturating_sub(1) as u16;
        QueueDword10::new()
            .with_qid(self.id)
            .with_qsize(encoded)
            .into_bits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The numbers are typed from NVM Express Base 2.0 and NVM Command Set 1.0, not from `hw`.

    #[test]
    fn a_read_carries_its_blocks_and_pages() {
        let blocks = Blocks {
            first: 0x1_2345_6789,
            count: 65536,
        };
        let entry = Command::read(
            7,
            blocks,
            Prps {
                first: 0x1000,
                second: 0x2000,
            },
        )
        .with_id(0x0305);
        assert_eq!(entry.cdw0, 0x0305_0002);
        assert_eq!(entry.nsid, 7);
        assert_eq!((entry.prp1, entry.prp2), (0x1000, 0x2000));
        assert_eq!((entry.cdw10, entry.cdw11), (0x2345_6789, 1));
        assert_eq!(entry.cdw12, 0xffff);
    }

    #[test]
    fn queues_are_created_contiguous_and_in_pairs() {
        let queue = QueueMemory {
            id: 3,
            at: BusAddr::new(0x8000),
            entries: 257,
        };
        let entry = Command::create_completion_queue(queue, Some(3)).with_id(1);
        assert_eq!((entry.cdw0, entry.prp1), (0x0001_0005, 0x8000));
        assert_eq!((entry.cdw10, entry.cdw11), (0x0100_0003, 0x0003_0003));
        let entry = Command::create_completion_queue(queue, None).with_id(1);
        assert_eq!(entry.cdw11, 0x0000_0001);
        let entry = Command::create_submission_queue(queue).with_id(2);
        assert_eq!((entry.cdw0, entry.cdw10), (0x0002_0001, 0x0100_0003));
        assert_eq!(entry.cdw11, 0x0003_0001);
    }

    #[test]
    fn admin_commands_have_their_opcodes() {
        let at = BusAddr::new(0x5000);
        let entry = Command::identify_controller(at).with_id(0);
        assert_eq!((entry.cdw0, entry.cdw10, entry.prp1), (0x06, 1, 0x5000));
        let entry = Command::identify_namespace(1, at).with_id(0);
        assert_eq!((entry.cdw0, entry.cdw10, entry.nsid), (0x06, 0, 1));
        let entry = Command::set_number_of_queues(4).with_id(0);
        assert_eq!(
            (entry.cdw0, entry.cdw10, entry.cdw11),
            (0x09, 0x07, 0x0003_0003)
        );
        assert_eq!(Command::delete_submission_queue(2).with_id(0).cdw0, 0x00);
        assert_eq!(Command::delete_completion_queue(2).with_id(0).cdw0, 0x04);
        assert_eq!(Command::flush(1).with_id(9).cdw0, 0x0009_0000);
    }
}
