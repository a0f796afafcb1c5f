//! fsbench: how fast files can be created, written, synced and renamed in a directory.
//!
//!   fsbench [--threads N] [--files N] [--size BYTES] [--sync none|data|file|full] DIR
//!
//! `data` is fdatasync, `file` fsync, `full` fsync of the file and, after the rename, of the
//! directory. Prints one JSON line. Files are made in DIR/fsbench.PID and removed at the end.

use std::fs::{self, File};
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

fn main() -> io::Result<()> {
    let (mut threads, mut files, mut size) = (1usize, 1000u64, 10240usize);
    let (mut sync, mut dir) = ("file".to_string(), ".".to_string());
    let mut it = std::env::args().skip(1);
    while let Some(a) = it.next() {
        let mut num = || it.next().and_then(|v| v.parse::<u64>().ok()).expect("number");
        match a.as_str() {
            "--threads" => threads = num() as usize,
            "--files" => files = num(),
            "--size" => size = num() as usize,
            "--sync" => sync = it.next().expect("sync mode"),
            "-h" | "--help" => {
                println!(
                    "usage: fsbench [--threads N] [--files N] [--size BYTES] \
                     [--sync none|data|file|full] DIR"
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
    let t0 = Instant::now();
    let mut lat: Vec<Duration> = std::thread::scope(|s| {
        let hs: Vec<_> = (0..threads)
            .map(|_| s.spawn(|| worker(&root, &data, &sync, &next, files).expect("i/o")))
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
    fs::remove_dir_all(&root)
}

fn worker(
    root: &str,
    data: &[u8],
    sync: &str,
    next: &AtomicU64,
    files: u64,
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
        }
        lat.push(t.elapsed());
    }
}
