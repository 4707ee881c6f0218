//! Reads a report and says what a clean one is.

use serde_json::Value;

use crate::files::TestFile;
use crate::program::Ended;

impl Ended {
    /// The one object on standard output.
    #[track_caller]
    pub(crate) fn report(&self) -> Value {
        match serde_json::from_str(&self.stdout) {
            Ok(report @ Value::Object(_)) => report,
            other => panic!("not one JSON object ({other:?}): {self:?}"),
        }
    }

    /// The object, if there is one: a job that was given up prints none.
    pub(crate) fn report_if_any(&self) -> Option<Value> {
        (!self.stdout.is_empty()).then(|| self.report())
    }

    /// Asserts that `file` was read whole and right, and that nothing at all was out of order.
    #[track_caller]
    pub(crate) fn expect_clean(&self, file: &TestFile) -> Value {
        let report = self.expect_right(file);
        assert_eq!(report["faults_total"], 0, "{self:?}");
        assert_eq!(report["faults"], Value::Array(vec![]), "{self:?}");
        assert_eq!(report["rogue_attempts"], 0, "{self:?}");
        report
    }

    /// Asserts that `file` was read whole and right and nothing was left behind, whatever the disk tried.
    #[track_caller]
    pub(crate) fn expect_right(&self, file: &TestFile) -> Value {
        self.expect_status(0);
        assert_eq!(self.stderr, "", "{self:?}");
        let report = self.report();
        for (key, wanted) in [
            ("verified", Value::from(true)),
            ("bytes", file.len_bytes.into()),
            ("sha256", file.sha256.as_str().into()),
            ("file_sha256", file.sha256.as_str().into()),
            ("live_mappings", 0.into()),
            ("quarantined_bytes", 0.into()),
            ("frames_leaked", 0.into()),
            ("rogue_breaches", 0.into()),
            ("findings", Value::Array(vec![])),
            ("wrong", Value::Array(vec![])),
        ] {
            assert_eq!(report[key], wanted, "{key} in {self:?}");
        }
        assert!(number(&report, "maps") > 0, "{self:?}");
        assert_eq!(report["maps"], report["unmaps"], "{self:?}");
        report
    }
}

/// A count in a report.
#[track_caller]
pub(crate) fn number(report: &Value, key: &str) -> u64 {
    report[key]
        .as_u64()
        .unwrap_or_else(|| panic!("{key} is no count in {report:#}"))
}
