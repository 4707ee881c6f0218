//! What QEMU's VT-d does in each of its modes: which tables it walks, and which reasons its faults have.

mod support;

use dmamap::system::{Settings, Stage, TableMode};
use hw::vtd::pasid;
use hw::vtd::regs::TranslationTableMode;
use hw::vtd::root::{self, TranslationType};
use support::refusal::{Attempt, Tables, refuse};
use support::walk::vtd::{Places, root_table};

/// A bit of an address that is beyond the unit's: reserved.
const BEYOND: u64 = 1 << 51;

/// A unit, and how it is told to translate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Legacy,
    FirstStage,
    SecondStage,
}

impl Way {
    fn settings(self) -> Settings {
        let (mode, stage) = match self {
            Self::Legacy => (TableMode::Legacy, None),
            Self::FirstStage => (TableMode::Scalable, Some(Stage::First)),
            Self::SecondStage => (TableMode::Scalable, Some(Stage::Second)),
        };
        Settings {
            mode: Some(mode),
            stage,
            ..Settings::default()
        }
    }

    fn board(self) -> &'static str {
        match self {
            Self::Legacy => "q35-vtd",
            Self::FirstStage => "q35-vtd-first-stage",
            Self::SecondStage => "q35-vtd-second-stage",
        }
    }

    fn mode(self) -> TranslationTableMode {
        match self {
            Self::Legacy => TranslationTableMode::Legacy,
            Self::FirstStage | Self::SecondStage => TranslationTableMode::Scalable,
        }
    }
}

/// Boots `board` for `attempt` and checks that it is refused for this reason, by tables of `mode`.
#[track_caller]
fn check(
    (board, settings, mode): (&str, Settings, TranslationTableMode),
    attempt: Attempt,
    alter: impl Fn(&mut Tables<'_>),
    (code, text): (u16, &str),
) {
    let alter = |tables: &mut Tables<'_>| {
        assert_eq!(root_table(tables).ttm(), mode, "{board}");
        alter(tables);
    };
    if let Some(refusal) = refuse(board, settings, attempt, alter) {
        refusal.check(&format!("{board}, {attempt:?}"), code, text);
    }
}

/// Checks what is refused by tables as they are: a read and a write of what is not mapped, and a write of what may be
/// read.
#[track_caller]
fn check_attempts(
    board: &str,
    settings: Settings,
    mode: TranslationTableMode,
    reasons: [(u16, &str); 3],
) {
    let attempts = [
        Attempt::ReadUnmapped,
        Attempt::WriteUnmapped,
        Attempt::WriteReadOnly,
    ];
    for (attempt, reason) in attempts.into_iter().zip(reasons) {
        check((board, settings, mode), attempt, |_| {}, reason);
    }
}

/// Checks the reason for refusing a read by tables that were altered.
#[track_caller]
fn check_altered(way: Way, alter: fn(&mut Tables<'_>, Places), reason: (u16, &str)) {
    let unit = (way.board(), way.settings(), way.mode());
    let alter = |tables: &mut Tables<'_>| {
        let places = Places::find(tables);
        alter(tables, places);
    };
    check(unit, Attempt::Read, alter, reason);
}

const READ: (u16, &str) = (6, "read not permitted");
const WRITE: (u16, &str) = (5, "write not permitted");
const NOT_PRESENT: (u16, &str) = (0x71, "first-stage entry not present");
const SCALABLE_WRITE: (u16, &str) = (0x85, "scalable mode: write not permitted");

#[test]
fn legacy_mode_gives_legacy_reasons_on_every_unit() {
    for board in ["q35-vtd", "q35-vtd-first-stage", "q35-vtd-second-stage"] {
        let settings = Way::Legacy.settings();
        let mode = TranslationTableMode::Legacy;
        check_attempts(board, settings, mode, [READ, WRITE, WRITE]);
    }
}

