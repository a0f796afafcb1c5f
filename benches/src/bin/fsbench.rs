//! fsbench: how fast files can be created, written, synced and renamed in a directory.
//!
//!   fsbench [--threads N] [--files N] [--size BYTES] [--sync none|data|file|full|group] [--keep] DIR
//!
//! `data` is fdatasync, `file` fsync, `full` fsync of the file and, after the rename, of the
//! directory; `group` is one syncfs for all threads that have renamed by then. Prints one JSON line.
//! Files are made in DIR/fsbench.PID and removed at the end, unless they are to be kept: for a minute
//! ext4 is slow to make files where many were deleted.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

fn main() -> io::Result<()> {
    let (mut threads, mut files, mut size) = (1usize, 1000u64, 10240usize);
    let mut keep = false;
    let (mut sync, mut dir) = ("file".to_string(), ".".to_string());
    let mut it = std::env::args().skip(1);
    while let Some(a) = it.next() {
        let mut num = || it.next().and_then(|v| v.parse::<u64>().ok()).expect("number");
        match a.as_str() {
            "--threads" => threads = num() as usize,
            "--files" => files = num(),
            "--size" => size = num() as usize,
            "--sync" => sync = it.next().expect("sync mode"),
            "--keep" => keep = true,
            "-h" | "--help" => {
                println!(
                    "usage: fsbench [--threads N] [--files N] [--size BYTES] \
                     [--sync none|data|file|full|group] [--keep] DIR"
                );
                return Ok(());
            }
            d => dir = d.to_string(),
        }
    }
    let root = format!("{dir}/fsbench.{}", std::process::id());
    fs::create_dir_all(format!("{root}/tmp"))?;
    fs::create_dir_all(format!("{root}/new"))?;
    let data = vec![b'x'; size];
    let next = AtomicU64::new(0);
    let group = Group::of(File::open(&root)?);
    let t0 = Instant::now();
    let mut lat: Vec<Duration> = std::thread::scope(|s| {
        let hs: Vec<_> = (0..threads)
            .map(|_| s.spawn(|| worker(&root, &data, &sync, &next, files, &group).expect("i/o")))
            .collect();
        hs.into_iter().flat_map(|h| h.join().expect("thread")).collect()
    });
    let elapsed = t0.elapsed().as_secs_f64();
    lat.sort_unstable();
    let at = |q: f64| lat[((lat.len() - 1) as f64 * q) as usize].as_secs_f64() * 1e3;
    println!(
        "{{\"sync\":\"{sync}\",\"threads\":{threads},\"size\":{size},\"files\":{files},\
         \"files_per_s\":{:.1},\"p50_ms\":{:.3},\"p99_ms\":{:.3},\"max_ms\":{:.3}}}",
        files as f64 / elapsed,
        at(0.5),
        at(0.99),
        at(1.0)
    );
    if keep { Ok(()) } else { fs::remove_dir_all(&root) }
}

fn worker(
    root: &str,
    data: &[u8],
    sync: &str,
    next: &AtomicU64,
    files: u64,
    group: &Group,
) -> io::Result<Vec<Duration>> {
    let mut lat = Vec::new();
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= files {
            return Ok(lat);
        }
        let t = Instant::now();
        let tmp = format!("{root}/tmp/{n}");
        let mut f = File::create(&tmp)?;
        f.write_all(data)?;
        match sync {
            "data" => f.sync_data()?,
            "file" | "full" => f.sync_all()?,
            _ => {}
        }
        drop(f);
        fs::rename(&tmp, format!("{root}/new/{n}"))?;
        if sync == "full" {
            File::open(format!("{root}/new"))?.sync_all()?;
        } else if sync == "group" {
            group.commit()?;
        }
        lat.push(t.elapsed());
    }
}

/// One sync of the file system for everybody who waits for one.
struct Group {
    folder: File,
    /// Syncs that have begun, those that have ended, and whether one is under way.
    state: Mutex<(u64, u64, bool)>,
    ended: Condvar,
}

impl Group {
    fn of(folder: File) -> Group {
        Group { folder, state: Mutex::new((0, 0, false)), ended: Condvar::new() }
    }

    /// Returns when a sync has ended that began after the call.
    fn commit(&self) -> io::Result<()> {
        let mut state = self.state.lock().expect("no panic");
        let mine = state.0 + 1;
        while state.1 < mine {
            if state.2 {
                state = self.ended.wait(state).expect("no panic");
                continue;
            }
            (state.0, state.2) = (state.0 + 1, true);
            drop(state);
            // SAFETY: syncfs takes a descriptor, which lives as long as `self`.
            let failed = unsafe { libc::syncfs(self.folder.as_raw_fd()) } != 0;
            state = self.state.lock().expect("no panic");
            (state.1, state.2) = (state.0, false);
            self.ended.notify_all();
            if failed {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }
}
