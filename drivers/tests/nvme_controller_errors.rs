//! Controllers that fail or lie: every wait ends, every buffer comes back, nothing comes back twice.

use std::time::{Duration, Instant};

use dmamap::buffer::DmaBuffer;
use drivers::nvme::{
    Blocks, CommandError, Completion, ControllerError, Failed, Nvme, Operation, Readiness,
    Settings, StartError,
};
use hosted::Hosted;
use machine::MachineConfig;
use machine::device::nvme::{Misbehaviour, NeverReady};
use rig::Rig;
use rig::disks::test_disk;

type Outcome = Result<DmaBuffer<Hosted>, Failed<DmaBuffer<Hosted>>>;
type Disk = Nvme<Hosted, DmaBuffer<Hosted>>;

/// For what never comes, and yet long enough for what does on a busy host.
const SHORT: Duration = Duration::from_millis(600);

/// After which what should have come to be long ago counts as never, however busy the host is.
const NEVER: Duration = Duration::from_secs(100);

const COMPLETIONS: [Completion; 2] = [Completion::Interrupt, Completion::Polling];

/// Submits eight reads to a disk that misbehaves, completes them, and returns what became of each.
fn eight_reads(misbehaviour: Misbehaviour, completion: Completion) -> (Vec<Outcome>, Disk, Rig) {
    let mut config = test_disk(1 << 20);
    config.misbehaviour = misbehaviour.clone();
    let mut rig = Rig::boot(MachineConfig::default().with_disk(config));
    // Only who never sees an answer waits to the end of it.
    let is_silent = misbehaviour.never_complete.is_some() || misbehaviour.wrong_phase_at.is_some();
    let command_timeout = if is_silent { SHORT } else { NEVER };
    let settings = Settings {
        queues: 2,
        completion,
        command_timeout,
        ..Settings::default()
    };
    let mut disk: Disk = rig.start_disk(0, settings);
    let tickets: Vec<_> = (0..8)
        .map(|n| {
            let memory = DmaBuffer::allocate(rig.kernel, 4096).expect("there is memory");
            let blocks = Blocks {
                first: n * 8,
                count: 8,
            };
            disk.submit_read(n as usize % 2, blocks, memory)
                .expect("there is room")
        })
        .collect();
    let mut outcomes = Vec::new();
    for ticket in tickets {
        outcomes.push(disk.complete(ticket));
    }
    (outcomes, disk, rig)
}

/// The controller was lost for `reason`, no buffer was, and nothing hangs or works from now on.
fn lost(outcomes: Vec<Outcome>, mut disk: Disk, rig: Rig) -> ControllerError {
    let reason = disk.lost().expect("the controller is stopped");
    for failed in outcomes.into_iter().filter_map(Result::err) {
        assert!(failed.buffer.is_some(), "{}", failed.error);
        assert!(matches!(failed.error, CommandError::Controller(why) if why == reason));
    }
    let memory = DmaBuffer::allocate(rig.kernel, 4096).expect("there is memory");
    let blocks = Blocks { first: 0, count: 8 };
    let refused = disk
        .submit_read(0, blocks, memory)
        .expect_err("the controller is stopped");
    assert!(refused.buffer.is_some());
    assert!(matches!(refused.error, CommandError::Controller(why) if why == reason));
    drop(refused);
    assert!(disk.flush().is_err());
    let failed = disk.shutdown().expect_err("it was stopped before");
    failed.device.detach().expect("the device detaches");
    rig.finish();
    reason
}

