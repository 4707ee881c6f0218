//! Random steps on machines of every temper, compared with the oracle.

use dmamap::system::Protection;
use journeys::boot::BootOptions;
use journeys::differential::{DifferentialReport, differential};
use machine::MachineConfig;
use machine::temper::Temper;
use rig::Rig;
use rig::disks::test_disk;

fn seed() -> u64 {
    let given = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| u64::from(std::process::id()));
    println!("SEED={seed}");
    seed
}

#[test]
fn a_thousand_random_steps_agree_on_every_temper() {
    for temper in [Temper::Keep, Temper::Forget, Temper::Random(1)] {
        let config = MachineConfig::default()
            .with_temper(temper)
            .with_disk(test_disk(4096));
        let mut rig = Rig::boot(config);
        let report = differential(&mut rig.computer, seed(), 1_000);
        let report = report.unwrap_or_else(|error| panic!("{temper:?}: {error}"));
        assert!(report.allowed > 100 && report.refused > 100, "{report:?}");
        assert!(report.unmaps > 20 && report.attaches > 2, "{report:?}");
        rig.finish_after_faults();
    }
}

/// As many steps where unmaps share flushes.
fn share_flushes(temper: Temper, seed: u64) -> DifferentialReport {
    let config = MachineConfig::default()
        .with_temper(temper)
        .with_disk(test_disk(4096));
    let options = BootOptions {
        protection: Protection::Deferred,
        ..BootOptions::default()
    };
    let mut rig = Rig::boot_with(config, options);
    let report = differential(&mut rig.computer, seed, 1_000);
    let report = report.unwrap_or_else(|error| panic!("{temper:?}, {seed}: {error}"));
    rig.finish_after_faults();
    report
}

/// Turns with other seeds, before what happens in most is held to happen never.
const TURNS: u64 = 30;

#[test]
fn a_thousand_random_steps_agree_where_unmaps_share_flushes() {
    let seed = seed();
    for temper in [Temper::Keep, Temper::Forget, Temper::Random(1)] {
        // How much is tried in the window before a flush is chance, and so is what a unit still remembers then.
        let mut reports = (0..TURNS).map(|turn| share_flushes(temper, seed.wrapping_add(turn)));
        let shows = |report: &DifferentialReport| {
            // What remembers nothing walks tables, and finds nothing there.
            if temper == Temper::Forget {
                assert_eq!(report.reached, 0, "{report:?}");
            }
            report.allowed > 50
                && report.refused > 50
                && report.retired > 50
                && report.exposed > 20
                && (temper != Temper::Keep || report.reached > 0)
        };
        assert!(reports.any(|report| shows(&report)), "{temper:?}");
    }
}
