//! A progress bar on standard error; none where that is no terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How far a disk has been moved.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// A bar of `len_bytes`, labelled `what`.
    pub(crate) fn new(what: &'static str, len_bytes: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(len_bytes), ProgressDrawTarget::stderr());
        let style = "{msg:>8} [{wide_bar}] {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what);
        Self(bar)
    }

    /// `bytes` more are done.
    pub(crate) fn advance(&self, bytes: usize) {
        self.0.inc(bytes as u64);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