#[test]
fn first_stage_tables_are_walked_where_the_unit_has_them() {
    let reasons = [NOT_PRESENT, NOT_PRESENT, SCALABLE_WRITE];
    for settings in [Settings::default(), Way::FirstStage.settings()] {
        let mode = TranslationTableMode::Scalable;
        check_attempts("q35-vtd-first-stage", settings, mode, reasons);
    }
}

#[test]
fn second_stage_tables_give_the_reasons_of_legacy_mode() {
    for settings in [Settings::default(), Way::SecondStage.settings()] {
        let mode = TranslationTableMode::Scalable;
        check_attempts("q35-vtd-second-stage", settings, mode, [READ, WRITE, WRITE]);
    }
}

#[test]
fn a_reserved_bit_of_a_leaf_is_told() {
    let beyond = |tables: &mut Tables<'_>, places: Places| {
        tables.alter(places.leaf, |word| word | BEYOND);
    };
    let reserved = (0xc, "reserved field of page-table entry not zero");
    check_altered(Way::Legacy, beyond, reserved);
    check_altered(Way::SecondStage, beyond, reserved);
    let reserved = (0x72, "reserved field of first-stage entry not zero");
    check_altered(Way::FirstStage, beyond, reserved);
}

/// QEMU gives the reasons of legacy mode in scalable mode too, where the manual has others (0x39, 0x3a).
#[test]
fn a_bad_root_entry_is_told() {
    for way in [Way::Legacy, Way::FirstStage] {
        let absent = |tables: &mut Tables<'_>, places: Places| {
            tables.alter(places.root, |word| word & !1);
        };
        check_altered(way, absent, (1, "root entry not present"));
        let beyond = |tables: &mut Tables<'_>, places: Places| {
            tables.alter(places.root, |word| word | BEYOND);
        };
        check_altered(way, beyond, (0xa, "reserved field of root entry not zero"));
    }
}

/// As with root entries, the reasons in scalable mode are those of legacy mode, not the manual's (0x41, 0x42).
#[test]
fn a_bad_context_entry_is_told() {
    for way in [Way::Legacy, Way::FirstStage] {
        let absent = |tables: &mut Tables<'_>, places: Places| {
            tables.alter(places.context, |word| word & !1);
        };
        check_altered(way, absent, (2, "context entry not present"));
        let beyond = |tables: &mut Tables<'_>, places: Places| {
            tables.alter(places.context, |word| word | BEYOND);
        };
        check_altered(
            way,
            beyond,
            (0xb, "reserved field of context entry not zero"),
        );
    }
    let no_type = |tables: &mut Tables<'_>, places: Places| {
        tables.alter(places.context, |word| {
            let entry = root::ContextEntry::from_words([word, 0]);
            entry.with_tt(TranslationType::Reserved).to_words()[0]
        });
    };
    check_altered(Way::Legacy, no_type, (3, "context entry invalid"));
}

#[test]
fn a_bad_pasid_entry_is_told() {
    for way in [Way::FirstStage, Way::SecondStage] {
        let absent = |tables: &mut Tables<'_>, places: Places| {
            let (directory, _) = places.pasid.expect("scalable mode");
            tables.alter(directory, |word| word & !1);
        };
        check_altered(way, absent, (0x51, "PASID-directory entry not present"));
        let absent = |tables: &mut Tables<'_>, places: Places| {
            let (_, entry) = places.pasid.expect("scalable mode");
            tables.alter(entry, |word| word & !1);
        };
        check_altered(way, absent, (0x59, "PASID-table entry not present"));
        let no_type = |tables: &mut Tables<'_>, places: Places| {
            let (_, entry) = places.pasid.expect("scalable mode");
            tables.alter(entry, |word| {
                let entry = pasid::Entry::from_words([word, 0, 0, 0, 0, 0, 0, 0]);
                entry.with_pgtt(pasid::Translation::Reserved).to_words()[0]
            });
        };
        check_altered(way, no_type, (0x5b, "PASID-table entry invalid"));
    }
}
