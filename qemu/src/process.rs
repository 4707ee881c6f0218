//! QEMU as a child process: it ends with its owner, whichever way that ends, and what it said stays.

use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Most bytes kept of what QEMU says.
const MAX_SAID_BYTES: usize = 64 << 10;

/// How often an ending process is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// A running QEMU. Killed and reaped when dropped.
pub(crate) struct Process {
    child: Arc<Mutex<Child>>,
    said: Arc<Mutex<Vec<u8>>>,
    /// Starts QEMU, listens to it, and lives as long as it does.
    keeper: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts `command`, which inherits `files` under their numbers.
    pub(crate) fn spawn(mut command: Command, files: &[BorrowedFd<'_>]) -> io::Result<Self> {
        let files: Vec<RawFd> = files.iter().map(AsRawFd::as_raw_fd).collect();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let parent = rustix::process::getpid();
        // SAFETY: between fork and exec the closure makes system calls alone, and allocates nothing.
        unsafe { command.pre_exec(move || prepare(parent, &files)) };

        let said: Arc<Mutex<Vec<u8>>> = Arc::default();
        let (tell, started) = mpsc::channel();
        // The host ends QEMU when the thread that started it ends: so that thread keeps it, to its end.
        let keeper = {
            let said = Arc::clone(&said);
            thread::Builder::new()
                .name("qemu".into())
                .spawn(move || keep(command, &tell, &said))?
        };
        match started.recv() {
            Ok(Ok(child)) => Ok(Self {
                child,
                said,
                keeper: Some(keeper),
            }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::ErrorKind::Other.into()),
        }
    }

    /// What it said so far, on its error output.
    pub(crate) fn said(&self) -> String {
        String::from_utf8_lossy(&self.said.lock()).trim().to_owned()
    }

    /// Waits until it has ended and all it said was heard; `false` if `patience` was too short.
    pub(crate) fn ended_within(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while self
            .keeper
            .as_ref()
            .is_some_and(|keeper| !keeper.is_finished())
        {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(LOOK);
        }
        true
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.lock().id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only if it has ended.
        let _ = self.child.lock().kill();
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}

fn keep(
    mut command: Command,
    tell: &mpsc::Sender<io::Result<Arc<Mutex<Child>>>>,
    said: &Mutex<Vec<u8>>,
) {
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let _ = tell.send(Err(error));
            return;
        }
    };
    drop(command);
    let voice = child.stderr.take();
    let child = Arc::new(Mutex::new(child));
    let _ = tell.send(Ok(Arc::clone(&child)));
    if let Some(mut voice) = voice {
        let mut buffer = [0; 4096];
        while let Ok(len @ 1..) = voice.read(&mut buffer) {
            let mut said = said.lock();
            let room = MAX_SAID_BYTES - said.len();
            said.extend_from_slice(&buffer[..len.min(room)]);
        }
    }
    // Not `wait` under the lock: somebody may want to kill it.
    while matches!(child.lock().try_wait(), Ok(None)) {
        thread::sleep(LOOK);
    }
}

/// In the child before it becomes QEMU.
fn prepare(parent: rustix::process::Pid, files: &[RawFd]) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    if rustix::process::getppid() != Some(parent) {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    for file in files {
        // SAFETY: the caller of `spawn` borrowed the file, so the number is open, here as in the parent.
        let file = unsafe { BorrowedFd::borrow_raw(*file) };
        rustix::io::fcntl_setfd(file, rustix::io::FdFlags::empty())?;
    }
    Ok(())
}
