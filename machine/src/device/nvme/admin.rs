//! Admin commands: identify, queues, features, events.
//!
//! Mandatory commands that are missing: get log page. Whatever is not listed in [`Engine::admin`] ends with
//! "invalid opcode".

use hw::nvme::command::{
    CreateCompletionQueueDword11, CreateSubmissionQueueDword11, Dword0, FeatureSelect,
    FeaturesDword10, IdentifyDword10, NumberOfQueues, QueueDword10, admin_opcode, cns, feature,
};
use hw::nvme::status::code_type;
use hw::nvme::{Status, StatusField, SubmissionEntry, completion, submission};
use zerocopy::IntoBytes;

use super::engine::{End, Engine};
use super::identify;
use super::queue::{CompletionQueue, SubmissionQueue};
use super::shared::WriteCache;

/// The only namespace.
pub(crate) const NAMESPACE_ID: u32 = 1;

/// "Asynchronous event request limit exceeded", command specific.
const EVENT_LIMIT_EXCEEDED: StatusField = StatusField::new()
    .with_sct(code_type::COMMAND_SPECIFIC)
    .with_sc(0x05);

impl Engine {
    /// Executes an admin command.
    pub(super) fn admin(&mut self, dword0: Dword0, entry: &SubmissionEntry) -> Result<u32, End> {
        if dword0.fuse() != 0 || dword0.psdt() != 0 {
            return Err(Status::InvalidField.into());
        }
        match dword0.opc() {
            admin_opcode::IDENTIFY => self.identify(entry),
            admin_opcode::CREATE_COMPLETION_QUEUE => self.create_completion_queue(entry),
            admin_opcode::CREATE_SUBMISSION_QUEUE => self.create_submission_queue(entry),
            admin_opcode::DELETE_COMPLETION_QUEUE => self.delete_completion_queue(entry),
            admin_opcode::DELETE_SUBMISSION_QUEUE => self.delete_submission_queue(entry),
            admin_opcode::SET_FEATURES => self.set_features(entry),
            admin_opcode::GET_FEATURES => self.get_features(entry),
            // Bit 0 tells that nothing was aborted, which is always allowed.
            admin_opcode::ABORT => Ok(1),
            admin_opcode::ASYNC_EVENT_REQUEST => {
                if self.shared.state.lock().events.request(dword0.cid()) {
                    Err(End::Never)
                } else {
                    Err(End::Status(EVENT_LIMIT_EXCEEDED))
                }
            }
            _ => Err(Status::InvalidOpcode.into()),
        }
    }

    fn identify(&mut self, entry: &SubmissionEntry) -> Result<u32, End> {
        let blocks = self.disk.backing.blocks();
        let data = match IdentifyDword10::from_bits(entry.cdw10).cns() {
            cns::CONTROLLER => identify::controller(&self.disk).as_bytes().to_vec(),
            // All ones asks for what namespaces have in common: nothing, without namespace management.
            cns::NAMESPACE if entry.nsid == NAMESPACE_ID => {
                identify::namespace(blocks).as_bytes().to_vec()
            }
            cns::NAMESPACE => return Err(Status::InvalidNamespace.into()),
            cns::ACTIVE_NAMESPACES if entry.nsid >= 0xffff_fffe => {
                return Err(Status::InvalidNamespace.into());
            }
            cns::ACTIVE_NAMESPACES => identify::active_namespaces(entry.nsid).as_bytes().to_vec(),
            _ => return Err(Status::InvalidField.into()),
        };
        self.locate(entry, data.len() as u64)?;
        self.buffer(data.len() as u64).copy_from_slice(&data);
        self.scatter()?;
        Ok(0)
    }

    /// Queue id and number of entries of a create command; its base must be a page.
    fn new_queue(&self, entry: &SubmissionEntry) -> Result<(u16, u32), End> {
        let dword10 = QueueDword10::from_bits(entry.cdw10);
        let state = self.shared.state.lock();
        let most = state.features.queue_pairs.unwrap_or(self.disk.io_queues);
        if !(1..=most).contains(&dword10.qid()) {
            return Err(Status::InvalidQueueId.into());
        }
        let entries = u32::from(dword10.qsize()) + 1;
        if entries < 2 || entries > state.registers.capabilities().queue_entries_max() {
            return Err(Status::InvalidQueueSize.into());
        }
        if !entry.prp1.is_multiple_of(state.registers.page_bytes()) {
            return Err(Status::PrpOffsetInvalid.into());
        }
        Ok((dword10.qid(), entries))
    }

