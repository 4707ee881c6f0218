//! The file that `--plot` names: which measurements it shows, and how it comes to be whole or not at all.

use std::fmt;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::{Builder, NamedTempFile};

use super::args::BenchArgs;
use super::latency::Summary;
use super::load::Load;
use super::plot::{Chart, Line, svg};
use super::report::title;
use super::series::{by_live, by_threads};
use crate::args::MachineArgs;
use crate::error::Error;
use crate::input::about;

/// What differs between the measurements of one chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Series {
    /// Mappings alive besides.
    Live,
    /// Threads.
    Threads,
}

impl Series {
    /// Where on the axis `load` is.
    pub(super) fn position(self, load: &Load) -> u64 {
        match self {
            Self::Live => load.live,
            Self::Threads => load.threads.into(),
        }
    }

    fn axis(self) -> &'static str {
        match self {
            Self::Live => "mappings alive besides",
            Self::Threads => "threads",
        }
    }

    /// Above its points, for people.
    pub(super) fn heading(self) -> String {
        format!("{:>22}   pair: p50 ns    p99 ns", self.axis())
    }
}

/// What one measurement of a series came to: of pairs, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    position: u64,
    p50: u64,
    p99: u64,
    mean: f64,
}

impl Point {
    pub(super) fn of(position: u64, pair: &Summary) -> Self {
        Self {
            position,
            p50: pair.p50,
            p99: pair.p99,
            mean: pair.mean,
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>22} {:>14} {:>9}", self.position, self.p50, self.p99)
    }
}

/// The file, and what is drawn into it.
pub(super) struct Drawing {
    path: PathBuf,
    planned: [(Series, Vec<Load>); 2],
    live: Vec<Point>,
    threads: Vec<Point>,
}

impl Drawing {
    /// What is to be measured for the file at `path`.
    ///
    /// # Errors
    /// It could not be written, or something of that does not fit.
    pub(super) fn plan(path: &Path, load: &Load, args: &MachineArgs) -> Result<Self, Error> {
        try_write(path).map_err(|error| about(path, &error))?;
        let planned = [
            (Series::Live, by_live(load, args)),
            (Series::Threads, by_threads(load)),
        ];
        for load in planned.iter().flat_map(|(_, loads)| loads) {
            load.check_fits(args).map_err(Error::unusable)?;
        }
        Ok(Self {
            path: path.to_owned(),
            planned,
            live: Vec::new(),
            threads: Vec::new(),
        })
    }

    /// What is to be measured.
    pub(super) fn missing(&self) -> [(Series, Vec<Load>); 2] {
        self.planned.clone()
    }

    /// One more measurement of `series`.
    pub(super) fn add(&mut self, series: Series, point: Point) {
        match series {
            Series::Live => self.live.push(point),
            Series::Threads => self.threads.push(point),
        }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let all = |points: &[Point], name: &str| -> Vec<Value> {
            let point = |point: &Point| {
                json!({
                    name: point.position,
                    "mean_ns": point.mean,
                    "p50_ns": point.p50,
                    "p99_ns": point.p99,
                })
            };
            points.iter().map(point).collect()
        };
        json!({
            "file": self.path.display().to_string(),
            "by_live": all(&self.live, "live"),
            "by_threads": all(&self.threads, "threads"),
        })
    }

    /// Draws it. The file is there whole, or as it was.
    pub(super) fn write(&self, args: &BenchArgs, load: &Load) -> Result<(), Error> {
        let charts = [
            chart(Series::Live, &self.live),
            chart(Series::Threads, &self.threads),
        ];
        let text = svg(&title(args, load), &charts);
        write_whole(&self.path, text.as_bytes())
            .map_err(|error| Error::failed(format!("{}: {error}", self.path.display())))
    }
}

fn chart(series: Series, points: &[Point]) -> Chart {
    let line = |name: &str, pick: fn(&Point) -> u64| Line {
        name: name.into(),
        points: points
            .iter()
            .map(|point| (point.position as f64, pick(point) as f64))
            .collect(),
    };
    Chart {
        title: format!("map and unmap, by {}", series.axis()),
        x_label: series.axis().into(),
        y_label: "nanoseconds".into(),
        x_ticks: points.iter().map(|point| point.position as f64).collect(),
        lines: vec![
            line("p50", |point| point.p50),
            line("p99", |point| point.p99),
        ],
    }
}

/// Where bytes for `path` go: to a file beside it that then takes its place, or where it is none, as a pipe, into it.
enum Target {
    Beside(PathBuf, PathBuf),
    Itself,
}

impl Target {
    fn of(path: &Path) -> io::Result<Self> {
        let place = match fs::metadata(path) {
            Ok(there) if there.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(there) if !there.is_file() => return Ok(Self::Itself),
            // Behind a link, the link stays.
            Ok(_) => fs::canonicalize(path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
            Err(error) => return Err(error),
        };
        if place.file_name().is_none() {
            return Err(io::ErrorKind::InvalidFilename.into());
        }
        let folder = match place.parent() {
            Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
            Some(folder) => folder,
            None => return Err(io::ErrorKind::InvalidFilename.into()),
        };
        Ok(Self::Beside(folder.to_owned(), place))
    }
}

/// Readable by whom the user lets read new files.
fn new_file(folder: &Path) -> io::Result<NamedTempFile> {
    fs::metadata(folder)?;
    let file = Builder::new()
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder);
    // The name of that file tells the user nothing.
    file.map_err(|error| {
        error
            .raw_os_error()
            .map_or(error.kind().into(), io::Error::from_raw_os_error)
    })
}

/// Whether [`write_whole`] would have a place, as far as can be seen.
fn try_write(path: &Path) -> io::Result<()> {
    match Target::of(path)? {
        Target::Beside(folder, _) => new_file(&folder).map(drop),
        Target::Itself => Ok(()),
    }
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match Target::of(path)? {
        Target::Beside(folder, place) => {
            let mut file = new_file(&folder)?;
            file.write_all(bytes)?;
            file.persist(place)?;
            Ok(())
        }
        Target::Itself => File::options().write(true).open(path)?.write_all(bytes),
    }
}