#[test]
fn a_command_that_is_never_completed_times_out_and_its_buffer_comes_back() {
    for completion in COMPLETIONS {
        let misbehaviour = Misbehaviour {
            never_complete: Some(3),
            ..Misbehaviour::default()
        };
        let (outcomes, disk, rig) = eight_reads(misbehaviour, completion);
        assert!(outcomes.iter().any(Result::is_ok));
        match lost(outcomes, disk, rig) {
            ControllerError::TimedOut {
                operation: Operation::Read,
                waited_ms,
                ..
            } => {
                assert!(waited_ms >= SHORT.as_millis() as u64);
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn the_fatal_status_ends_all_commands() {
    for completion in COMPLETIONS {
        let misbehaviour = Misbehaviour {
            fatal_at: Some(2),
            ..Misbehaviour::default()
        };
        let (outcomes, disk, rig) = eight_reads(misbehaviour, completion);
        let reason = lost(outcomes, disk, rig);
        assert!(matches!(reason, ControllerError::Fatal { .. }), "{reason}");
    }
}

#[test]
fn a_completion_of_no_command_stops_the_controller() {
    for completion in COMPLETIONS {
        let misbehaviour = Misbehaviour {
            unknown_command_at: Some(2),
            ..Misbehaviour::default()
        };
        let (outcomes, disk, rig) = eight_reads(misbehaviour, completion);
        let reason = lost(outcomes, disk, rig);
        assert!(
            matches!(reason, ControllerError::UnexpectedCompletion { .. }),
            "{reason}"
        );
    }
}

#[test]
fn a_command_completed_twice_gives_one_buffer() {
    for completion in COMPLETIONS {
        let misbehaviour = Misbehaviour {
            complete_twice_at: Some(2),
            ..Misbehaviour::default()
        };
        let (outcomes, disk, rig) = eight_reads(misbehaviour, completion);
        let reason = lost(outcomes, disk, rig);
        assert!(
            matches!(reason, ControllerError::UnexpectedCompletion { .. }),
            "{reason}"
        );
    }
}

#[test]
fn a_completion_in_the_wrong_phase_is_not_seen_and_the_command_times_out() {
    for completion in COMPLETIONS {
        let misbehaviour = Misbehaviour {
            wrong_phase_at: Some(2),
            ..Misbehaviour::default()
        };
        let (outcomes, disk, rig) = eight_reads(misbehaviour, completion);
        let reason = lost(outcomes, disk, rig);
        assert!(
            matches!(reason, ControllerError::TimedOut { .. }),
            "{reason}"
        );
    }
}

#[test]
fn a_controller_that_never_gets_ready_is_given_up() {
    let mut config = test_disk(4096);
    config.misbehaviour.never_ready = NeverReady::Yes;
    let mut rig = Rig::boot(MachineConfig::default().with_disk(config));
    let device = rig.attach_disk(0);
    let settings = Settings {
        ready_timeout: SHORT,
        ..Settings::default()
    };
    let failed = rig.start_on::<DmaBuffer<_>>(device, 0, settings);
    let failed = failed.err().expect("it never gets ready");
    match failed.error {
        StartError::Controller(ControllerError::NotReady { expected, .. }) => {
            assert_eq!(expected, Readiness::Ready);
        }
        other => panic!("{other}"),
    }
    failed.device.detach().expect("the device detaches");
    rig.finish();
}

#[test]
fn a_controller_that_failed_can_be_started_again() {
    let misbehaviour = Misbehaviour {
        fatal_at: Some(2),
        ..Misbehaviour::default()
    };
    let (outcomes, disk, mut rig) = eight_reads(misbehaviour, Completion::Interrupt);
    drop(outcomes);
    let failed = disk.shutdown().expect_err("it was stopped before");
    let mut disk: Disk = rig
        .start_on(failed.device, 0, Settings::default())
        .expect("the disk comes up again");
    let memory = DmaBuffer::allocate(rig.kernel, 4096).expect("there is memory");
    let blocks = Blocks { first: 0, count: 8 };
    drop(disk.read(blocks, memory).expect("it is read"));
    disk.shutdown()
        .expect("the disk shuts down")
        .detach()
        .expect("the disk detaches");
    rig.finish();
}

#[test]
fn an_overdue_command_that_was_completed_meanwhile_is_no_time_out() {
    let mut rig = Rig::boot(MachineConfig::default().with_disk(test_disk(4096)));
    let settings = Settings {
        command_timeout: SHORT,
        ..Settings::default()
    };
    let device = rig.attach_disk(0);
    let mut disk: Disk = rig
        .start_on(device, 0, settings)
        .expect("the disk comes up");
    // The disk asks for one when it has completed a command.
    let interrupts = || rig.machine.disks()[0].statistics().interrupts;
    let before = interrupts();
    let memory = DmaBuffer::allocate(rig.kernel, 4096).expect("there is memory");
    let ticket = disk
        .submit_read(0, Blocks { first: 0, count: 8 }, memory)
        .expect("there is room");
    std::thread::sleep(SHORT);
    let begun = Instant::now();
    while interrupts() == before {
        assert!(begun.elapsed() < NEVER, "it is never done");
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(disk.complete(ticket).expect("it was done in time"));
    disk.shutdown()
        .expect("the disk shuts down")
        .detach()
        .expect("the disk detaches");
    rig.finish();
}

#[test]
fn a_slow_disk_is_waited_for() {
    for completion in COMPLETIONS {
        let delay = Duration::from_millis(20);
        let misbehaviour = Misbehaviour {
            delay,
            ..Misbehaviour::default()
        };
        let (outcomes, disk, rig) = eight_reads(misbehaviour, completion);
        assert!(outcomes.iter().all(Result::is_ok));
        drop(outcomes);
        disk.shutdown()
            .expect("the disk shuts down")
            .detach()
            .expect("the disk detaches");
        rig.finish();
    }
}
