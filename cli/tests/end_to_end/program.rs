//! Starts the program and waits for it, never longer than its deadline.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The program under test.
pub(crate) const PATH: &str = env!("CARGO_BIN_EXE_dmamap");

/// How long a run may take: many times what it does take, on a machine busy with other tests.
const TIMEOUT: Duration = Duration::from_secs(600);

/// How often a running program is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// A run of the program that is being prepared.
pub(crate) struct Program {
    command: Command,
    stdout: Option<Stdio>,
    stderr: Option<Stdio>,
}

impl Program {
    /// `dmamap`
    pub(crate) fn alone() -> Self {
        Self::started_as(Command::new(PATH))
    }

    /// `dmamap run FILE`
    pub(crate) fn reads(file: impl AsRef<Path>) -> Self {
        Self::alone().args(["run"]).args([file.as_ref()])
    }

    /// The program, as another one starts it.
    pub(crate) fn started_as(mut command: Command) -> Self {
        command.stdin(Stdio::null()).env_remove("DMAMAP_LOG");
        Self {
            command,
            stdout: None,
            stderr: None,
        }
    }

    /// With more arguments.
    pub(crate) fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(args);
        self
    }

    /// With standard output elsewhere: what it says there is lost.
    pub(crate) fn stdout_to(mut self, stdout: impl Into<Stdio>) -> Self {
        self.stdout = Some(stdout.into());
        self
    }

    /// With standard error elsewhere.
    pub(crate) fn stderr_to(mut self, stderr: impl Into<Stdio>) -> Self {
        self.stderr = Some(stderr.into());
        self
    }

    /// Starts it.
    pub(crate) fn start(self) -> Running {
        self.try_start().expect("the program starts")
    }

    /// Starts it, if the host lets it.
    pub(crate) fn try_start(mut self) -> io::Result<Running> {
        // Files, not pipes: a pipe that nobody empties would stop a talkative program.
        let (out, err) = (tempfile::tempfile()?, tempfile::tempfile()?);
        let stdout = self.stdout.take().unwrap_or(out.try_clone()?.into());
        let stderr = self.stderr.take().unwrap_or(err.try_clone()?.into());
        let child = self.command.stdout(stdout).stderr(stderr).spawn()?;
        Ok(Running {
            shown: format!("{:?}", self.command),
            child,
            out,
            err,
            deadline: Instant::now() + TIMEOUT,
        })
    }

    /// Starts it and waits for its end.
    pub(crate) fn finish(self) -> Ended {
        self.start().finish()
    }
}

/// The program at work. Dropped, it is killed.
pub(crate) struct Running {
    shown: String,
    child: Child,
    out: File,
    err: File,
    deadline: Instant,
}

impl Running {
    /// Waits until standard output holds `words`, or the program has ended.
    pub(crate) fn wait_for(&mut self, words: &str) {
        while !content(&self.out).contains(words) && self.poll().is_none() {}
    }

    /// Its directory in `/proc`, which may be gone any moment.
    pub(crate) fn proc_dir(&self) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string())
    }

    /// Gives the program a moment; its status, if it has ended.
    ///
    /// # Panics
    /// It has had its time.
    pub(crate) fn poll(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().expect("a child can be waited for");
        if status.is_none() {
            assert!(
                Instant::now() < self.deadline,
                "{} hangs; so far it said:\n{}{}",
                self.shown,
                content(&self.out),
                content(&self.err)
            );
            thread::sleep(LOOK_EVERY);
        }
        status
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Ended {
        let status = loop {
            if let Some(status) = self.poll() {
                break status;
            }
        };
        Ended {
            shown: self.shown.clone(),
            status,
            stdout: content(&self.out),
            stderr: content(&self.err),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // An error means that it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What became of a run.
pub(crate) struct Ended {
    shown: String,
    status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// All of it, as one reads it on a terminal.
impl fmt::Debug for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ended with {}", self.shown, self.status)?;
        writeln!(f, "-- standard output:\n{}", self.stdout)?;
        write!(f, "-- standard error:\n{}", self.stderr)
    }
}

impl Ended {
    /// Asserts its exit status, and that it did not panic.
    #[track_caller]
    pub(crate) fn expect_status(&self, code: i32) -> &Self {
        assert_eq!(self.status.code(), Some(code), "{self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        self
    }

    /// Asserts that it refused its input: status 2, and a message with all these words in it.
    #[track_caller]
    pub(crate) fn expect_refused(&self, words: &[&str]) {
        self.expect_status(2).expect_message(words);
    }

    /// Asserts that it gave up its work: status 1, and a message with all these words in it.
    #[track_caller]
    pub(crate) fn expect_failed(&self, words: &[&str]) {
        self.expect_status(1).expect_message(words);
    }

    #[track_caller]
    fn expect_message(&self, words: &[&str]) {
        for word in words {
            assert!(self.stderr.contains(word), "no {word:?} in {self:?}");
        }
        let lines = self.stderr.lines().filter(|line| !line.is_empty());
        assert!((1..=6).contains(&lines.count()), "not a message: {self:?}");
    }
}

/// All of a file, whose position is left alone: the program writes at it.
fn content(file: &File) -> String {
    let mut bytes = Vec::new();
    let mut piece = [0; 16 << 10];
    loop {
        match file.read_at(&mut piece, bytes.len() as u64) {
            Ok(0) => return String::from_utf8_lossy(&bytes).into_owned(),
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
            Err(error) => panic!("what the program said cannot be read: {error}"),
        }
    }
}
