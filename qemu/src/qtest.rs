//! Registers over a socket: QEMU's qtest protocol, a line there, a line back.
//!
//! One request is under way at a time. After the first failure nothing is sent any more: whoever reads gets all ones,
//! as where no hardware answers, and the failure is kept for those who ask.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use board::hardware::Width;
use parking_lot::Mutex;

/// How long QEMU may take for one answer. Most take microseconds; the slowest steps a clock with devices on it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Longest answer to a request made here.
const MAX_ANSWER_BYTES: usize = 256;

/// Why QEMU is not asked any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QtestError {
    /// The connection broke: QEMU ended.
    #[error("QEMU ended while it was asked to `{request}`")]
    Closed {
        /// What it was asked.
        request: String,
    },
    /// The connection failed, or QEMU was silent for too long.
    #[error("no answer to `{request}`: {error}")]
    Broken {
        /// What it was asked.
        request: String,
        /// What the host said.
        error: io::ErrorKind,
    },
    /// QEMU refused a request, or answered something else.
    #[error("QEMU answered {answer:?} to `{request}`")]
    Refused {
        /// What it was asked.
        request: String,
        /// What it said.
        answer: String,
    },
}

/// A connection to a QEMU.
pub(crate) struct Qtest {
    stream: Mutex<UnixStream>,
    failure: OnceLock<QtestError>,
    requests: AtomicU64,
}

impl Qtest {
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream: Mutex::new(stream),
            failure: OnceLock::new(),
            requests: AtomicU64::new(0),
        })
    }

    /// Waits until QEMU answers: its machine has been reset then, and its memory is the caller's.
    pub(crate) fn wait_for_machine(&self) -> Result<(), QtestError> {
        self.request(format_args!("endianness")).map(drop)
    }

    /// Reads the memory-mapped register at `phys`.
    pub(crate) fn read(&self, phys: u64, width: Width) -> Result<u64, QtestError> {
        self.value(format_args!("read{} {phys:#x}", suffix(width)))
    }

    /// Writes the memory-mapped register at `phys`.
    pub(crate) fn write(&self, phys: u64, width: Width, value: u64) -> Result<(), QtestError> {
        let value = value & width.ones();
        self.request(format_args!("write{} {phys:#x} {value:#x}", suffix(width)))
            .map(drop)
    }

    /// Reads an IO port. There are none of 64 bits: `None`.
    pub(crate) fn read_port(&self, port: u16, width: Width) -> Option<Result<u64, QtestError>> {
        (width != Width::Qword).then(|| self.value(format_args!("in{} {port:#x}", suffix(width))))
    }

    /// Writes an IO port; one of 64 bits is nobody's.
    pub(crate) fn write_port(&self, port: u16, width: Width, value: u64) -> Result<(), QtestError> {
        if width == Width::Qword {
            return Ok(());
        }
        let value = value & width.ones();
        self.request(format_args!("out{} {port:#x} {value:#x}", suffix(width)))
            .map(drop)
    }

    /// Lets `ns` nanoseconds pass on QEMU's clock; timers that end meanwhile run. Returns the time.
    pub(crate) fn step_clock(&self, ns: u64) -> Result<u64, QtestError> {
        self.value(format_args!("clock_step {ns}"))
    }

    /// The first failure.
    pub(crate) fn failure(&self) -> Option<QtestError> {
        self.failure.get().cloned()
    }

    /// Number of requests so far.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// A request whose answer is a number.
    fn value(&self, request: fmt::Arguments<'_>) -> Result<u64, QtestError> {
        let answer = self.request(request)?;
        number(&answer).ok_or_else(|| {
            let request = request.to_string();
            self.fail(QtestError::Refused { request, answer })
        })
    }

    /// The answer without its "OK".
    fn request(&self, request: fmt::Arguments<'_>) -> Result<String, QtestError> {
        if let Some(failure) = self.failure.get() {
            return Err(failure.clone());
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        let line = format!("{request}\n");
        let said = {
            let mut stream = self.stream.lock();
            stream
                .write_all(line.as_bytes())
                .and_then(|()| read_line(&mut stream))
        };
        let request = || line.trim().to_owned();
        match said {
            Ok(Some(answer)) => match answer.strip_prefix("OK") {
                Some(rest) => Ok(rest.trim().to_owned()),
                None => Err(self.fail(QtestError::Refused {
                    request: request(),
                    answer,
                })),
            },
            Ok(None) => Err(self.fail(QtestError::Closed { request: request() })),
            Err(error) if is_closed(error.kind()) => {
                Err(self.fail(QtestError::Closed { request: request() }))
            }
            Err(error) => {
                let error = error.kind();
                Err(self.fail(QtestError::Broken {
                    request: request(),
                    error,
                }))
            }
        }
    }

    fn fail(&self, error: QtestError) -> QtestError {
        log::error!("{error}");
        let _ = self.failure.set(error.clone());
        error
    }
}

