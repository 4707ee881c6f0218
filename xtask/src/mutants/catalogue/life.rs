//! Devices that are reset, go, or sleep: what comes back, and when.

use super::super::mutation::{Mutation, Selection, Test};

const UNCONFIRMED: &str = "dmamap/src/iommu/unconfirmed.rs";
const RESET: &str = "dmamap/src/pci/reset.rs";
const SLEEP: &str = "dmamap/src/system/sleep.rs";

const fn quarantine(name: &'static str) -> Test {
    Test::program("dmamap", "life/quarantine", name)
}

const fn reset(name: &'static str) -> Test {
    Test::program("dmamap", "life/reset", name)
}

const fn controls(name: &'static str) -> Test {
    Test::program("dmamap", "life/controls", name)
}

const fn quiesce(name: &'static str) -> Test {
    Test::program("dmamap", "life/quiesce", name)
}

const fn sleep(name: &'static str) -> Test {
    Test::program("dmamap", "life/sleep", name)
}

const fn interrupted(name: &'static str) -> Test {
    Test::program("dmamap", "system/interrupted", name)
}

const fn power(name: &'static str) -> Test {
    Test::program("dmamap", "system/power", name)
}

pub(super) const ALL: &[Mutation] = &[
    Mutation {
        name: "extended-capabilities-not-saved",
        selection: Selection::Whole,
        file: "dmamap/src/pci/saved.rs",
        find: "self.header.iter().chain(&self.controls.after_bars)",
        replace: "self.header.iter()",
        why: "a device that was reset reports no errors, and asks for what its port does not take",
        caught_by: &[
            controls("a_reset_gives_all_control_registers_back"),
            controls("a_loss_of_power_gives_all_control_registers_back_those_of_ports_too"),
        ],
    },
    Mutation {
        name: "resized-registers-not-resized-again",
        selection: Selection::Whole,
        file: "dmamap/src/pci/saved.rs",
        find: "for register in &self.controls.before_bars { register.restore(config); }",
        replace: "",
        why: "a base address register decodes less than what was claimed of it",
        caught_by: &[controls("a_reset_gives_all_control_registers_back")],
    },
    Mutation {
        name: "recovery-without-invalidation",
        selection: Selection::Core,
        file: UNCONFIRMED,
        find: "let outcome = self.each_walker(|unit| unit.invalidate(self.id, change));",
        replace: "let outcome = { let _ = change; Ok::<(), UnitError>(()) };",
        why: "memory leaves quarantine while a unit still translates to it",
        caught_by: &[
            quarantine("memory_comes_back_when_the_unit_answers_again"),
            quarantine("recovered_memory_is_out_of_the_devices_reach"),
        ],
    },
    Mutation {
        name: "recovered-addresses-kept",
        selection: Selection::Whole,
        file: UNCONFIRMED,
        find: "inner.iova.release_kept(kept);",
        replace: "let _ = kept;",
        why: "bus addresses are lost for ever",
        caught_by: &[quarantine("what_is_in_quarantine_is_lent_to_nobody")],
    },
    Mutation {
        name: "kept-units-forgotten-when-nothing-is-confirmed",
        selection: Selection::Whole,
        file: "dmamap/src/iova/kept.rs",
        find: "it.kept.join(asked);",
        replace: "let _ = asked;",
        why: "bus addresses are lost for ever, and could be freed while a unit translates them",
        caught_by: &[quarantine("memory_comes_back_when_the_unit_answers_again")],
    },
    Mutation {
        name: "virtio-detach-not-asked-again",
        selection: Selection::Core,
        file: "dmamap/src/iommu/virtio/mod.rs",
        find: "let (domain, last) = match self.devices.leave(attachment.stream) {
            Some(Leaver { domain, last }) => (domain, last),
            None => (domain, None),
        };",
        replace: "let _ = domain;
        let Some(Leaver { domain, last }) = self.devices.leave(attachment.stream) else {
            return Ok(());
        };
        self.devices.clear(attachment.stream);",
        why: "a detach that was never answered counts as confirmed the second time",
        caught_by: &[quarantine(
            "a_detach_that_was_not_confirmed_can_be_made_up_for",
        )],
    },
    Mutation {
        name: "reset-without-waiting-for-transactions",
        selection: Selection::Whole,
        file: RESET,
        find: "self.drain(Deadline::in_ms(platform, patience.pending_ms))",
        replace: "self.drain(Deadline::in_ms(platform, 0))",
        why: "a completion that comes after the reset is taken for another request's",
        caught_by: &[reset("a_reset_waits_for_requests_under_way")],
    },
    Mutation {
        name: "reset-does-not-wait-for-the-function",
        selection: Selection::Whole,
        file: RESET,
        find: "self.wait_until_ready(Deadline::in_ms(platform, patience.ready_ms))?;",
        replace: "",
        why: "a function is configured that does not listen yet, or is gone for good",
        caught_by: &[reset(
            "a_device_that_never_comes_back_is_told_of_and_stays_cut_off",
        )],
    },
    Mutation {
        name: "bus-master-before-recovery",
        selection: Selection::Whole,
        file: "dmamap/src/device/recovery.rs",
        find: "let recovered_bytes = self.recover()?;",
        replace: "core.system.let_master(core); let recovered_bytes = self.recover()?;",
        why: "the device goes on although its unit does not answer",
        caught_by: &[reset("a_reset_gives_quarantined_memory_back")],
    },
    Mutation {
        name: "boot-does-not-wait-for-transactions",
        selection: Selection::Whole,
        file: "dmamap/src/pci/scan.rs",
        find: "quiesce_found(platform, others.map(|(function, _)| function), problems);",
        replace: "if false { quiesce_found(platform, others.map(|(function, _)| function), problems); }",
        why: "what an earlier kernel's devices have under way arrives in memory of this one",
        caught_by: &[
            quiesce("devices_of_an_earlier_kernel_are_quiet_before_units_start"),
            quiesce("message_interrupts_of_an_earlier_kernel_are_off"),
        ],
    },
    Mutation {
        name: "units-asked-while-asleep",
        selection: Selection::Whole,
        file: SLEEP,
        find: "unit.sleep();",
        replace: "",
        why: "an unmap is confirmed by a unit that is about to forget it, or is waited for in vain",
        caught_by: &[sleep(
            "while_it_sleeps_nothing_is_promised_that_nobody_can_keep",
        )],
    },
    Mutation {
        name: "units-not-restarted-at-resume",
        selection: Selection::Core,
        file: SLEEP,
        find: "if let Err(error) = unit.restart() {",
        replace: "if let Err(error) = unit.turn_on() {",
        why: "a unit that lost its state translates nothing, or lets everything pass",
        caught_by: &[sleep("what_is_mapped_stays_mapped_through_a_loss_of_power")],
    },
    Mutation {
        name: "configuration-not-restored-at-resume",
        selection: Selection::Whole,
        file: SLEEP,
        find: "if saved.restore(function.config(), master).is_err() {",
        replace: "let _ = (saved, master); if false {",
        why: "functions answer nowhere after they lost their power",
        caught_by: &[sleep("what_is_mapped_stays_mapped_through_a_loss_of_power")],
    },
    Mutation {
        name: "devices-at-work-while-asleep",
        selection: Selection::Core,
        file: SLEEP,
        find: "end_requests(platform, &devices, Function::disable_bus_master)",
        replace: "end_requests(platform, &devices, |_: &Function<P>| ())",
        why: "devices make requests while units start, and may be let through",
        caught_by: &[sleep("what_is_mapped_stays_mapped_through_a_loss_of_power")],
    },
    Mutation {
        name: "beginnings-counted-before-ends",
        selection: Selection::Core,
        file: "dmamap/src/device/counters.rs",
        find: "let (unmapped, withdrawn) = (sum(|share| &share.unmapped), sum(|share| &share.withdrawn)); Counts { unmapped, withdrawn, begun: sum(|share| &share.begun), }",
        replace: "let begun = sum(|share| &share.begun); Counts { begun, unmapped: sum(|share| &share.unmapped), withdrawn: sum(|share| &share.withdrawn) }",
        why: "a device's core is freed under a mapping that began, while another ended, after its CPU was looked at",
        caught_by: &[Test::library(
            "dmamap",
            "device::counters::tests::a_device_that_is_never_without_a_mapping_is_never_seen_without",
        )],
    },
    Mutation {
        name: "attached-while-quiescing",
        selection: Selection::Whole,
        file: "dmamap/src/system/quiesce.rs",
        find: "core::mem::replace(&mut state.phase, Phase::Changing)",
        replace: "state.phase",
        why: "a device makes requests on a machine that counts as quiet",
        caught_by: &[interrupted(
            "nobody_is_attached_while_the_machine_is_quiesced",
        )],
    },
    Mutation {
        name: "flush-waits-for-another-for-ever",
        selection: Selection::Whole,
        file: "dmamap/src/iommu/retire.rs",
        find: "if let Ok(outcome) = self.wait_for(|inner| inner.outcome(owed, outcome)) {
            return outcome;
        }",
        replace: "loop {
            if let Ok(outcome) = self.wait_for(|inner| inner.outcome(owed, outcome)) {
                return outcome;
            }
        }
        #[allow(unreachable_code)]",
        why: "an interrupt handler waits for the flush that it interrupted",
        caught_by: &[interrupted(
            "a_flush_that_interrupts_a_flush_on_the_same_cpu_ends",
        )],
    },
    Mutation {
        name: "flush-does-not-ask-again",
        selection: Selection::Whole,
        file: "dmamap/src/device/protection.rs",
        find: "match domain.is_confirmed() {",
        replace: "match true {",
        why: "a flush says that the device lost what a unit never confirmed",
        caught_by: &[interrupted(
            "a_flush_after_one_that_failed_asks_the_units_again",
        )],
    },
    Mutation {
        name: "access-control-lost-with-the-power",
        selection: Selection::Whole,
        file: "dmamap/src/pci/saved/capabilities.rs",
        find: "self.word(function, at + ACS_CONTROL);",
        replace: "let _: u16 = config.read(at + ACS_CONTROL);",
        why: "devices below a port that isolated them reach each other after a sleep",
        caught_by: &[power("access_control_comes_back_with_the_power")],
    },
    Mutation {
        name: "lost-function-masters-the-bus",
        selection: Selection::Whole,
        file: SLEEP,
        find: "if !lost.contains(&held.core().function.address()) {",
        replace: "{",
        why: "a function makes requests that is not configured as its driver knows it",
        caught_by: &[power("a_function_that_is_lost_over_sleep_is_no_bus_master")],
    },
    Mutation {
        name: "time-to-wake-spent-on-the-first",
        selection: Selection::Whole,
        file: SLEEP,
        find: "if is_cut_off || !function.is_ready() {",
        replace: "if is_cut_off || function.wait_until_ready(deadline).is_err() {",
        why: "a function that never comes back has those after it lost, which only come back later",
        caught_by: &[power(
            "a_function_that_never_answers_takes_no_time_from_those_after_it",
        )],
    },
    Mutation {
        name: "functions-waited-for-one-by-one",
        selection: Selection::Whole,
        file: "dmamap/src/pci/quiesce.rs",
        find: "device.drain(deadline)",
        replace: "device.drain(Deadline::in_ms(platform, PENDING_MS))",
        why: "a machine with many devices that hang takes minutes to go down",
        caught_by: &[power(
            "many_that_do_not_answer_are_waited_for_no_longer_than_one",
        )],
    },
];
