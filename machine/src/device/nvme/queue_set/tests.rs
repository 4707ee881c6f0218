use super::*;
use Doorbell::{CompletionHead, SubmissionTail};

fn pair(entries: u32) -> QueueSet {
    let mut queues = QueueSet::new(2);
    queues.create_completion(1, CompletionQueue::new(0x2000, entries, Some(1)));
    queues.create_submission(1, SubmissionQueue::new(0x1000, entries, 1));
    queues
}

/// Takes a command and posts its completion: where it lay, where its result goes, with which phase.
fn turn(queues: &mut QueueSet) -> Option<(u64, u64, Phase)> {
    let fetch = queues.next_command()?;
    queues.release(fetch.queue);
    let slot = queues.next_slot(fetch.queue).expect("room was reserved");
    Some((fetch.bus, slot.bus, slot.phase))
}

#[test]
fn rings_wrap_and_the_phase_turns_with_each_lap() {
    let mut queues = pair(3);
    for lap in 0..7u32 {
        let phase = match (lap / 3).is_multiple_of(2) {
            true => Phase::One,
            false => Phase::Zero,
        };
        queues.ring(SubmissionTail(1), (lap + 1) % 3).unwrap();
        let at = u64::from(lap % 3);
        let expected = (0x1000 + 64 * at, 0x2000 + 16 * at, phase);
        assert_eq!(turn(&mut queues), Some(expected));
        assert_eq!(turn(&mut queues), None);
        queues.ring(CompletionHead(1), (lap + 1) % 3).unwrap();
    }
}

#[test]
fn a_full_completion_queue_holds_commands_back() {
    let mut queues = pair(4);
    queues.create_completion(2, CompletionQueue::new(0x3000, 2, None));
    queues.create_submission(2, SubmissionQueue::new(0x4000, 4, 2));
    queues.ring(SubmissionTail(2), 3).unwrap();
    assert!(turn(&mut queues).is_some());
    assert_eq!(turn(&mut queues), None);
    assert_eq!(queues.next_slot(2), None);
    queues.ring(CompletionHead(2), 1).unwrap();
    assert!(turn(&mut queues).is_some());
}

#[test]
fn a_command_being_executed_keeps_room_for_its_completion() {
    let mut queues = pair(3);
    queues.create_completion(2, CompletionQueue::new(0x3000, 2, None));
    queues.create_submission(2, SubmissionQueue::new(0x4000, 4, 2));
    queues.ring(SubmissionTail(2), 2).unwrap();
    let fetch = queues.next_command().unwrap();
    assert_eq!(queues.next_command(), None);
    queues.release(fetch.queue);
    assert!(queues.next_command().is_some());
}

#[test]
fn queues_are_served_in_turn_and_the_admin_queue_first() {
    let mut queues = pair(8);
    queues.create_completion(0, CompletionQueue::new(0x9000, 8, None));
    queues.create_submission(0, SubmissionQueue::new(0x8000, 8, 0));
    queues.create_submission(2, SubmissionQueue::new(0x4000, 8, 1));
    for id in [1, 2] {
        queues.ring(SubmissionTail(id), 2).unwrap();
    }
    queues.ring(SubmissionTail(0), 1).unwrap();
    let order: Vec<u16> = std::iter::from_fn(|| queues.next_command())
        .map(|fetch| fetch.queue)
        .collect();
    assert_eq!(order, [0, 1, 2, 1, 2]);
}

#[test]
fn misused_doorbells_change_nothing() {
    let mut queues = pair(4);
    let refused = |doorbell, value, head, tail| {
        let entries = 4;
        let ring = Ring {
            entries,
            head,
            tail,
        };
        Err(DoorbellError::Value {
            doorbell,
            value,
            ring,
        })
    };
    let tail = SubmissionTail(1);
    assert_eq!(queues.ring(tail, 4), refused(tail, 4, 0, 0));
    assert_eq!(queues.ring(tail, u32::MAX), refused(tail, u32::MAX, 0, 0));
    assert_eq!(queues.ring(tail, 0), refused(tail, 0, 0, 0));
    queues.ring(tail, 2).unwrap();
    // One more than the free entries: the tail would pass the head.
    assert_eq!(queues.ring(tail, 1), refused(tail, 1, 0, 2));
    let head = CompletionHead(1);
    assert_eq!(queues.ring(head, 1), refused(head, 1, 0, 0));
    turn(&mut queues).unwrap();
    assert_eq!(queues.ring(head, 2), refused(head, 2, 0, 1));
    queues.ring(head, 1).unwrap();
    for doorbell in [SubmissionTail(2), CompletionHead(2), SubmissionTail(77)] {
        let none = Err(DoorbellError::NoSuchQueue(doorbell));
        assert_eq!(queues.ring(doorbell, 1), none);
    }
}