/// A line without its end; `None` if the other end closed.
fn read_line(stream: &mut UnixStream) -> io::Result<Option<String>> {
    let mut line = [0; MAX_ANSWER_BYTES];
    let mut len = 0;
    loop {
        match stream.read(&mut line[len..]) {
            Ok(0) if len == line.len() => return Err(io::ErrorKind::InvalidData.into()),
            Ok(0) => return Ok(None),
            Ok(more) => len += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        // One request is under way, so nothing follows the line.
        if line[..len].ends_with(b"\n") {
            return Ok(Some(String::from_utf8_lossy(&line[..len - 1]).into_owned()));
        }
    }
}

fn is_closed(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected};
    matches!(kind, BrokenPipe | ConnectionReset | NotConnected)
}

fn number(answer: &str) -> Option<u64> {
    match answer.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => answer.parse().ok(),
    }
}

fn suffix(width: Width) -> char {
    match width {
        Width::Byte => 'b',
        Width::Word => 'w',
        Width::Dword => 'l',
        Width::Qword => 'q',
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufRead;
    use std::thread;

    use super::*;

    /// Asks a peer that expects `requests` and answers each as told, then closes.
    fn peer(requests: &'static [(&str, &str)]) -> Qtest {
        let (ours, theirs) = UnixStream::pair().unwrap();
        thread::spawn(move || {
            let mut lines = io::BufReader::new(theirs.try_clone().unwrap());
            let mut theirs = theirs;
            for (request, answer) in requests {
                let mut line = String::new();
                lines.read_line(&mut line).unwrap();
                assert_eq!(line.trim(), *request);
                theirs.write_all(answer.as_bytes()).unwrap();
            }
        });
        Qtest::new(ours).unwrap()
    }

    #[test]
    fn requests_are_lines_of_the_protocol() {
        let qtest = peer(&[
            ("endianness", "OK little\n"),
            ("readl 0xfed90000", "OK 0x00000000deadbeef\n"),
            ("writeb 0x10 0x34", "OK\n"),
            ("inw 0xcfc", "OK 0x29c0\n"),
            ("outl 0xcf8 0x80000060", "OK\n"),
            ("clock_step 1000", "OK 1000\n"),
        ]);
        assert_eq!(qtest.wait_for_machine(), Ok(()));
        assert_eq!(qtest.read(0xfed9_0000, Width::Dword), Ok(0xdead_beef));
        assert_eq!(qtest.write(0x10, Width::Byte, 0x1234), Ok(()));
        assert_eq!(qtest.read_port(0xcfc, Width::Word), Some(Ok(0x29c0)));
        assert_eq!(qtest.write_port(0xcf8, Width::Dword, 0x8000_0060), Ok(()));
        assert_eq!(qtest.step_clock(1000), Ok(1000));
        assert_eq!(qtest.read_port(0, Width::Qword), None);
        assert_eq!((qtest.requests(), qtest.failure()), (6, None));
    }

    #[test]
    fn after_a_failure_nothing_is_asked_any_more() {
        let qtest = peer(&[("readb 0x0", "OK 0x1\n")]);
        assert_eq!(qtest.read(0, Width::Byte), Ok(1));
        let closed = qtest.read(1, Width::Byte).unwrap_err();
        assert!(matches!(&closed, QtestError::Closed { request } if request == "readb 0x1"));
        assert_eq!(qtest.write(2, Width::Byte, 0), Err(closed.clone()));
        assert_eq!((qtest.requests(), qtest.failure()), (2, Some(closed)));
    }

    #[test]
    fn an_answer_of_another_kind_is_a_failure() {
        for answer in ["FAIL Unknown command\n", "OK\n", "OK 0xzz\n"] {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(answer.as_bytes()).unwrap();
            let qtest = Qtest::new(ours).unwrap();
            let refused = qtest.read(0, Width::Byte).unwrap_err();
            assert!(matches!(refused, QtestError::Refused { .. }), "{refused}");
        }
    }
}