    fn create_completion_queue(&mut self, entry: &SubmissionEntry) -> Result<u32, End> {
        let (id, entries) = self.new_queue(entry)?;
        let dword11 = CreateCompletionQueueDword11::from_bits(entry.cdw11);
        let mut state = self.shared.state.lock();
        if state.queues.completion(id).is_some() {
            return Err(Status::InvalidQueueId.into());
        }
        // CAP.CQR: only contiguous queues.
        if !dword11.pc() || state.registers.configuration().iocqes() != completion::ENTRY_SIZE_LOG2
        {
            return Err(Status::InvalidField.into());
        }
        if dword11.iv() > self.disk.io_queues {
            return Err(Status::InvalidInterruptVector.into());
        }
        let vector = dword11.ien().then_some(dword11.iv());
        let queue = CompletionQueue::new(entry.prp1, entries, vector);
        state.queues.create_completion(id, queue);
        Ok(0)
    }

    fn create_submission_queue(&mut self, entry: &SubmissionEntry) -> Result<u32, End> {
        let (id, entries) = self.new_queue(entry)?;
        let dword11 = CreateSubmissionQueueDword11::from_bits(entry.cdw11);
        let mut state = self.shared.state.lock();
        if state.queues.submission(id).is_some() {
            return Err(Status::InvalidQueueId.into());
        }
        if !dword11.pc() || state.registers.configuration().iosqes() != submission::ENTRY_SIZE_LOG2
        {
            return Err(Status::InvalidField.into());
        }
        if dword11.cqid() == 0 || state.queues.completion(dword11.cqid()).is_none() {
            return Err(Status::CompletionQueueInvalid.into());
        }
        let queue = SubmissionQueue::new(entry.prp1, entries, dword11.cqid());
        state.queues.create_submission(id, queue);
        Ok(0)
    }

    fn delete_completion_queue(&mut self, entry: &SubmissionEntry) -> Result<u32, End> {
        let id = QueueDword10::from_bits(entry.cdw10).qid();
        let mut state = self.shared.state.lock();
        if id == 0 || state.queues.completion(id).is_none() {
            return Err(Status::InvalidQueueId.into());
        }
        if state.queues.completion_in_use(id) {
            return Err(Status::InvalidQueueDeletion.into());
        }
        state.queues.delete_completion(id);
        Ok(0)
    }

    fn delete_submission_queue(&mut self, entry: &SubmissionEntry) -> Result<u32, End> {
        let id = QueueDword10::from_bits(entry.cdw10).qid();
        let mut state = self.shared.state.lock();
        if id == 0 || state.queues.submission(id).is_none() {
            return Err(Status::InvalidQueueId.into());
        }
        // Commands not executed end with their queue; nothing is posted for them.
        for _ in 0..self.window.forget(id) {
            state.queues.release(id);
        }
        state.queues.delete_submission(id);
        Ok(0)
    }

    fn set_features(&mut self, entry: &SubmissionEntry) -> Result<u32, End> {
        let dword10 = FeaturesDword10::from_bits(entry.cdw10);
        if dword10.sv() {
            return Err(Status::FeatureNotSaveable.into());
        }
        match dword10.fid() {
            feature::NUMBER_OF_QUEUES => {
                let asked = NumberOfQueues::from_bits(entry.cdw11);
                if asked.nsq() == u16::MAX || asked.ncq() == u16::MAX {
                    return Err(Status::InvalidField.into());
                }
                let mut state = self.shared.state.lock();
                if state.queues.has_io_queues() {
                    return Err(Status::CommandSequenceError.into());
                }
                let pairs = (asked.nsq().max(asked.ncq()) + 1).min(self.disk.io_queues);
                state.features.queue_pairs = Some(pairs);
                Ok(number_of_queues(pairs))
            }
            feature::VOLATILE_WRITE_CACHE => {
                let on = entry.cdw11 & 1 != 0;
                self.shared.state.lock().features.write_cache =
                    if on { WriteCache::On } else { WriteCache::Off };
                Ok(0)
            }
            _ => Err(Status::InvalidField.into()),
        }
    }

    fn get_features(&mut self, entry: &SubmissionEntry) -> Result<u32, End> {
        let dword10 = FeaturesDword10::from_bits(entry.cdw10);
        if dword10.sel() != FeatureSelect::Current {
            return Err(Status::InvalidField.into());
        }
        let features = &self.shared.state.lock().features;
        match dword10.fid() {
            feature::NUMBER_OF_QUEUES => Ok(number_of_queues(
                features.queue_pairs.unwrap_or(self.disk.io_queues),
            )),
            feature::VOLATILE_WRITE_CACHE => Ok((features.write_cache == WriteCache::On).into()),
            _ => Err(Status::InvalidField.into()),
        }
    }
}

/// Dword 0 of a completion that tells `pairs` queue pairs.
fn number_of_queues(pairs: u16) -> u32 {
    NumberOfQueues::new()
        .with_nsq(pairs - 1)
        .with_ncq(pairs - 1)
        .into_bits()
}
