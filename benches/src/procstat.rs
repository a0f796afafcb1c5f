//! CPU time and memory of the server under test, read from /proc and cgroups.

use std::fs;

/// CPU seconds used so far.
#[derive(Clone, Copy, Default, Debug)]
pub struct Cpu {
    pub user: f64,
    pub sys: f64,
}

impl Cpu {
    pub fn since(&self, before: &Cpu) -> Cpu {
        Cpu { user: self.user - before.user, sys: self.sys - before.sys }
    }
    pub fn total(&self) -> f64 {
        self.user + self.sys
    }
}

/// Memory of a process tree, in KiB.
#[derive(Clone, Copy, Default, Debug)]
pub struct Mem {
    pub pss: u64,
    pub rss: u64,
    pub procs: u64,
}

/// Fields after the command name of /proc/PID/stat (field 3 on).
fn stat_fields(pid: u32) -> Option<Vec<u64>> {
    let s = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let rest = &s[s.rfind(')')? + 2..];
    Some(rest.split(' ').map(|f| f.trim().parse().unwrap_or(0)).collect())
}

/// PID and all its descendants.
pub fn tree(root: u32) -> Vec<u32> {
    let mut pairs = Vec::new();
    if let Ok(dir) = fs::read_dir("/proc") {
        for e in dir.flatten() {
            if let Some(pid) = e.file_name().to_str().and_then(|n| n.parse::<u32>().ok())
                && let Some(f) = stat_fields(pid)
            {
                pairs.push((pid, f[1] as u32));
            }
        }
    }
    let mut out = vec![root];
    let mut i = 0;
    while i < out.len() {
        let parent = out[i];
        out.extend(pairs.iter().filter(|p| p.1 == parent).map(|p| p.0));
        i += 1;
    }
    out
}

/// CPU of a process tree: its live members plus what their reaped children used. A server that
/// ignores SIGCHLD loses its children's time here, so prefer a cgroup for forking servers.
pub fn cpu_of_tree(root: u32) -> Cpu {
    let hz = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    let mut c = Cpu::default();
    for pid in tree(root) {
        if let Some(f) = stat_fields(pid) {
            // fields 14..17 of stat(5) are utime stime cutime cstime
            c.user += (f[11] + f[13]) as f64 / hz;
            c.sys += (f[12] + f[14]) as f64 / hz;
        }
    }
    c
}

/// CPU of a cgroup directory: v1 cpuacct or v2.
pub fn cpu_of_cgroup(dir: &str) -> Option<Cpu> {
    let num = |f: &str| -> Option<f64> {
        fs::read_to_string(format!("{dir}/{f}")).ok()?.trim().parse::<f64>().ok()
    };
    // cpuacct.usage is exact; its user and sys parts are sampled at clock ticks, so that a server
    // whose work falls between ticks shows none there. Take the total, split it in their ratio.
    let parts = (num("cpuacct.usage"), num("cpuacct.usage_user"), num("cpuacct.usage_sys"));
    if let (Some(total), Some(u), Some(s)) = parts {
        let share = if u + s > 0.0 { u / (u + s) } else { 0.5 };
        return Some(Cpu { user: total * share / 1e9, sys: total * (1.0 - share) / 1e9 });
    }
    let text = fs::read_to_string(format!("{dir}/cpu.stat")).ok()?;
    let field = |name: &str| -> f64 {
        text.lines()
            .filter_map(|l| l.split_once(' '))
            .find(|(k, _)| *k == name)
            .and_then(|(_, v)| v.parse::<f64>().ok())
            .unwrap_or(0.0)
            / 1e6
    };
    Some(Cpu { user: field("user_usec"), sys: field("system_usec") })
}

/// Members of a cgroup.
pub fn cgroup_pids(dir: &str) -> Vec<u32> {
    fs::read_to_string(format!("{dir}/cgroup.procs"))
        .unwrap_or_default()
        .lines()
        .filter_map(|l| l.parse().ok())
        .collect()
}

/// Summed proportional and resident set sizes.
pub fn mem_of(pids: &[u32]) -> Mem {
    let mut m = Mem::default();
    for pid in pids {
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else { continue };
        let field = |name: &str| -> u64 {
            text.lines()
                .find_map(|l| l.strip_prefix(name))
                .and_then(|v| v.trim().trim_end_matches(" kB").trim().parse().ok())
                .unwrap_or(0)
        };
        m.pss += field("Pss:");
        m.rss += field("Rss:");
        m.procs += 1;
    }
    m
}

/// This process's own CPU time.
pub fn own_cpu() -> Cpu {
    let mut ru: libc::rusage = unsafe { std::mem::zeroed() };
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut ru) };
    let t = |tv: libc::timeval| tv.tv_sec as f64 + tv.tv_usec as f64 / 1e6;
    Cpu { user: t(ru.ru_utime), sys: t(ru.ru_stime) }
}

/// Which server processes to account: a process tree, a cgroup, or none.
#[derive(Clone)]
pub enum Target {
    None,
    Pid(u32),
    Cgroup(String),
}

impl Target {
    pub fn cpu(&self) -> Option<Cpu> {
        match self {
            Target::None => None,
            Target::Pid(p) => Some(cpu_of_tree(*p)),
            Target::Cgroup(d) => cpu_of_cgroup(d),
        }
    }
    pub fn mem(&self) -> Option<Mem> {
        match self {
            Target::None => None,
            Target::Pid(p) => Some(mem_of(&tree(*p))),
            Target::Cgroup(d) => Some(mem_of(&cgroup_pids(d))),
        }
    }
}
